//! A planned change: make the intent durable, let connections wait, drain, stop, start, look, release. Each step has
//! a deadline; whatever fails goes back to the old active.

use super::{Decider, State};
use crate::effect::{Effect, ParkReason, Route};
use crate::event::EventKind;
use crate::ids::{Epoch, Member};
use crate::record::{Intent, Tenure};
use crate::settings::Fencing;
use crate::time::Time;
use std::time::Duration;

/// Nobody is active and the one that should be next isn't ready: the other is taken after this long.
pub(super) const TARGET_WAIT: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct Plan {
    /// Who asked; `None`: nobody waits for an answer.
    request: Option<u64>,
    pub(super) from: Member,
    pub(super) to: Member,
    reason: String,
    phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// The epochs of the way there and of the way back are being made durable. Nothing has happened yet.
    Reserve { deadline: Time },
    /// There.
    Go,
    /// Back, for this reason.
    Back { why: String },
}

impl Plan {
    pub(super) fn resumed(_now: Time, from: Member, to: Member, reason: String) -> Self {
        Plan { request: None, from, to, reason, phase: Phase::Go }
    }

    /// When the plan itself needs a look; `Time::ZERO` if it has no deadline of its own.
    pub(super) fn deadline(&self) -> Time {
        match self.phase {
            Phase::Reserve { deadline } => deadline,
            _ => Time::ZERO,
        }
    }

    pub(super) fn describe(&self) -> String {
        let (from, to) = (self.from, self.to);
        match &self.phase {
            Phase::Reserve { .. } => format!("switchover {from} to {to}: writing it down"),
            Phase::Go => format!("switchover {from} to {to}"),
            Phase::Back { why } => format!("switchover {from} to {to} goes back: {why}"),
        }
    }
}

impl Decider {
    /// Would a switchover (to `to`, or to the spare) work now? If not, every reason.
    pub fn check_switchover(&self, now: Time, to: Option<Member>) -> Result<Member, Vec<String>> {
        self.check_change(now, to, false)
    }

    /// The same for the switch in a rolling restart, which may bring another Node-RED.
    pub(super) fn check_change(&self, now: Time, to: Option<Member>, by_restart: bool) -> Result<Member, Vec<String>> {
        let mut reasons = Vec::new();
        let Some((active, _)) = self.active else {
            return Err(vec!["no member is active".into()]);
        };
        let to = to.unwrap_or(active.other());
        if to == active {
            return Err(vec![format!("member {to} is active already")]);
        }
        if !self.leader {
            reasons.push("another controller decides".into());
        }
        if self.plan.is_some() {
            reasons.push("a planned change is under way".into());
        }
        if now < self.observe_until.max(self.glance_until) {
            reasons.push("the controller is still looking around".into());
        }
        if self.durable.failing {
            reasons.push("the journal cannot be written".into());
        }
        if self.tenures.iter().any(|t| t.ordered && t.member == to) {
            reasons.push(format!("an earlier tenure of member {to} is not fenced yet"));
        }
        reasons.extend(self.why_not_ready(to).map(|why| format!("member {to}: {why}")));
        reasons.extend(self.differs(to, by_restart).map(|why| format!("member {to}: {why}")));
        if reasons.is_empty() { Ok(to) } else { Err(reasons) }
    }

    /// Begins a switchover that was checked.
    pub(super) fn begin_switchover(&mut self, request: Option<u64>, to: Member, reason: String) {
        let from = to.other();
        self.reserve(to);
        self.reserve(from);
        self.durable.want.intent = Some(Intent::Switchover { from, to, reason: reason.clone() });
        let deadline = self.now + self.settings.deadlines.persist;
        self.plan = Some(Plan { request, from, to, reason, phase: Phase::Reserve { deadline } });
        self.step_event(format!("switchover from {from} to {to} begins"));
    }

    fn step_event(&mut self, text: String) {
        let request = self.plan.as_ref().and_then(|p| p.request).unwrap_or(0);
        self.event(EventKind::Step { request, text });
    }

