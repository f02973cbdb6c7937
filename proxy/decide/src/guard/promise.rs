//! The peer's promise, both sides: asking when renewals fail, and giving when no controller is heard.
//!
//! The asker counts from when it sent the question, the giver from when it answered (plus drift and kill budget), so
//! the asker's end comes first here too.

use super::tenure::Phase;
use super::{Guard, GuardConfig, GuardEffect, GuardEvent};
use crate::message::{PromiseAnswer, PromiseAsk, PromiseVerdict};
use crate::rules::Rule;
use crate::time::{Time, ms};
use std::collections::VecDeque;
use std::time::Duration;

/// Open questions remembered; older ones are too old to help.
const MAX_ASKS: usize = 64;

#[derive(Debug)]
pub(super) struct Promises {
    /// Nothing is started here before this: the peer was told so.
    pub(super) given_until: Option<Time>,
    /// Up to when the peer's promise carries us.
    pub(super) held_until: Option<Time>,
    /// Renewals fail and the peer is being asked.
    pub(super) asking: bool,
    next_ask: Option<Time>,
    last_ask: u64,
    sent: VecDeque<(u64, Time)>,
    declined: Option<(Time, PromiseVerdict)>,
}

impl Promises {
    pub(super) fn new(config: GuardConfig) -> Self {
        Promises {
            given_until: None,
            held_until: None,
            asking: false,
            next_ask: None,
            last_ask: config.first_number(),
            sent: VecDeque::new(),
            declined: None,
        }
    }

    /// The peer was heard to decline a moment ago, so it isn't true that nobody is there.
    pub(super) fn declined_lately(&self, now: Time) -> bool {
        self.declined.is_some_and(|(at, _)| now.since(at) < Duration::from_secs(5))
    }
}

impl Guard {
    /// When the peer is to be asked for the first time, or again.
    pub(super) fn promise_deadline(&self) -> Option<Time> {
        let given = self.promises.given_until.filter(|end| *end > self.now);
        [given, self.ask_due()].into_iter().flatten().min()
    }

    fn ask_due(&self) -> Option<Time> {
        let tenure = self.tenure.as_ref().filter(|t| matches!(t.phase, Phase::Starting | Phase::Running))?;
        self.durable.want().peer.as_ref()?;
        if self.config.controllers == 0 {
            return None;
        }
        let first = tenure.renewed + self.settings().lease.silence();
        Some(self.promises.next_ask.map_or(first, |next| next.max(first)))
    }

    pub(super) fn promise_timers(&mut self) {
        if self.promises.given_until.is_some_and(|end| end <= self.now) {
            self.promises.given_until = None;
        }
        let due = self.ask_due().is_some_and(|at| at <= self.now);
        let Some(tenure) = self.tenure.as_ref().filter(|_| due) else { return };
        let (epoch, left) = (tenure.epoch, self.now.until(tenure.end));
        if !self.promises.asking {
            self.promises.asking = true;
            self.event(GuardEvent::RenewalsFailing { left_ms: ms(left) });
        }
        let again = self.now + self.settings().lease.heartbeat;
        let p = &mut self.promises;
        p.last_ask += 1;
        p.sent.push_back((p.last_ask, self.now));
        if p.sent.len() > MAX_ASKS {
            p.sent.pop_front();
        }
        let ask = PromiseAsk { ask: p.last_ask, epoch };
        p.next_ask = Some(again);
        self.effects.push_back(GuardEffect::AskPromise { ask });
    }

    pub(super) fn on_promise_answered(&mut self, answer: PromiseAnswer) {
        let asked = self.promises.sent.iter().find(|(ask, _)| *ask == answer.ask).map(|(_, at)| *at);
        let ours = self.tenure.as_ref().is_some_and(|t| t.epoch == answer.epoch && t.phase != Phase::Stopping);
        let (Some(asked), true) = (asked, ours) else { return self.ignore() };
        match answer.verdict {
            PromiseVerdict::Given { hold_ms } => {
                let end = asked + Duration::from_millis(hold_ms);
                if self.promises.held_until.is_none_or(|held| held <= self.now) && end > self.now {
                    self.event(GuardEvent::PromiseHeld { for_ms: ms(self.now.until(end)) });
                }
                self.promises.held_until = self.promises.held_until.max(Some(end));
                self.promises.declined = None;
                self.renew(end);
            }
            verdict => {
                if self.promises.declined.is_none_or(|(_, said)| said != verdict) {
                    self.event(GuardEvent::PromiseDeclined { verdict });
                }
                self.promises.declined = Some((self.now, verdict));
            }
        }
    }

    pub(super) fn on_promise_asked(&mut self, request: u64, ask: PromiseAsk) {
        let verdict = self.verdict_for(ask);
        if let PromiseVerdict::Given { hold_ms } = verdict {
            let lease = self.settings().lease;
            let until = self.now + lease.bound(Duration::from_millis(hold_ms));
            if self.promises.given_until.is_none() {
                self.event(GuardEvent::PromiseGiven { for_ms: hold_ms });
            }
            if self.rules.holds(Rule::PromiseIsKept) {
                self.promises.given_until = self.promises.given_until.max(Some(until));
            }
        }
        let answer = PromiseAnswer { ask: ask.ask, epoch: ask.epoch, verdict };
        self.effects.push_back(GuardEffect::AnswerPromise { request, answer });
    }

    fn verdict_for(&self, ask: PromiseAsk) -> PromiseVerdict {
        if self.tenure.is_some() {
            return PromiseVerdict::Active;
        }
        // Compared with what ran here, not with what was fenced: fencing a spare says nothing about the active.
        if ask.epoch < self.highest_tenure {
            return PromiseVerdict::StaleEpoch;
        }
        if self.hears_leader() && self.rules.holds(Rule::HearingDeclines) {
            return PromiseVerdict::HearsController;
        }
        // Only what is on disk binds the next life too: it waits that long after its boot.
        match self.durable.done.settings {
            None => PromiseVerdict::Unprepared,
            Some(settings) => PromiseVerdict::Given { hold_ms: ms(settings.lease.promise) },
        }
    }
}
