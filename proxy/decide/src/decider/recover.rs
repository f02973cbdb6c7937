//! After a start of the controller, or when leadership was won: look first, adopt what runs, act on fresh
//! observations only.

use super::durable::Durable;
use super::fencing::Track;
use super::switchover::Plan;
use super::{Decider, State};
use crate::effect::{ParkReason, Route};
use crate::event::{EventKind, Proof};
use crate::ids::{Epoch, Member};
use crate::message::FlowState;
use crate::record::{Intent, Record, Tenure};
use crate::rules::Rule;
use crate::settings::{Fencing, OnUnreachable, Settings};
use crate::time::ms;
use std::time::Duration;

pub(super) fn empty_record(settings: &Settings) -> Record {
    Record {
        version: Record::VERSION,
        epoch: Epoch::NONE,
        tenures: Vec::new(),
        last_active: None,
        intent: None,
        rolling: None,
        lease: settings.lease,
        failovers_unix_ms: Vec::new(),
        paused: None,
        frozen: false,
        held: [false; 2],
    }
}

impl Decider {
    pub(super) fn on_leadership(&mut self, leader: bool, record: Option<Record>, wall_ms: u64) {
        self.anchor = (self.now, wall_ms);
        match (leader, self.leader) {
            (true, false) => self.take_lead(record),
            (false, true) => self.lose_lead(),
            _ => self.ignore(),
        }
    }

    pub(super) fn take_lead(&mut self, record: Option<Record>) {
        let mut want = record.clone().unwrap_or_else(|| empty_record(&self.settings));
        want.lease = want.lease.widest(&self.settings.lease);
        self.tenures = want.tenures.iter().copied().map(Track::maybe_running).collect();
        self.highest_ordered = want.epoch;
        // Nothing was ever started by us: somebody may run flows all the same (a lost record, someone's hand).
        let new_instance = want.epoch == Epoch::NONE;
        self.paused_until = want.paused.as_ref().map(|p| self.time_of_wall(p.until_unix_ms));
        let last_failover = want.failovers_unix_ms.iter().max().map(|wall| self.time_of_wall(*wall));
        if self.durable.done.is_none() && self.last_op == 0 {
            self.durable = Durable::new(record, want);
        } else {
            self.durable.replace(record, want);
        }
        self.hold_until = last_failover.map_or(self.now, |at| at + self.hold_down(self.failovers_last_hour()));
        for member in Member::BOTH {
            self.members[member].unknown = new_instance && self.settings.fencing[member] != Fencing::Plain;
            self.members[member].fence = None;
            self.count_unknown_lease(member);
        }
        self.leader = true;
        self.seen = None;
        self.active = None;
        self.observe_until = self.now + self.settings.deadlines.recover;
        self.go(State::Recovering);
        self.event(EventKind::Recovering);
    }

    /// A grant may have gone out a moment before this controller started, of the widest kind on record.
    fn count_unknown_lease(&mut self, member: Member) {
        let lease = self.durable.want.lease;
        let end = self.now + lease.bound(lease.ttl);
        if self.rules.holds(Rule::LeaseSurvivesRestart) {
            let m = &mut self.members[member];
            m.lease_end = m.lease_end.max(end);
        }
    }

    /// For the mutant that forgets them.
    #[cfg(feature = "mutants")]
    pub(super) fn forget_leases(&mut self) {
        for member in Member::BOTH {
            self.members[member].lease_end = self.now;
        }
    }

    fn lose_lead(&mut self) {
        self.leader = false;
        self.abandon_plans("leadership was lost");
        self.active = None;
        self.replacing = None;
        self.event(EventKind::LeadershipLost);
        self.go(State::Follower);
    }

    pub(super) fn step_recovering(&mut self) -> bool {
        if self.adopt_a_running_one() {
            return true;
        }
        let looked = !self.observing();
        for member in Member::BOTH {
            self.settle_unknown(member, looked);
            self.settle_found(member, looked);
        }
        if self.any_unfenced() || self.members.0.iter().any(|m| m.unknown) {
            if looked {
                self.say_stuck("it is not certain that no member runs flows".into());
            }
            return false;
        }
        self.resume_plan();
        self.resume_rolling();
        // Everything is known: no need to look on.
        self.observe_until = self.now;
        self.set_route(Route::Park { reason: ParkReason::NoActive }, Some(Duration::ZERO));
        self.go(State::Idle);
        true
    }

