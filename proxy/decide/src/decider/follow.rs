//! Without the lead: where connections go by what the members themselves show, and the record that the leader wrote.
//! Nothing is decided here.
//!
//! A member under a lease says which epoch it holds: that is all there is to know, and an old record can't mislead. Other
//! kinds can't say it. For them two things must agree: the record says that this member was active last, and its own
//! checks see its flows run. Flows that run nowhere get no connection, however the record reads.

use super::Decider;
use crate::effect::{Effect, ParkReason, Route};
use crate::ids::{Epoch, Member};
use crate::message::FlowState;
use crate::record::{Intent, Record};
use crate::settings::Fencing;
use crate::time::Time;
use std::time::Duration;

/// What the store has, as a follower read it.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) record: Record,
    /// Until when a switchover on record is a reason to let connections wait. A store that is cut off would show it for ever.
    pub(super) heed_until: Time,
}

/// What clients' connections go to, as of the routes that were set.
#[derive(Debug, Default)]
pub(super) struct Carrying {
    /// The newest tenure to which something may still be under way.
    pub(super) epoch: Option<Epoch>,
    /// What the member that is left was told last of [`Decider::left`].
    said: Epoch,
}

impl Decider {
    pub(super) fn on_seen(&mut self, record: Record) {
        if self.leader {
            return self.ignore();
        }
        let earlier = self.seen.as_ref().filter(|seen| seen.record.intent == record.intent);
        let heed_until = earlier.map_or(self.now + self.longest_switchover(), |seen| seen.heed_until);
        self.seen = Some(Seen { record, heed_until });
    }

    fn longest_switchover(&self) -> Duration {
        let d = &self.settings.deadlines;
        d.persist + d.drain + d.stop_grace + d.start + d.verify
    }

    /// Connections follow the highest tenure that is seen running.
    pub(super) fn follow(&mut self) {
        let running = self.newest_running();
        match (running, self.route) {
            (Some((epoch, member)), _) if self.is_being_left(member, epoch) => {
                let drain = self.settings.deadlines.drain;
                self.set_route(Route::Park { reason: ParkReason::Switchover }, Some(drain));
            }
            (Some((epoch, member)), _) => self.route_to(member, epoch),
            (None, Route::To { member, .. }) if self.has_ended(member) => {
                self.set_route(Route::Park { reason: ParkReason::NoActive }, Some(Duration::ZERO));
            }
            (None, Route::To { member, .. }) if self.answers_wrong(member) => {
                self.set_route(Route::Park { reason: ParkReason::Suspect }, None);
            }
            _ => {}
        }
        self.say_what_was_left(running);
    }

    /// Nothing is under way any more to a tenure that is left: quiet connections end too, before its flows do.
    pub(super) fn close_what_is_quiet(&mut self) {
        if let Route::Park { reason: ParkReason::Switchover } = self.route {
            self.effects.push_back(Effect::Route { route: self.route, drain: Some(Duration::ZERO) });
        }
    }

    /// Up to which tenure no connection of our clients goes, nor will: the leader waits for it before it stops flows.
    /// [`Epoch::NONE`] unless a switchover is on record and everything under way has come to its end.
    pub(super) fn left(&self) -> Epoch {
        match self.newest_running() {
            Some((epoch, member)) if self.carrying.epoch.is_none() && self.is_being_left(member, epoch) => epoch,
            _ => Epoch::NONE,
        }
    }

    /// At once, not only with the answer to the next heartbeat: clients wait for it.
    fn say_what_was_left(&mut self, running: Option<(Epoch, Member)>) {
        let left = self.left();
        if left == std::mem::replace(&mut self.carrying.said, left) {
            return;
        }
        let Some(m) = running.map(|(_, member)| member).filter(|_| left > Epoch::NONE) else { return };
        if let (Some(link), Some(seq)) = (self.members[m].link, self.members[m].seq) {
            let ack = self.ack(seq);
            self.send(m, link, ack);
        }
    }

    /// After a pause of our own nobody is known to be active: connections wait for a fresh word, open ones stay.
    pub(super) fn look_afresh(&mut self) {
        for member in Member::BOTH {
            self.members[member].status = None;
            self.members[member].probed = None;
            self.effects.push_back(Effect::Probe { member });
        }
        self.set_route(Route::Park { reason: ParkReason::Recovering }, None);
    }

    fn newest_running(&self) -> Option<(Epoch, Member)> {
        Member::BOTH.into_iter().filter_map(|m| self.seen_running(m).map(|epoch| (epoch, m))).max()
    }

    /// The tenure under which a member is seen to be active.
    fn seen_running(&self, member: Member) -> Option<Epoch> {
        let m = &self.members[member];
        match self.settings.fencing[member] {
            Fencing::Leased => {
                let status = m.status.as_ref().filter(|_| self.is_fresh(member))?;
                status.may_act().filter(|_| status.flows != FlowState::Starting)
            }
            Fencing::Confirmed(_) if m.probed != Some(FlowState::Running) => None,
            Fencing::Confirmed(_) | Fencing::Plain => self.on_record(member),
        }
    }

    /// The tenure of the member that was active last, by the record: the lowest of all. What stands behind the other's is a
    /// reservation for a way back, and left alone once its own is fenced.
    fn on_record(&self, member: Member) -> Option<Epoch> {
        let record = &self.seen.as_ref()?.record;
        let active = record.tenures.iter().min_by_key(|t| t.epoch)?;
        (active.member == member && record.last_active == Some(member)).then_some(active.epoch)
    }

    /// Certainly no longer the active: silence is no proof of it.
    fn has_ended(&self, member: Member) -> bool {
        match self.settings.fencing[member] {
            // A launcher that has just come back has said nothing of its flows yet.
            Fencing::Leased => self.is_fresh(member) && self.members[member].status.is_some(),
            Fencing::Confirmed(_) => {
                let stopped = matches!(self.members[member].probed, Some(FlowState::Stopped | FlowState::Down));
                stopped || self.is_superseded(member)
            }
            Fencing::Plain => self.is_superseded(member),
        }
    }

    /// It was reached and does not run as it should. A stop that another proxy ordered looks like this at first: here nobody
    /// was told that its nodes have closed.
    fn answers_wrong(&self, member: Member) -> bool {
        let m = &self.members[member];
        let confirmed = matches!(self.settings.fencing[member], Fencing::Confirmed(_));
        confirmed && m.probed.is_none() && m.checks.iter().any(super::health::Check::failed_last)
    }

    fn is_superseded(&self, member: Member) -> bool {
        self.seen.is_some() && self.on_record(member).is_none()
    }

    /// A switchover away from this tenure is on record: the leader lets its own connections wait, too.
    fn is_being_left(&self, member: Member, epoch: Epoch) -> bool {
        let Some(seen) = self.seen.as_ref().filter(|seen| self.now < seen.heed_until) else { return false };
        let next = |to: Member| seen.record.tenures.iter().filter(|t| t.member == to).map(|t| t.epoch).max();
        matches!(seen.record.intent, Some(Intent::Switchover { from, to, .. })
            if from == member && next(to).is_some_and(|next| next > epoch))
    }
}
