//! The active state: what ends it without being asked to.
//!
//! Two ways lead out. Its tenure is over for certain (receipt, its own word, lease ended): the spare is started at
//! once. Or it is only thought to be bad (checks, clients): then it is fenced first, and only if a spare is ready.

use super::{Decider, State};
use crate::effect::{ParkReason, Route};
use crate::event::{Cause, EventKind, Proof};
use crate::ids::{Epoch, Member};
use crate::message::FlowState;
use crate::settings::{Fencing, OnUnreachable};
use crate::time::{Time, ms};
use std::time::Duration;

/// A change of the active that nobody planned.
#[derive(Debug)]
pub(super) struct Replacing {
    pub(super) why: Cause,
    pub(super) since: Time,
    /// How long before that something was last heard of it.
    pub(super) detect_ms: Option<u64>,
}

impl Decider {
    pub(super) fn step_active(&mut self) -> bool {
        let Some((member, epoch)) = self.active else { return false };
        if !self.tracks(member, epoch) {
            let why = self.why_over();
            self.active_is_over(why);
            return true;
        }
        self.clear_leftovers(member);
        if self.is_lost(member) && self.may_replace(member) {
            self.prove(member, epoch, Proof::LeaseExpired);
            self.active_is_over(Cause::LeaseExpired);
            return true;
        }
        if self.is_lost(member) {
            self.say_stuck(format!("member {member} is gone, and the spare cannot be started yet"));
        }
        if self.stops_by_itself(member, epoch) {
            let killing = self.members[member].status.as_ref().and_then(|status| status.killing);
            self.replace_active(killing.map_or(Cause::StoppedItself, |exit| Cause::Exited { exit }));
            return true;
        }
        self.watch_halt(member, epoch);
        // Flows that someone stopped by hand are not started elsewhere behind their back.
        let halted = self.members[member].said_halted;
        if let Some(reason) = self.failed_check(member).filter(|_| !halted && self.may_replace(member)) {
            self.replace_active(Cause::Unhealthy { reason });
            return true;
        }
        if matches!(&self.state, State::Active { suspicion: Some(s), .. } if s.until <= self.now) {
            self.clear_suspicion();
        }
        self.step_plan_while_active(member) || self.fail_back(member)
    }

    pub(super) fn why_over(&self) -> Cause {
        match (self.last_proof, self.last_exit) {
            (Some(Proof::ExitReceipt), Some(exit)) => Cause::Exited { exit },
            _ => Cause::StoppedItself,
        }
    }

    /// A tenure of the spare that was never proven over (adopted after a restart): settle it while there is time.
    fn clear_leftovers(&mut self, active: Member) {
        let spare = active.other();
        let leftover = self.tenures.iter().filter(|t| t.member == spare && t.ordered).map(|t| t.epoch).max();
        if let Some(epoch) = leftover {
            match self.settings.fencing[spare] {
                Fencing::Plain => self.prove(spare, epoch, Proof::NothingToFence),
                _ => self.order_fence(spare, epoch),
            }
        }
    }

    /// Silent, and its lease has certainly ended.
    fn is_lost(&self, member: Member) -> bool {
        !self.is_fresh(member) && self.lease_is_over(member)
    }

    /// Its flows are stopped, or being stopped, and nobody here asked for it.
    fn stops_by_itself(&mut self, member: Member, epoch: Epoch) -> bool {
        let m = &self.members[member];
        match self.settings.fencing[member] {
            Fencing::Leased => {
                m.status.as_ref().is_some_and(|s| s.tenure == Some(epoch) && s.flows == FlowState::Stopping)
            }
            Fencing::Confirmed(_) => {
                // A look that began before the start may still say "stopped".
                let settled = self.now >= m.grace_until;
                settled && matches!(m.probed, Some(FlowState::Stopped | FlowState::Down)) && self.may_replace(member)
            }
            Fencing::Plain => false,
        }
    }

    /// An unplanned replacement may begin by itself: somebody could take over, and nothing speaks against it.
    pub(super) fn may_replace(&mut self, active: Member) -> bool {
        !self.observing()
            && !self.blind
            && self.paused_until.is_none()
            && !self.durable.failing
            && self.is_ready(active.other())
            && self.may_promote(active.other())
            && self.damped().is_none()
    }

    /// A spare with other flows is promoted only if the configuration says so.
    pub(super) fn may_promote(&self, member: Member) -> bool {
        self.settings.promote_stale || self.out_of_sync(member).is_none()
    }

    /// The active is only thought to be bad: fence it, then go on.
    pub(super) fn replace_active(&mut self, why: Cause) {
        self.begin_replacing(why);
        self.set_route(Route::Park { reason: ParkReason::Fencing }, Some(Duration::ZERO));
        self.go(State::Fencing);
    }

    /// Its tenure is over for certain: go on at once.
    pub(super) fn active_is_over(&mut self, why: Cause) {
        self.begin_replacing(why);
        self.set_route(Route::Park { reason: ParkReason::NoActive }, Some(Duration::ZERO));
        self.go_on();
    }

