//! The record on disk, the record that should be there, and the one write under way.

use super::Decider;
use crate::effect::Effect;
use crate::event::EventKind;
use crate::ids::{Epoch, Member};
use crate::record::{Record, Tenure};
use crate::rules::Rule;
use crate::time::Time;
use std::time::Duration;

/// How soon a failed write is tried again.
const RETRY: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Durable {
    /// Durable for certain; `None` before the first write of a new instance.
    pub(super) done: Option<Record>,
    /// What should be.
    pub(super) want: Record,
    in_flight: Option<(u64, Record)>,
    last_id: u64,
    pub(super) retry_at: Option<Time>,
    pub(super) failing: bool,
}

impl Durable {
    pub(super) fn new(done: Option<Record>, want: Record) -> Self {
        Durable { done, want, in_flight: None, last_id: 0, retry_at: None, failing: false }
    }

    /// Keeps counting where an earlier record's writes left off, so that their late results are known as such.
    pub(super) fn replace(&mut self, done: Option<Record>, want: Record) {
        *self = Durable { last_id: self.last_id, ..Durable::new(done, want) };
    }
}

impl Decider {
    pub(super) fn pump_durable(&mut self) {
        let d = &mut self.durable;
        d.retry_at = d.retry_at.filter(|at| *at > self.now);
        let settled = d.done.as_ref() == Some(&d.want) && !d.failing;
        if !self.leader || d.in_flight.is_some() || d.retry_at.is_some() || settled {
            return;
        }
        d.last_id += 1;
        d.in_flight = Some((d.last_id, d.want.clone()));
        self.effects.push_back(Effect::Persist { id: d.last_id, record: d.want.clone() });
    }

    pub(super) fn on_persisted(&mut self, id: u64) {
        match self.durable.in_flight.take() {
            Some((expected, record)) if expected == id => {
                self.durable.done = Some(record);
                if std::mem::take(&mut self.durable.failing) {
                    self.event(EventKind::JournalRecovered);
                }
            }
            other => {
                self.durable.in_flight = other;
                self.ignore();
            }
        }
    }

    pub(super) fn on_persist_failed(&mut self, id: u64, reason: String) {
        if self.durable.in_flight.as_ref().is_none_or(|(expected, _)| *expected != id) {
            return self.ignore();
        }
        self.durable.in_flight = None;
        self.durable.retry_at = Some(self.now + RETRY);
        if !self.durable.failing {
            self.durable.failing = true;
            self.event(EventKind::JournalFailing { reason });
        }
    }

    /// Whether this tenure may have an effect.
    pub(super) fn is_durable(&self, tenure: Tenure) -> bool {
        !self.rules.holds(Rule::EpochIsDurable)
            || self.durable.done.as_ref().is_some_and(|r| r.tenures.contains(&tenure) && r.epoch >= tenure.epoch)
    }

    /// The tenure reserved for `member`, reserving one if need be. It is above every epoch anybody has heard of.
    pub(super) fn reserve(&mut self, member: Member) -> Epoch {
        let known = Member::BOTH.map(|m| self.members[m].max_epoch()).into_iter().max().unwrap_or_default();
        let floor = known.max(self.highest_ordered);
        if let Some(t) = self.tenures.iter().find(|t| t.member == member && !t.ordered && t.epoch > floor) {
            return t.epoch;
        }
        self.drop_reserved(member);
        let epoch = self.durable.want.epoch.max(floor).next();
        self.durable.want.epoch = epoch;
        self.durable.want.tenures.push(Tenure { member, epoch });
        self.tenures.push(super::fencing::Track::reserved(member, epoch));
        epoch
    }

    /// A reservation that was never used needs no fence.
    pub(super) fn drop_reserved(&mut self, member: Member) {
        self.tenures.retain(|t| t.ordered || t.member != member);
        let tenures = &self.tenures;
        self.durable.want.tenures.retain(|t| tenures.iter().any(|k| k.member == t.member && k.epoch == t.epoch));
    }
}
