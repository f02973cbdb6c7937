//! Health checks: several per member, all must pass; rise and fall; a grace after a start. And the data path's word.

use super::{Decider, State};
use crate::effect::{Effect, ParkReason, Route};
use crate::event::{Cause, EventKind};
use crate::ids::{Epoch, Member};
use crate::input::{ConnectTrouble, ProbeOutcome};
use crate::message::FlowState;
use crate::settings::Fencing;
use crate::time::Time;
use std::time::Duration;

/// Refused clients don't make a member suspect again for this long after a look found it well.
const TRUST: Duration = Duration::from_secs(2);

/// One health check of one member. A new one has no verdict yet: not healthy, not failed.
#[derive(Clone, Debug, Default)]
pub(super) struct Check {
    passes: u32,
    failures: u32,
    /// `None`: no verdict yet.
    pub(super) up: Option<bool>,
    /// The last outcome was no answer at all.
    pub(super) mute: bool,
    /// It has passed since the member was last started.
    pub(super) passed_since_start: bool,
    reason: String,
}

impl Check {
    /// Its last outcome was an answer, and a wrong one.
    pub(super) fn failed_last(&self) -> bool {
        self.passes == 0 && !self.mute && !self.reason.is_empty()
    }
}

/// The active refused a connection, and is being looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suspicion {
    pub(super) until: Time,
    pub(super) trouble: ConnectTrouble,
}

impl Decider {
    pub(super) fn on_probe(&mut self, member: Member, check: usize, outcome: ProbeOutcome, flows: Option<FlowState>) {
        let (rise, fall) = (self.settings.health.rise.max(1), self.settings.health.fall.max(1));
        let (now, m) = (self.now, &mut self.members[member]);
        let in_grace = now < m.grace_until;
        let Some(c) = m.checks.get_mut(check) else { return self.ignore() };
        c.mute = matches!(outcome, ProbeOutcome::Unknown { .. });
        if !c.mute {
            m.seen_at = now;
        }
        match &outcome {
            ProbeOutcome::Pass => {
                c.failures = 0;
                c.passes = c.passes.saturating_add(1);
                c.passed_since_start = true;
                if c.passes >= rise {
                    c.up = Some(true);
                }
            }
            ProbeOutcome::Fail { reason } | ProbeOutcome::Unknown { reason } => {
                c.passes = 0;
                c.reason.clone_from(reason);
                if !in_grace {
                    c.failures = c.failures.saturating_add(1);
                }
                if c.failures >= fall {
                    c.up = Some(false);
                }
            }
        }
        if flows.is_some() || outcome != ProbeOutcome::Pass {
            m.probed = flows;
        }
        if flows.is_some() {
            m.unknown &= !matches!(flows, Some(FlowState::Stopped | FlowState::Down));
        }
        self.probe_of_suspect(member, &outcome);
        self.probe_of_intruder(member, flows);
    }

    /// Kinds without a lease: flows that run where none may.
    fn probe_of_intruder(&mut self, member: Member, flows: Option<FlowState>) {
        let settled = matches!(self.state, State::Active { .. } | State::Draining { .. });
        let confirmed = matches!(self.settings.fencing[member], Fencing::Confirmed(_));
        let active = self.current().is_some_and(|(m, _)| m == member);
        let fresh = self.now >= self.members[member].grace_until;
        if confirmed && settled && fresh && !active && flows == Some(FlowState::Running) {
            self.repel_intruder(member, None);
        }
    }

    /// Which check failed and how; `None`: all pass.
    pub(super) fn unhealthy(&self, member: Member) -> Option<String> {
        let checks = &self.members[member].checks;
        let bad = checks.iter().find(|c| c.up != Some(true))?;
        Some(match bad.up {
            None => "a health check has not passed yet".into(),
            _ => format!("health check failed: {}", bad.reason),
        })
    }

    /// A check that failed often enough to act upon; "no verdict yet" isn't one.
    pub(super) fn failed_check(&self, member: Member) -> Option<String> {
        self.members[member].checks.iter().find(|c| c.up == Some(false)).map(|c| c.reason.clone())
    }

    /// A member was started, or its launcher came anew: look afresh.
    pub(super) fn restart_health_grace(&mut self, member: Member) {
        self.members[member].grace_until = self.now + self.settings.health.start_grace;
        for c in &mut self.members[member].checks {
            c.failures = 0;
            c.passed_since_start = false;
        }
    }

    pub(super) fn on_trouble(&mut self, member: Member, epoch: Epoch, trouble: ConnectTrouble) {
        let now = self.now;
        let until = now + self.settings.deadlines.suspect;
        let State::Active { suspicion, since } = &mut self.state else { return self.ignore() };
        let grace = now.since(*since) < self.settings.deadlines.suspect;
        let settling = now < self.trust_until || grace && trouble != ConnectTrouble::Refused;
        if self.active != Some((member, epoch)) || suspicion.is_some() || settling {
            return self.ignore();
        }
        *suspicion = Some(Suspicion { until, trouble });
        self.event_seen(EventKind::Suspected { member, trouble });
        self.set_route(Route::Park { reason: ParkReason::Suspect }, None);
        self.effects.push_back(Effect::Probe { member });
    }

    /// A check of a suspected active has an outcome: clear it, or ask for the fence. The fence decides.
    fn probe_of_suspect(&mut self, member: Member, outcome: &ProbeOutcome) {
        let State::Active { suspicion: Some(suspicion), .. } = &self.state else { return };
        let Some((active, _)) = self.active.filter(|(m, _)| *m == member) else { return };
        match outcome {
            ProbeOutcome::Pass => self.clear_suspicion(),
            // Its launcher says ten times a second that it is well: a packet that was lost says less. What goes on is
            // for the checks to count.
            ProbeOutcome::Unknown { .. } if self.is_leased(active) && self.is_fresh(active) => {}
            ProbeOutcome::Fail { reason } | ProbeOutcome::Unknown { reason } => {
                let reason = format!("{:?} by a client, and: {reason}", suspicion.trouble).to_lowercase();
                if !self.members[active].said_halted && self.may_replace(active) {
                    self.replace_active(Cause::Unreachable { reason });
                }
            }
        }
    }

    pub(super) fn clear_suspicion(&mut self) {
        let (State::Active { suspicion, .. }, Some((member, epoch))) = (&mut self.state, self.active) else { return };
        *suspicion = None;
        self.trust_until = self.now + TRUST;
        self.event(EventKind::Cleared { member });
        self.set_route(Route::To { member, epoch }, None);
    }
}
