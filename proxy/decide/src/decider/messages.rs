//! Links and what comes over them; the grants that go back.

use super::{Decider, State};
use crate::event::{EventKind, Proof};
use crate::ids::{Epoch, LinkId, Member};
use crate::lease::grantor_end;
use crate::message::{Down, ExitReceipt, FlowState, Heartbeat, NotReady, Up};
use crate::rules::Rule;
use crate::settings::Fencing;
use crate::time::{Time, ms};
use std::time::Duration;

impl Decider {
    pub(super) fn on_link_up(&mut self, member: Member, link: LinkId, session: u64) {
        let m = &mut self.members[member];
        if m.newest.is_some_and(|newest| newest >= link) {
            return self.ignore();
        }
        let new_session = m.session.is_some_and(|earlier| earlier != session);
        m.newest = Some(link);
        m.link = Some(link);
        m.session = Some(session);
        m.heard = Some(self.now);
        m.seen_at = self.now;
        m.status = None;
        m.seq = None;
        m.fence = None;
        self.event(EventKind::Link { member, up: true, new_session });
    }

    pub(super) fn on_link_down(&mut self, member: Member, link: LinkId) {
        if self.members[member].link != Some(link) {
            return self.ignore();
        }
        self.members[member].link = None;
        self.event(EventKind::Link { member, up: false, new_session: false });
    }

    pub(super) fn on_up(&mut self, member: Member, link: LinkId, msg: Up) {
        let m = &mut self.members[member];
        if m.link != Some(link) {
            self.ignore();
            return self.advance();
        }
        m.heard = Some(self.now);
        m.seen_at = self.now;
        match msg {
            Up::Hello(_) => {}
            Up::Heartbeat(beat) => return self.on_heartbeat(member, link, beat),
            Up::Started { op, epoch, failure } => self.on_started(member, op, epoch, failure),
            Up::Fenced { op: _, epoch, how } => {
                let epoch = if self.rules.holds(Rule::FencedEpochChecked) { epoch } else { Epoch(u64::MAX) };
                self.prove(member, epoch, Proof::StopConfirmed { how });
            }
            Up::Restarted { op, failure } => self.on_restarted(member, op, failure),
            Up::Exited(receipt) => self.on_receipt(member, &receipt),
            Up::Deploy { revision } => {
                if let Some(status) = &mut m.status {
                    status.revision = Some(revision);
                }
            }
        }
        self.advance();
    }

    pub(super) fn on_receipt(&mut self, member: Member, receipt: &ExitReceipt) {
        let checked = self.rules.holds(Rule::ReceiptEpochChecked);
        let epoch = if checked { receipt.epoch } else { Epoch(u64::MAX) };
        let over = self.current().is_some_and(|(m, e)| m == member && e <= epoch);
        self.prove(member, epoch, Proof::ExitReceipt);
        // What the last heartbeat said of that process is over too.
        if let Some(status) = self.members[member].status.as_mut().filter(|s| s.tenure.is_some_and(|t| t <= epoch)) {
            (status.flows, status.tenure, status.not_ready) = (FlowState::Down, None, Some(NotReady::Down));
        }
        if over {
            self.last_exit = Some(receipt.cause);
        }
    }

    fn on_heartbeat(&mut self, member: Member, link: LinkId, beat: Heartbeat) {
        let intruder = self.is_intruder(member, &beat.status);
        let m = &mut self.members[member];
        m.status = Some(beat.status);
        m.seq = Some(beat.seq);
        let settled = !matches!(self.state, State::Follower | State::Recovering);
        if let Some(epoch) = intruder.filter(|_| settled) {
            self.repel_intruder(member, Some(epoch));
        }
        self.advance();
        // Answered after the advance: a tenure that was just found wanting gets no grant.
        let msg = match self.grant_for(member) {
            Some((epoch, ttl)) => Down::Grant { seq: beat.seq, epoch, ttl_ms: ms(ttl) },
            None => self.ack(beat.seq),
        };
        if matches!(msg, Down::Grant { .. }) {
            self.count_lease(member);
        }
        self.send(member, link, msg);
    }

    pub(super) fn ack(&self, seq: u64) -> Down {
        Down::Ack { seq, leader: self.leader && !self.is_absent(), left: (!self.leader).then(|| self.left()) }
    }

    /// The tenure that a heartbeat of this member renews.
    fn grant_for(&self, member: Member) -> Option<(Epoch, Duration)> {
        let (_, epoch) = self.current().filter(|(m, e)| *m == member && self.tracks(*m, *e))?;
        let status = self.members[member].status.as_ref()?;
        let runs = matches!(status.flows, FlowState::Stopped | FlowState::Starting | FlowState::Running);
        let leased = self.settings.fencing[member] == Fencing::Leased;
        (self.leader && leased && runs && status.tenure == Some(epoch)).then(|| (epoch, self.ttl()))
    }

    /// What may be granted: never longer than the record says, or a restart would not wait long enough.
    pub(super) fn ttl(&self) -> Duration {
        let durable = self.durable.done.as_ref().map_or(Duration::ZERO, |r| r.lease.ttl);
        self.settings.lease.ttl.min(durable)
    }

    /// A grant goes out now: when it has certainly ended.
    pub(super) fn count_lease(&mut self, member: Member) {
        let end = self.lease_bound_from_now(self.ttl());
        let m = &mut self.members[member];
        m.lease_end = m.lease_end.max(end);
    }

    fn lease_bound_from_now(&self, ttl: Duration) -> Time {
        let mut lease = self.settings.lease.widest(&self.durable.want.lease);
        if !self.rules.holds(Rule::WaitForDrift) {
            lease.drift_ppm = 0;
        }
        if !self.rules.holds(Rule::WaitForKill) {
            lease.kill_budget = Duration::ZERO;
        }
        if !self.rules.holds(Rule::GrantIsCounted) {
            return self.now;
        }
        grantor_end(self.now, ttl, &lease)
    }
}