    /// A member that was running before and runs now stays as it is.
    fn adopt_a_running_one(&mut self) -> bool {
        let mut found: Vec<(Epoch, Member, FlowState)> = Vec::new();
        for member in Member::BOTH {
            let m = &self.members[member];
            let known = self.tenures.iter().filter(|t| t.member == member).map(|t| t.epoch).max();
            match self.settings.fencing[member] {
                Fencing::Leased => {
                    let status = m.status.as_ref().filter(|_| self.is_fresh(member));
                    let tenure = status.and_then(|s| Some((s.may_act()?, s.flows)));
                    let known = |epoch| self.tracks(member, epoch) || epoch > self.durable.want.epoch;
                    found.extend(tenure.filter(|(e, _)| known(*e)).map(|(e, flows)| (e, member, flows)));
                }
                Fencing::Confirmed(_) if m.probed == Some(FlowState::Running) => {
                    let lost = || m.unknown.then(|| self.durable.want.epoch.next());
                    found.extend(known.or_else(lost).map(|epoch| (epoch, member, FlowState::Running)));
                }
                Fencing::Plain if self.unhealthy(member).is_none() && self.durable.want.last_active == Some(member) => {
                    found.extend(known.map(|epoch| (epoch, member, FlowState::Running)));
                }
                _ => {}
            }
        }
        // Kinds without a lease may both run (someone's hand, a lost record): the one that was active last stays.
        let last = self.durable.want.last_active.unwrap_or(self.settings.prefer);
        let Some(&(epoch, member, flows)) = found.iter().max_by_key(|(e, m, _)| (self.is_leased(*m), *m == last, *e))
        else {
            return false;
        };
        self.adopt(member, epoch, flows);
        true
    }

    pub(super) fn is_leased(&self, member: Member) -> bool {
        self.settings.fencing[member] == Fencing::Leased
    }

    fn adopt(&mut self, member: Member, epoch: Epoch, flows: FlowState) {
        self.highest_ordered = self.highest_ordered.max(epoch);
        if !self.tracks(member, epoch) {
            let tenure = Tenure { member, epoch };
            self.tenures.push(Track::maybe_running(tenure));
            self.durable.want.tenures.push(tenure);
            self.durable.want.epoch = self.durable.want.epoch.max(epoch);
        }
        for m in &mut self.members.0 {
            m.unknown = false;
        }
        self.observe_until = self.now;
        if let Some(Intent::Switchover { to, .. }) = self.durable.want.intent.take() {
            let text = if to == member { "completed before the restart" } else { "rolled back at the restart" };
            self.event(EventKind::PlanEnded { request: 0, done: to == member, text: text.into() });
        }
        self.event_seen(EventKind::Adopted { member, epoch });
        self.resume_rolling();
        if flows == FlowState::Starting {
            let (op, deadline) = (self.next_op(), self.now + self.settings.deadlines.start);
            self.set_route(Route::Park { reason: ParkReason::Starting }, None);
            return self.go(State::Starting { op, member, epoch, deadline });
        }
        self.become_active(member, epoch);
    }

    /// Without any record: when a member certainly runs nothing that we don't know of.
    fn settle_unknown(&mut self, member: Member, looked: bool) {
        let now = self.now;
        let over = match self.settings.fencing[member] {
            Fencing::Leased => now >= self.members[member].lease_end,
            Fencing::Plain => true,
            Fencing::Confirmed(OnUnreachable::After(limit)) => {
                looked && now.since(self.members[member].seen_at) >= limit
            }
            Fencing::Confirmed(OnUnreachable::Wait) => false,
        };
        self.members[member].unknown &= !over;
    }

    /// Tenures on record: fence what is there and doesn't run, wait for what isn't there.
    fn settle_found(&mut self, member: Member, looked: bool) {
        let Some(epoch) = self.tenures.iter().filter(|t| t.member == member && t.ordered).map(|t| t.epoch).max() else {
            return;
        };
        let m = &self.members[member];
        match self.settings.fencing[member] {
            Fencing::Leased if self.is_fresh(member) => {
                if m.status.as_ref().is_some_and(|s| s.tenure.is_none()) || looked {
                    self.order_fence(member, epoch);
                }
            }
            Fencing::Leased if looked && self.lease_is_over(member) => self.prove(member, epoch, Proof::LeaseExpired),
            Fencing::Leased => {}
            Fencing::Plain if looked => self.prove(member, epoch, Proof::NothingToFence),
            Fencing::Plain => {}
            Fencing::Confirmed(rule) => {
                let silent = self.now.since(m.seen_at);
                match (rule, m.probed) {
                    (_, Some(FlowState::Stopped | FlowState::Down)) => self.order_fence(member, epoch),
                    (OnUnreachable::After(limit), None) if looked && silent >= limit => {
                        self.prove(member, epoch, Proof::UnreachableRule { silent_ms: ms(silent) });
                    }
                    _ => {}
                }
            }
        }
    }

    /// A switchover that was under way, and nobody runs: go on with it.
    fn resume_plan(&mut self) {
        if let Some(Intent::Switchover { from, to, reason }) = self.durable.want.intent.clone() {
            self.plan = Some(Plan::resumed(self.now, from, to, reason));
        }
    }
}
