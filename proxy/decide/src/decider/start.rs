//! Nobody is active: who is started, under which epoch, and what becomes of it.
//!
//! The epoch was made durable before, when the last active took over (a reservation for its spare), so that a
//! failover is: proof, order to start, route, and waits for no disk.

use super::{Decider, State};
use crate::effect::{Effect, ParkReason, Route};
use crate::event::{Cause, EventKind};
use crate::ids::{Epoch, Member, OpId};
use crate::message::{Down, FlowState, StartFailure, StartFailureKind};
use crate::record::Tenure;
use crate::settings::Fencing;
use crate::time::{Time, ms};
use crate::view::LastFailover;
use std::time::Duration;

/// After a start that came too late or was forbidden for a moment.
const RETRY_SOON: Duration = Duration::from_millis(100);
/// After a start that failed for another reason; doubles.
const RETRY: Duration = Duration::from_secs(1);

impl Decider {
    pub(super) fn step_idle(&mut self) -> bool {
        if self.observing() {
            return false;
        }
        if self.durable.failing {
            self.say_stuck("the journal cannot be written".into());
            return false;
        }
        if self.any_unfenced() {
            let Some(from) = self.way_back() else {
                self.go(State::Fencing);
                return true;
            };
            return self.start(from);
        }
        match self.choose() {
            Ok(member) => self.start(member),
            Err(reason) => {
                self.say_stuck(reason);
                false
            }
        }
    }

    /// Who is to be started now; otherwise why nobody.
    fn choose(&mut self) -> Result<Member, String> {
        if let Some(choice) = self.planned_choice() {
            return choice;
        }
        let by_hand = self.replacing.as_ref().is_some_and(|r| matches!(r.why, Cause::Operator { .. }));
        if self.paused_until.is_some() && !by_hand {
            return Err("paused by an operator".into());
        }
        let Some(last) = self.durable.want.last_active else { return self.first_choice() };
        let spare = last.other();
        // Nobody was replaced: the controller found both stopped. Then the last active goes on.
        if self.replacing.is_none() && self.is_ready(last) {
            return Ok(last);
        }
        let obstacle = match self.why_not_ready(spare) {
            Some(why) => Some(why),
            None if !self.may_promote(spare) => Some("its flows differ, and promote_stale is off".into()),
            None => self.damped(),
        };
        let Some(obstacle) = obstacle else { return Ok(spare) };
        match self.why_not_ready(last) {
            None => Ok(last),
            Some(why) => Err(format!("member {spare}: {obstacle}; member {last}: {why}")),
        }
    }

    /// Neither has ever been active.
    fn first_choice(&mut self) -> Result<Member, String> {
        let prefer = self.settings.prefer;
        let waited = self.now.since(self.state_since) >= self.settings.deadlines.start_grace;
        match (self.why_not_ready(prefer), self.why_not_ready(prefer.other())) {
            (None, _) => Ok(prefer),
            (Some(_), None) if waited => Ok(prefer.other()),
            (Some(why), None) => Err(format!("waiting a moment for member {prefer}: {why}")),
            (Some(why), Some(other)) => Err(format!("member {prefer}: {why}; member {}: {other}", prefer.other())),
        }
    }

    fn start(&mut self, member: Member) -> bool {
        let epoch = self.reserve(member);
        if !self.is_durable(Tenure { member, epoch }) {
            return false;
        }
        assert!(
            !self.tenures.iter().any(|t| t.ordered && t.member != member),
            "a start while another member's tenure lacks its proof"
        );
        // An older tenure of the same member ends with the new one (kinds without a lease, on the way back).
        self.tenures.retain(|t| !t.ordered || t.member != member);
        for track in self.tenures.iter_mut().filter(|t| t.member == member && t.epoch == epoch) {
            track.ordered = true;
        }
        self.highest_ordered = self.highest_ordered.max(epoch);
        let op = self.next_op();
        let stale = self.out_of_sync(member).is_some();
        self.event_seen(EventKind::StartOrdered { member, tenure: epoch, op, stale });
        if self.settings.fencing[member] == Fencing::Plain {
            self.become_active(member, epoch);
            return true;
        }
        let (Some(link), seq) = (self.members[member].link, self.members[member].seq.unwrap_or(0)) else {
            return false;
        };
        self.count_lease(member);
        let ttl_ms = ms(self.ttl());
        self.send(member, link, Down::Start { op, epoch, seq, ttl_ms });
        self.set_route(Route::Park { reason: ParkReason::Starting }, None);
        let deadline = self.now + self.settings.deadlines.start;
        self.go(State::Starting { op, member, epoch, deadline });
        true
    }

