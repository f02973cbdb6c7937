//! What is known of one member, and whether it could take over.

use super::Decider;
use super::fencing::FenceOrder;
use super::health::Check;
use crate::ids::{Epoch, LinkId, Member};
use crate::message::{FlowState, MemberStatus};
use crate::settings::Fencing;
use crate::time::Time;

#[derive(Debug)]
pub(super) struct MemberState {
    /// The open connection of its launcher or driver.
    pub(super) link: Option<LinkId>,
    /// The newest link ever; what comes over an older one is void.
    pub(super) newest: Option<LinkId>,
    pub(super) session: Option<u64>,
    /// Its last message over the open link.
    pub(super) heard: Option<Time>,
    /// Its last status over the open link. Never one of an earlier link: those may arrive out of order.
    pub(super) status: Option<MemberStatus>,
    /// Number of that heartbeat: what a start is pegged to.
    pub(super) seq: Option<u64>,
    /// Every lease given to it has certainly ended by then.
    pub(super) lease_end: Time,
    /// The flows as its checks see them (kinds without a lease).
    pub(super) probed: Option<FlowState>,
    pub(super) checks: Vec<Check>,
    /// Failing checks don't count before this.
    pub(super) grace_until: Time,
    /// The last sign of life of any sort.
    pub(super) seen_at: Time,
    pub(super) fence: Option<FenceOrder>,
    /// A start failed: not tried again before this.
    pub(super) not_before: Time,
    pub(super) start_failures: u32,
    /// It may run flows that no record of ours knows of.
    pub(super) unknown: bool,
    /// Since when it could take over.
    pub(super) ready_since: Option<Time>,
    /// What was last said about it as a spare: ready or not; in sync or not.
    pub(super) said_ready: Option<bool>,
    pub(super) said_in_sync: Option<bool>,
    /// As the active: its flows stand still by someone's hand, and that was said.
    pub(super) said_halted: bool,
    /// Since when it differs from the active.
    pub(super) differs_since: Option<Time>,
}

impl MemberState {
    pub(super) fn new(now: Time, checks: usize) -> Self {
        MemberState {
            link: None,
            newest: None,
            session: None,
            heard: None,
            status: None,
            seq: None,
            lease_end: now,
            probed: None,
            checks: vec![Check::default(); checks],
            grace_until: now,
            seen_at: now,
            fence: None,
            not_before: now,
            start_failures: 0,
            unknown: false,
            ready_since: None,
            said_ready: None,
            said_in_sync: None,
            said_halted: false,
            differs_since: None,
        }
    }

    pub(super) fn max_epoch(&self) -> Epoch {
        self.status.as_ref().map(|s| s.max_epoch.max(s.tenure.unwrap_or_default())).unwrap_or_default()
    }

    pub(super) fn flows(&self) -> Option<FlowState> {
        self.status.as_ref().map(|s| s.flows).or(self.probed)
    }
}

impl Decider {
    /// Heard over its open link a moment ago.
    pub(super) fn is_fresh(&self, member: Member) -> bool {
        let m = &self.members[member];
        m.link.is_some() && m.heard.is_some_and(|at| self.now.since(at) < self.settings.lease.silence())
    }

    /// It, or something where it lives, answers. Used to tell "it is gone" from "we see nothing".
    pub(super) fn is_seen(&self, member: Member) -> bool {
        let m = &self.members[member];
        match self.settings.fencing[member] {
            Fencing::Leased => self.is_fresh(member),
            _ => m.checks.is_empty() || m.checks.iter().any(|c| !c.mute),
        }
    }

    /// Why this member can't be started at this moment; `None` means it can. Held members and failed starts included.
    pub(super) fn why_not_ready(&self, member: Member) -> Option<String> {
        let m = &self.members[member];
        if self.durable.want.held[member.index()] {
            return Some("an operator fenced it".into());
        }
        match self.settings.fencing[member] {
            Fencing::Leased => {
                let Some(status) = &m.status else {
                    return Some(if m.link.is_some() { "not heard from yet" } else { "not connected" }.into());
                };
                if !self.is_fresh(member) {
                    return Some(if m.link.is_some() { "silent" } else { "not connected" }.into());
                }
                if let Some(why) = &status.not_ready {
                    return Some(why.to_string());
                }
            }
            Fencing::Confirmed(_) => match m.probed {
                Some(FlowState::Stopped | FlowState::Down) if m.link.is_some() => {}
                Some(state) => return Some(format!("its flows are {state:?}").to_lowercase()),
                None => return Some("its flows' state is not known".into()),
            },
            Fencing::Plain => {}
        }
        if let Some(why) = self.unhealthy(member) {
            return Some(why);
        }
        if m.not_before > self.now {
            return Some("its last start failed a moment ago".into());
        }
        None
    }

    pub(super) fn is_ready(&self, member: Member) -> bool {
        self.why_not_ready(member).is_none()
    }

    /// What differs between the two, flows, nodes and Node-RED; `None` if nothing does, or it can't be told.
    pub(super) fn out_of_sync(&self, member: Member) -> Option<String> {
        self.differs(member, false)
    }

    /// The same; `by_restart`: but for a difference that a rolling restart is there to bring.
    pub(super) fn differs(&self, member: Member, by_restart: bool) -> Option<String> {
        let (own, other) = (self.members[member].status.as_ref()?, self.members[member.other()].status.as_ref()?);
        let differ = |own: &Option<String>, other: &Option<String>| own.is_some() && other.is_some() && own != other;
        if differ(&own.revision, &other.revision) {
            return Some("its flows are of another revision".into());
        }
        if differ(&own.nodes, &other.nodes) {
            let why = own.nodes_problem.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            return Some(format!("other nodes are installed there{why}"));
        }
        match (&own.node_red, &other.node_red) {
            (Some(own), Some(other)) if own != other && !by_restart => {
                Some(format!("Node-RED {own} here, {other} there"))
            }
            _ => None,
        }
    }

    /// Whether both sides told enough to compare them.
    pub(super) fn can_compare(&self, member: Member) -> bool {
        [member, member.other()].iter().all(|m| self.members[*m].status.as_ref().is_some_and(|s| s.revision.is_some()))
    }
}
