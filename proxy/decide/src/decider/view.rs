//! What a decider shows: the view, the observations behind a decision, the forecast. Changes nothing.

use super::Decider;
use crate::effect::Route;
use crate::event::{Observation, Observations};
use crate::ids::{Epoch, Member};
use crate::settings::Fencing;
use crate::time::{Time, ms};
use crate::view::{Forecast, MemberView, StateName, View};

impl Decider {
    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The settings in force.
    pub fn settings(&self) -> &crate::Settings {
        &self.settings
    }

    /// The state, by name.
    pub fn state(&self) -> StateName {
        self.state.name()
    }

    /// Who is active, and under which epoch.
    pub fn active(&self) -> Option<(Member, Epoch)> {
        self.active
    }

    /// The highest epoch reserved.
    pub fn epoch(&self) -> Epoch {
        self.durable.want.epoch
    }

    /// Where connections go.
    pub fn route(&self) -> Route {
        self.route
    }

    /// Whether this controller decides for the instance (what `Welcome` and `Ack` say).
    pub fn is_leader(&self) -> bool {
        self.leader
    }

    /// Inputs ignored as late, stale or illegal.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// When every lease given to a member has certainly ended.
    pub fn lease_end(&self, member: Member) -> Time {
        self.members[member].lease_end
    }

    /// Everything, for status and metrics. Costs some allocations; call it when asked, not per connection.
    pub fn view(&self, now: Time) -> View {
        let left = |end: Time| ms(now.until(end));
        View {
            name: self.name.clone(),
            state: self.state.name(),
            state_for_ms: ms(now.since(self.state_since)),
            active: self.active.map(|(m, _)| m),
            active_epoch: self.active.map(|(_, e)| e),
            active_for_ms: self.active.map(|_| ms(now.since(self.active_since))),
            epoch: self.durable.want.epoch,
            route: self.route,
            leader: self.leader,
            paused_left_ms: self.paused_until.map(left),
            paused_reason: self.durable.want.paused.as_ref().map(|p| p.reason.clone()),
            frozen: self.durable.want.frozen,
            blind: self.blind,
            journal_failing: self.durable.failing,
            hold_down_left_ms: left(self.hold_until),
            failovers_last_hour: self.failovers_last_hour(),
            plan: self
                .plan
                .as_ref()
                .map(super::Plan::describe)
                .or_else(|| self.rolling.as_ref().map(super::Rolling::describe)),
            stuck: self.stuck.clone(),
            members: Member::BOTH.map(|m| self.member_view(m, now)),
            last_failover: self.last_failover.clone(),
            ignored: self.ignored,
        }
    }

    fn member_view(&self, member: Member, now: Time) -> MemberView {
        let m = &self.members[member];
        let why_not = self.why_not_ready(member);
        let differs = self.out_of_sync(member);
        MemberView {
            linked: m.link.is_some(),
            heard_ms_ago: m.heard.map(|at| ms(now.since(at))),
            ready: why_not.is_none(),
            why_not,
            healthy: self.unhealthy(member).is_none(),
            flows: m.flows(),
            in_sync: self.can_compare(member).then_some(differs.is_none()),
            sync_reason: differs,
            held: self.is_held(member),
            lease_left_ms: ms(now.until(m.lease_end)),
            status: m.status.clone(),
        }
    }

    /// Fenced on request; to a controller that follows, by what the store has.
    fn is_held(&self, member: Member) -> bool {
        let seen = self.seen.as_ref().filter(|_| !self.leader).map(|seen| &seen.record);
        seen.unwrap_or(&self.durable.want).held[member.index()]
    }

    pub(super) fn observations(&self) -> Observations {
        Observations {
            a: self.observation(Member::A),
            b: self.observation(Member::B),
            hold_down_left_ms: ms(self.now.until(self.hold_until)),
            observe_left_ms: ms(self.now.until(self.observe_until.max(self.glance_until))),
        }
    }

    fn observation(&self, member: Member) -> Observation {
        let m = &self.members[member];
        Observation {
            linked: m.link.is_some(),
            heard_ms_ago: m.heard.map(|at| ms(self.now.since(at))),
            flows: m.flows(),
            tenure: m.status.as_ref().and_then(|s| s.tenure),
            max_epoch: m.max_epoch(),
            lag_ms: m.status.as_ref().map_or(0, |s| s.lag_ms),
            lease_left_ms: ms(self.now.until(m.lease_end)),
            not_ready: self.why_not_ready(member),
            healthy: self.unhealthy(member).is_none(),
        }
    }

    /// "If the active died this moment: …"
    pub fn forecast(&self, now: Time) -> Forecast {
        let Some((active, _)) = self.active else {
            let why = self.stuck.clone().unwrap_or_else(|| "a change is under way".into());
            let sentences = vec![format!("No member is active: {why}.")];
            return Forecast { to: None, after_exit_ms: None, after_silence_ms: None, sentences };
        };
        let spare = active.other();
        let hold = now.until(self.hold_until);
        let mut obstacles = Vec::new();
        obstacles.extend(self.why_not_ready(spare).map(|why| format!("member {spare} could not take over: {why}")));
        if !self.may_promote(spare) {
            obstacles.push(format!("member {spare} has other flows, and promote_stale is off"));
        }
        if self.paused_until.is_some() {
            obstacles.push("it is paused: nothing happens by itself".into());
        }
        if self.durable.want.frozen {
            obstacles.push("it is frozen after too many failovers".into());
        } else if self.failovers_last_hour() >= self.settings.damping.max_per_hour {
            obstacles.push("it would be one failover too many this hour: it would freeze instead".into());
        }
        if self.durable.failing {
            obstacles.push("the journal cannot be written".into());
        }
        if !obstacles.is_empty() {
            let mut sentences = vec!["If the active died this moment, nobody would take over:".to_string()];
            sentences.extend(obstacles);
            return Forecast { to: None, after_exit_ms: None, after_silence_ms: None, sentences };
        }
        let silence = match self.settings.fencing[active] {
            Fencing::Leased => Some(now.until(self.members[active].lease_end).max(hold)),
            Fencing::Plain => Some(hold),
            Fencing::Confirmed(crate::settings::OnUnreachable::After(limit)) => Some(limit.max(hold)),
            Fencing::Confirmed(crate::settings::OnUnreachable::Wait) => None,
        };
        let mut sentences = vec![match hold.is_zero() {
            true => format!("If the process of {active} ended now, {spare} would be told to start at once."),
            false => format!("If {active} ended now, {spare} would start after a hold-down of {} ms.", ms(hold)),
        }];
        sentences.push(match silence {
            Some(wait) => format!(
                "If its machine vanished now, {spare} would be told to start after {} ms, when {active} has certainly stopped.",
                ms(wait)
            ),
            None => "If its machine vanished now, nothing would happen until its stop can be confirmed.".into(),
        });
        Forecast { to: Some(spare), after_exit_ms: Some(ms(hold)), after_silence_ms: silence.map(ms), sentences }
    }
}