    pub(super) fn step_starting(&mut self, member: Member, epoch: Epoch, deadline: Time) -> bool {
        if !self.tracks(member, epoch) {
            self.start_failed(member, epoch, "it ended before its flows ran".into(), RETRY);
            self.go_on();
            return true;
        }
        let status = self.members[member].status.as_ref();
        if status.is_some_and(|s| s.tenure == Some(epoch) && s.flows == FlowState::Running) {
            self.started(member, epoch);
            return true;
        }
        let lost = !self.is_fresh(member) && self.lease_is_over(member);
        if lost || self.now >= deadline {
            let reason = if lost { "it fell silent" } else { "no answer by the deadline" };
            self.start_failed(member, epoch, reason.into(), RETRY);
            self.go(State::Fencing);
            return true;
        }
        false
    }

    pub(super) fn on_started(&mut self, member: Member, op: OpId, epoch: Epoch, failure: Option<StartFailure>) {
        match &self.state {
            State::Starting { op: ours, member: m, epoch: e, .. } if (*ours, *m, *e) == (op, member, epoch) => {}
            _ => return self.ignore(),
        }
        let Some(failure) = failure else {
            return self.started(member, epoch);
        };
        let soon = matches!(failure.kind, StartFailureKind::TooLate | StartFailureKind::Promised);
        self.start_failed(member, epoch, failure.text, if soon { RETRY_SOON } else { RETRY });
        self.go(State::Fencing);
    }

    fn start_failed(&mut self, member: Member, epoch: Epoch, reason: String, retry: Duration) {
        let m = &mut self.members[member];
        m.not_before = self.now + retry.saturating_mul(1 << m.start_failures.min(6));
        m.start_failures += 1;
        self.turn_back(&format!("member {member} did not start: {reason}"));
        self.event_seen(EventKind::StartFailed { member, tenure: epoch, reason });
    }

    fn started(&mut self, member: Member, epoch: Epoch) {
        if self.wants_verification(member) {
            self.restart_health_grace(member);
            self.effects.push_back(Effect::Probe { member });
            let deadline = self.now + self.settings.deadlines.verify;
            return self.go(State::Verifying { member, epoch, deadline });
        }
        self.become_active(member, epoch);
    }

    /// It runs (or has no flows to run): connections go there from now on.
    pub(super) fn become_active(&mut self, member: Member, epoch: Epoch) {
        let replacing = self.replacing.take();
        let from = self.durable.want.last_active;
        let planned = self.plan.is_some() && replacing.is_none();
        let began = replacing.as_ref().map_or(self.state_since, |r| r.since);
        let took_ms = ms(self.now.since(began));
        self.active = Some((member, epoch));
        self.active_since = self.now;
        self.members[member].start_failures = 0;
        self.members[member].said_halted = false;
        self.members[member].differs_since = None;
        if matches!(self.settings.fencing[member], Fencing::Confirmed(_)) {
            self.members[member].probed = Some(FlowState::Running);
        }
        self.restart_health_grace(member);
        self.members[member.other()].said_ready = None;
        let why = replacing.as_ref().map(|r| r.why.clone());
        if from.is_some_and(|from| from != member) {
            if !planned {
                self.count_failover();
            }
            self.last_failover = Some(LastFailover {
                at: self.now,
                from,
                to: member,
                epoch,
                planned,
                why: why.clone(),
                proof: self.last_proof,
                took_ms,
            });
        }
        let detect_ms = replacing.and_then(|r| r.detect_ms);
        self.event_seen(EventKind::Active { member, tenure: epoch, took_ms, detect_ms, planned, why });
        self.durable.want.last_active = Some(member);
        self.durable.want.intent = None;
        self.durable.want.lease = self.settings.lease;
        for m in Member::BOTH {
            self.drop_reserved(m);
        }
        self.reserve(member.other());
        self.go(State::Active { since: self.now, suspicion: None });
        self.route_to(member, epoch);
        self.plan_reached(member);
    }
}
