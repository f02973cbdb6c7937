//! A second proxy, which follows: it sees the members by its own eyes, and the record a moment later.

use hotspare_decide::message::FlowState;
use hotspare_decide::{Decider, Effect, Epoch, Input, Member, ProbeOutcome, Record, Route};

use crate::member::Flows;
use crate::world::{Ev, World};

const LOOK_EVERY: u64 = 100;

pub struct Follower {
    pub decider: Decider,
    /// The highest epoch it ever routed to.
    newest: Epoch,
}

impl Follower {
    pub fn new(decider: Decider) -> Self {
        Follower { decider, newest: Epoch::NONE }
    }

    /// By the record it may know an older tenure of the same member than the leader, which found it running, does.
    pub fn goes_to(&self, m: Member) -> bool {
        matches!(self.decider.route(), Route::To { member, .. } if member == m)
    }
}

impl World {
    pub fn follower_looks(&mut self, m: Member) {
        let node = self.node(m);
        let saw = Some(node.flows).filter(|flows| {
            !node.cut
                && !node.hung
                && !matches!(flows, Flows::Starting | Flows::Closing)
                && (flows.may_run() || node.is_quiet())
        });
        let takes = self.rng.range(1, 300);
        self.after(takes, Ev::FollowerLooked { m, saw });
    }

    pub fn follower_looked(&mut self, m: Member, saw: Option<Flows>) {
        self.after(LOOK_EVERY, Ev::FollowerLooks { m });
        let flows = saw.map(|flows| match flows {
            Flows::Running => FlowState::Running,
            Flows::Down => FlowState::Down,
            _ => FlowState::Stopped,
        });
        let outcome = match flows {
            Some(_) => ProbeOutcome::Pass,
            None => ProbeOutcome::Unknown { reason: "no answer".into() },
        };
        self.tell_follower(Input::Probe { member: m, check: 0, outcome, flows });
    }

    /// What was written is read by the other a moment later, never out of order.
    pub fn follower_reads(&mut self, record: &Record) {
        self.tell_follower(Input::Seen { record: record.clone() });
    }

    fn tell_follower(&mut self, input: Input) {
        let time = self.time();
        self.follower.decider.handle(time, input);
        self.check_follower();
    }

    pub fn follower_wakes(&mut self) {
        let time = self.time();
        self.follower.decider.handle_timeout(time);
        self.check_follower();
    }

    fn check_follower(&mut self) {
        while let Some(effect) = self.follower.decider.poll_effect() {
            let Effect::Route { route, .. } = effect else { continue };
            self.say(&format!("    the follower: {route:?}"));
            if let Route::To { epoch, .. } = route {
                if epoch < self.follower.newest {
                    self.violate(format!("the follower falls back from epoch {} to {epoch}", self.follower.newest));
                }
                self.follower.newest = self.follower.newest.max(epoch);
            }
        }
    }
}