    /// While the old active is still active: wait for the disk, then let connections wait.
    pub(super) fn step_plan_while_active(&mut self, active: Member) -> bool {
        let Some(Plan { from, to, phase: Phase::Reserve { deadline }, .. }) = &self.plan else { return false };
        let (from, to, deadline) = (*from, *to, *deadline);
        if active != from || self.now >= deadline {
            self.durable.want.intent = None;
            self.end_plan(false, "the journal did not take it in time; nothing was changed".into());
            return true;
        }
        let durable = [from, to].into_iter().all(|member| {
            let reserved = self.tenures.iter().find(|t| t.member == member && !t.ordered);
            reserved.is_some_and(|t| self.is_durable(Tenure { member, epoch: t.epoch }))
        });
        if !durable || self.durable.done.as_ref().is_none_or(|r| r.intent != self.durable.want.intent) {
            return false;
        }
        if let Some(why) = self.why_not_ready(to) {
            self.durable.want.intent = None;
            self.end_plan(false, format!("member {to}: {why}; nothing was changed"));
            return true;
        }
        if let Some(plan) = &mut self.plan {
            plan.phase = Phase::Go;
        }
        self.step_event(format!("new connections wait; draining {from}"));
        let drain = self.settings.deadlines.drain;
        self.set_route(Route::Park { reason: ParkReason::Switchover }, Some(drain));
        self.go(State::Draining { deadline: self.now + drain, drained: false });
        true
    }

    /// Nothing is under way any more on any connection to the old active.
    pub(super) fn on_drained(&mut self, epoch: Epoch) {
        let carried = self.carrying.epoch.take_if(|carried| *carried == epoch).is_some();
        match (&mut self.state, self.active) {
            (State::Draining { drained, .. }, Some((_, active))) if active == epoch => *drained = true,
            (State::Follower, _) if carried => self.close_what_is_quiet(),
            _ => self.ignore(),
        }
    }

    /// `drained`: nothing is under way any more on our own connections.
    pub(super) fn step_draining(&mut self, deadline: Time, drained: bool) -> bool {
        let Some((member, epoch)) = self.active else { return false };
        if !self.tracks(member, epoch) {
            let why = self.why_over();
            self.active_is_over(why);
            return true;
        }
        if self.now < deadline && !(drained && self.followers_have_left(member, epoch)) {
            return false;
        }
        self.active = None;
        // What is left ends before the flows do: a member whose flows are stopped would answer for them.
        self.effects.push_back(Effect::Route { route: self.route, drain: Some(Duration::ZERO) });
        self.step_event(format!("stopping the flows of {member}"));
        self.go(State::Fencing);
        true
    }

    /// Nor is anything under way on the connections of other controllers' clients, as far as the member's launcher hears
    /// of them.
    fn followers_have_left(&self, member: Member, epoch: Epoch) -> bool {
        let status = self.members[member].status.as_ref();
        status.and_then(|status| status.followers_left).is_none_or(|left| left >= epoch)
    }

    /// Who a plan wants started; `None` without a plan.
    pub(super) fn planned_choice(&mut self) -> Option<Result<Member, String>> {
        let plan = self.plan.as_ref()?;
        let wanted = if plan.phase == Phase::Go { plan.to } else { plan.from };
        let Some(why) = self.why_not_ready(wanted) else { return Some(Ok(wanted)) };
        let text = format!("member {wanted}: {why}");
        if self.now.since(self.state_since) < TARGET_WAIT {
            return Some(Err(text));
        }
        if plan.phase == Phase::Go {
            self.turn_back(&text);
        }
        Some(Member::BOTH.into_iter().find(|m| self.is_ready(*m)).ok_or(text))
    }

    /// Forward no more: the old active is to go on.
    pub(super) fn turn_back(&mut self, why: &str) {
        let Some(plan) = self.plan.as_mut().filter(|p| p.phase == Phase::Go) else { return };
        plan.phase = Phase::Back { why: why.into() };
        let from = plan.from;
        self.step_event(format!("going back to {from}: {why}"));
    }