    /// To whoever is next; first to the fences that are still missing.
    pub(super) fn go_on(&mut self) {
        if self.any_unfenced() { self.go(State::Fencing) } else { self.go(State::Idle) }
    }

    fn begin_replacing(&mut self, why: Cause) {
        let Some((from, from_epoch)) = self.active.take() else { return };
        let detect_ms = self.members[from].heard.map(|at| ms(self.now.since(at)));
        self.replacing = Some(Replacing { why: why.clone(), since: self.now, detect_ms });
        self.event_seen(EventKind::FailoverBegan { from, from_epoch, why });
        self.last_exit = None;
    }

    pub(super) fn step_fencing(&mut self) -> bool {
        self.press_fences();
        if self.any_unfenced() {
            let Some(from) = self.way_back() else {
                self.say_unreachable();
                return false;
            };
            self.turn_back(&format!("member {from} did not confirm its stop in time"));
        }
        self.go(State::Idle);
        true
    }

    fn say_unreachable(&mut self) {
        let unreachable = self.tenures.iter().find(|t| t.ordered && !self.is_seen(t.member)).map(|t| t.member);
        if let Some(member) = unreachable.filter(|m| matches!(self.settings.fencing[*m], Fencing::Confirmed(_))) {
            self.say_stuck(format!("member {member} cannot be reached, and only a confirmed stop would fence it"));
        }
    }

    pub(super) fn unreachable_rule_due(&self) -> Option<Time> {
        let due = |t: &super::fencing::Track| match self.settings.fencing[t.member] {
            Fencing::Confirmed(OnUnreachable::After(limit)) => Some(self.members[t.member].seen_at + limit),
            _ => None,
        };
        self.tenures.iter().filter(|t| t.ordered).filter_map(due).min()
    }

    /// Both silent at once: suspect ourselves. Seeing again: look before acting.
    pub(super) fn watch_sight(&mut self) {
        let seeing = Member::BOTH.iter().any(|m| self.is_seen(*m));
        if seeing && self.blind {
            self.blind = false;
            self.observe_until = self.observe_until.max(self.now + self.settings.deadlines.observe);
            self.event_seen(EventKind::Seeing);
        } else if !seeing && !self.blind && self.was_seeing && !self.observing() {
            self.blind = true;
            self.event_seen(EventKind::Blind);
        }
        self.was_seeing |= seeing;
    }

    /// The active's flows stand still by someone's hand: an alarm, and nothing else. It keeps its tenure.
    fn watch_halt(&mut self, member: Member, tenure: Epoch) {
        let status = self.members[member].status.as_ref().filter(|s| s.tenure == Some(tenure));
        let why = status.and_then(|s| s.halted.clone());
        if std::mem::replace(&mut self.members[member].said_halted, why.is_some()) != why.is_some() {
            self.event_seen(EventKind::Halted { member, tenure, why });
        }
    }

    /// A spare that couldn't take over is an alarm now, not when it is needed.
    pub(super) fn watch_spare(&mut self) {
        let (State::Active { since, .. }, Some((active, _))) = (&self.state, self.active) else { return };
        let settling = self.now.since(*since) < self.settings.lease.silence();
        let spare = active.other();
        // A fence may have used its epoch up.
        self.reserve(spare);
        let why_not = self.why_not_ready(spare);
        let m = &mut self.members[spare];
        m.ready_since = if why_not.is_none() { m.ready_since.or(Some(self.now)) } else { None };
        if self.members[spare].said_ready != Some(why_not.is_none()) && !settling {
            self.members[spare].said_ready = Some(why_not.is_none());
            match why_not {
                None => self.event(EventKind::SpareReady { member: spare }),
                Some(reason) => self.event_seen(EventKind::SpareNotReady { member: spare, reason }),
            }
        }
        if !self.can_compare(spare) {
            return;
        }
        let differs = self.out_of_sync(spare);
        let (now, m) = (self.now, &mut self.members[spare]);
        m.differs_since = differs.as_ref().map(|_| m.differs_since.unwrap_or(now));
        let lasting = m.differs_since.is_some_and(|since| now.since(since) >= self.settings.deadlines.sync);
        match (m.said_in_sync, differs) {
            (Some(true) | None, Some(reason)) if lasting => {
                m.said_in_sync = Some(false);
                self.event_seen(EventKind::OutOfSync { member: spare, reason });
            }
            (Some(false), None) => {
                m.said_in_sync = Some(true);
                self.event(EventKind::InSync { member: spare });
            }
            _ => {}
        }
    }

    /// A start is wanted and can't happen: say it once per reason, whatever the number of milliseconds in it.
    pub(super) fn say_stuck(&mut self, reason: String) {
        let words = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
        let said = self.stuck.as_ref().is_some_and(|said| words(said) == words(&reason));
        self.stuck = Some(reason.clone());
        if !said {
            self.event_seen(EventKind::Stuck { reason });
        }
    }
}
