//! Rolling restart: the spare first, then a switchover to it, then the other. The first failure ends it, with the
//! service where it is. Which members are done is on record, so a controller that starts anew goes on with the rest.

use super::Decider;
use crate::effect::Effect;
use crate::event::EventKind;
use crate::ids::{Member, OpId};
use crate::message::Down;
use crate::record::RollingRecord;
use crate::time::Time;

#[derive(Debug)]
pub(super) struct Rolling {
    /// Who asked; `None`: nobody waits for an answer.
    request: Option<u64>,
    reason: String,
    step: Step,
    deadline: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It was found on record: goes on when somebody is active and the spare is heard.
    Resuming,
    /// The member was told to restart.
    Restarting {
        member: Member,
        op: OpId,
        second: bool,
    },
    /// It says that it has; it must also be ready.
    AwaitReady {
        member: Member,
        second: bool,
    },
    Switching,
}

impl Rolling {
    pub(super) fn deadline(&self) -> Time {
        self.deadline
    }

    pub(super) fn describe(&self) -> String {
        match self.step {
            Step::Resuming => "rolling restart: goes on after a restart of the controller".into(),
            Step::Restarting { member, .. } => format!("rolling restart: member {member} restarts"),
            Step::AwaitReady { member, .. } => format!("rolling restart: waiting until member {member} is ready"),
            Step::Switching => "rolling restart: switching over".into(),
        }
    }
}

impl Decider {
    pub(super) fn begin_rolling(&mut self, request: u64, reason: String) {
        let checked = self.check_change(self.now, None, true).and_then(|spare| match self.rolling {
            Some(_) => Err(vec!["a rolling restart is under way".to_string()]),
            None => Ok(spare),
        });
        match checked {
            Ok(spare) => {
                let (step, deadline) = (Step::Switching, self.now);
                self.durable.want.rolling = Some(RollingRecord { restarted: [false; 2], reason: reason.clone() });
                self.rolling = Some(Rolling { request: Some(request), reason, step, deadline });
                self.restart_member(spare, false);
            }
            Err(reasons) => self.refuse(request, reasons),
        }
    }

    /// The record says that one was under way.
    pub(super) fn resume_rolling(&mut self) {
        let Some(record) = &self.durable.want.rolling else { return };
        let deadline = self.now + self.settings.deadlines.restart;
        self.rolling = Some(Rolling { request: None, reason: record.reason.clone(), step: Step::Resuming, deadline });
        self.roll_to(Step::Resuming, deadline);
    }

    /// With what is left, by the record.
    fn go_on_rolling(&mut self, deadline: Time) {
        let spare = self.active.map(|(active, _)| active.other()).filter(|spare| self.is_fresh(*spare));
        let (Some(spare), Some(record)) = (spare, &self.durable.want.rolling) else {
            if self.now >= deadline {
                self.end_rolling(
                    false,
                    "after a restart of the controller the members did not come back in time".into(),
                );
            }
            return;
        };
        let done = |member: Member| record.restarted[member.index()];
        match (done(spare), done(spare.other())) {
            (false, second) => self.restart_member(spare, second),
            (true, false) => self.roll_to(Step::AwaitReady { member: spare, second: false }, deadline),
            (true, true) => self.end_rolling(true, "both members were restarted".into()),
        }
    }

    fn restart_member(&mut self, member: Member, second: bool) {
        let op = self.next_op();
        let deadline = self.now + self.settings.deadlines.restart;
        let Some(link) = self.members[member].link else {
            return self.end_rolling(false, format!("member {member} is not connected"));
        };
        self.send(member, link, Down::Restart { op });
        self.roll_to(Step::Restarting { member, op, second }, deadline);
    }

    fn roll_to(&mut self, step: Step, deadline: Time) {
        let Some(rolling) = &mut self.rolling else { return };
        (rolling.step, rolling.deadline) = (step, deadline);
        let (request, text) = (rolling.request.unwrap_or(0), rolling.describe());
        self.event(EventKind::Step { request, text });
    }

    pub(super) fn on_restarted(&mut self, member: Member, op: OpId, failure: Option<String>) {
        let Some(Rolling { step: Step::Restarting { member: m, op: ours, second }, deadline, .. }) = self.rolling
        else {
            return self.ignore();
        };
        if (m, ours) != (member, op) {
            return self.ignore();
        }
        match failure {
            Some(why) => self.end_rolling(false, format!("member {member} did not restart: {why}")),
            None => {
                if let Some(record) = &mut self.durable.want.rolling {
                    record.restarted[member.index()] = true;
                }
                self.roll_to(Step::AwaitReady { member, second }, deadline);
            }
        }
    }

    pub(super) fn step_rolling(&mut self) {
        let Some(Rolling { step, deadline, .. }) = self.rolling else { return };
        match step {
            Step::Resuming => self.go_on_rolling(deadline),
            Step::AwaitReady { member, second } if self.is_ready(member) => {
                if second {
                    return self.end_rolling(true, "both members were restarted".into());
                }
                match self.check_change(self.now, Some(member), true) {
                    Ok(to) => {
                        self.roll_to(Step::Switching, Time::MAX);
                        self.begin_switchover(None, to, "rolling restart".into());
                        // Its first steps may be due already.
                        self.advance();
                    }
                    Err(reasons) if self.active.is_none() || self.now >= deadline => {
                        self.end_rolling(false, reasons.join("; "));
                    }
                    Err(_) => {}
                }
            }
            Step::Switching => {}
            _ if self.active.is_none() => self.end_rolling(false, "the active failed meanwhile".into()),
            Step::Restarting { member, .. } | Step::AwaitReady { member, .. } if self.now >= deadline => {
                let why = self.why_not_ready(member).unwrap_or_else(|| "no answer".into());
                self.end_rolling(false, format!("member {member} was not ready in time: {why}"));
            }
            _ => {}
        }
    }

    /// The switchover in the middle has ended.
    pub(super) fn rolling_switched(&mut self, done: bool, text: &str) {
        if self.rolling.as_ref().is_none_or(|r| r.step != Step::Switching) {
            return;
        }
        match self.active.filter(|_| done) {
            Some((active, _)) => self.restart_member(active.other(), true),
            None => self.end_rolling(false, format!("the switchover failed: {text}")),
        }
    }

    pub(super) fn end_rolling(&mut self, done: bool, text: String) {
        let Some(rolling) = self.rolling.take() else { return };
        self.durable.want.rolling = None;
        let text = if rolling.reason.is_empty() { text } else { format!("{text} ({})", rolling.reason) };
        let request = rolling.request.unwrap_or(0);
        self.event_seen(EventKind::PlanEnded { request, done, text: text.clone() });
        if let Some(request) = rolling.request {
            let result = if done { Ok(text) } else { Err(vec![text]) };
            self.effects.push_back(Effect::Answer { request, result });
        }
    }

    /// Nothing planned goes on from here.
    pub(super) fn abandon_plans(&mut self, why: &str) {
        self.end_plan(false, why.into());
        self.end_rolling(false, why.into());
    }
}