    /// Only the way there is looked at before it gets traffic; the way back, and a failover, can't wait.
    pub(super) fn wants_verification(&self, member: Member) -> bool {
        let forward = self.plan.as_ref().is_some_and(|p| p.phase == Phase::Go && p.to == member);
        forward && self.replacing.is_none() && !self.members[member].checks.is_empty()
    }

    pub(super) fn step_verifying(&mut self, member: Member, epoch: Epoch, deadline: Time) -> bool {
        if !self.tracks(member, epoch) {
            self.turn_back(&format!("member {member} ended while it was looked at"));
            self.go_on();
            return true;
        }
        if self.members[member].checks.iter().all(|c| c.passed_since_start) {
            self.become_active(member, epoch);
            return true;
        }
        if self.now < deadline {
            return false;
        }
        let why = self.failed_check(member).unwrap_or_else(|| "its checks did not pass in time".into());
        self.turn_back(&format!("member {member} does not serve: {why}"));
        self.go(State::Fencing);
        true
    }

    /// The old active of a plan that goes back, where its stop can't be confirmed and nobody else was ever started: it
    /// alone may be started without a fence.
    pub(super) fn way_back(&self) -> Option<Member> {
        let plan = self.plan.as_ref()?;
        let m = &self.members[plan.from];
        let own = matches!(self.settings.fencing[plan.from], Fencing::Confirmed(_))
            && self.tenures.iter().all(|t| !t.ordered || t.member == plan.from);
        let due = matches!(plan.phase, Phase::Back { .. }) || self.now >= self.rollback_due();
        let held = self.durable.want.held[plan.from.index()];
        let able = m.link.is_some() && m.not_before <= self.now && !held && self.unhealthy(plan.from).is_none();
        (own && due && able).then_some(plan.from)
    }

    /// When a stop that nobody confirms makes a switchover go back.
    pub(super) fn rollback_due(&self) -> Time {
        self.state_since + self.settings.deadlines.stop_grace + self.settings.deadlines.fence_retry.saturating_mul(2)
    }

    /// Somebody is active again: the plan has ended, one way or the other.
    pub(super) fn plan_reached(&mut self, member: Member) {
        let Some(plan) = &self.plan else { return };
        let (to, phase) = (plan.to, plan.phase.clone());
        let text = match phase {
            _ if member == to => format!("member {to} is active"),
            Phase::Back { why } => why,
            _ => format!("member {member} is active"),
        };
        self.end_plan(member == to, text);
    }

    pub(super) fn end_plan(&mut self, done: bool, text: String) {
        let Some(plan) = self.plan.take() else { return };
        let request = plan.request.unwrap_or(0);
        let text = if plan.reason.is_empty() { text } else { format!("{text} ({})", plan.reason) };
        self.event_seen(EventKind::PlanEnded { request, done, text: text.clone() });
        self.rolling_switched(done, &text);
        if let Some(request) = plan.request {
            let result = if done { Ok(text) } else { Err(vec![text]) };
            self.effects.push_back(Effect::Answer { request, result });
        }
    }

    /// When `auto_failback` is configured: return to the preferred member once it has been a ready spare for long.
    pub(super) fn fail_back(&mut self, active: Member) -> bool {
        let due = self.failback_due().is_some_and(|at| at <= self.now);
        if !due || self.paused_until.is_some() || self.durable.want.frozen {
            return false;
        }
        let Ok(to) = self.check_switchover(self.now, Some(active.other())) else { return false };
        self.begin_switchover(None, to, "fail-back".into());
        true
    }

    pub(super) fn failback_due(&self) -> Option<Time> {
        let (active, _) = self.active.filter(|(m, _)| *m != self.settings.prefer)?;
        let wait = self.settings.auto_failback?;
        let ready = self.members[active.other()].ready_since?;
        (self.plan.is_none() && self.rolling.is_none()).then(|| ready.max(self.active_since) + wait)
    }
}
