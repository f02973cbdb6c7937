//! The states of an instance and every way from one to another. Anything else is a bug, and asserted.

use crate::view::StateName::{self, *};

/// One allowed change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// From.
    pub from: StateName,
    /// To.
    pub to: StateName,
    /// When it happens.
    pub when: &'static str,
}

const fn t(from: StateName, to: StateName, when: &'static str) -> Transition {
    Transition { from, to, when }
}

/// All of them.
pub const TRANSITIONS: &[Transition] = &[
    t(Follower, Recovering, "leadership was won"),
    t(Recovering, Active, "a member runs flows under a known tenure: adopted, undisturbed"),
    t(Recovering, Starting, "a member was found starting under a known tenure: adopted"),
    t(Recovering, Idle, "every tenure that might run is fenced for certain"),
    t(Idle, Starting, "a member is ready, may be started, and its epoch is durable: start ordered"),
    t(Idle, Active, "a member without flows takes over: there is nothing to start"),
    t(Idle, Fencing, "the old active of a plan that goes back, unconfirmed, can't be started: nobody else may be"),
    t(Starting, Active, "the flows run (unplanned change)"),
    t(Starting, Verifying, "the flows run (planned change): look whether it serves"),
    t(Starting, Fencing, "the start failed, or its deadline passed"),
    t(Starting, Idle, "the start failed, and nothing of it runs for certain"),
    t(Verifying, Active, "it serves"),
    t(Verifying, Fencing, "it doesn't serve by the deadline: back to the old active"),
    t(Verifying, Idle, "it ended while it was looked at"),
    t(Active, Idle, "its tenure is over for certain: exit receipt, its own word, or lease expired"),
    t(Active, Fencing, "unhealthy or unreachable with a ready spare, stopping by itself, or fenced by an operator"),
    t(Active, Draining, "switchover: intent is durable, new connections wait"),
    t(Draining, Fencing, "drained, or the drain deadline passed: stop the old active"),
    t(Draining, Idle, "the old active ended while it was drained"),
    t(Fencing, Idle, "every tenure is fenced for certain"),
    t(Recovering, Follower, "leadership was lost"),
    t(Idle, Follower, "leadership was lost"),
    t(Starting, Follower, "leadership was lost"),
    t(Verifying, Follower, "leadership was lost"),
    t(Active, Follower, "leadership was lost"),
    t(Draining, Follower, "leadership was lost"),
    t(Fencing, Follower, "leadership was lost"),
];

/// Whether the table has this change.
pub(super) fn allowed(from: StateName, to: StateName) -> bool {
    TRANSITIONS.iter().any(|t| t.from == from && t.to == to)
}
