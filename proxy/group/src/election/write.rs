//! What is written, and what it means once it is known to be there.

use std::sync::Arc;

use hotspare_decide::Time;
use serde_json::Value;

use super::rules::Rule;
use super::types::{Event, Request, Revision, Ticket};
use super::{Election, Lead, Resign, View};
use crate::document::{Document, Entry, MAX_DOCUMENT_BYTES};

/// Records that may wait for the store. Each instance has one under way as a rule.
const MAX_PENDING: usize = 4096;
/// Writes without an answer that are kept in mind; an older one that turns up after all prolongs nothing.
const MAX_ATTEMPTS: usize = 16;

/// A write whose outcome is not known yet.
pub(super) struct Attempt {
    pub(super) sent: Time,
    /// The revision it replaces; `None` if it creates the object.
    pub(super) base: Option<Revision>,
    pub(super) document: Arc<Document>,
    /// The latest pending record that is in it.
    included: u64,
}

/// A record that is not known to be durable yet.
pub(super) struct Pending {
    number: u64,
    ticket: Ticket,
    instance: String,
    record: Value,
}

impl Election {
    /// Queues a record for the next write, which follows at once if none is under way.
    pub(super) fn persist(&mut self, ticket: Ticket, instance: String, record: Value) {
        let refusal = match self.lead {
            None => "this proxy does not lead",
            Some(_) if self.resign != Resign::No => "this proxy is stopping",
            Some(_) if self.pending.len() >= MAX_PENDING => "too many records wait for the store",
            Some(_) => {
                self.persisted += 1;
                self.pending.push_back(Pending { number: self.persisted, ticket, instance, record });
                return;
            }
        };
        self.event(Event::Stored { ticket, result: Err(refusal.to_owned()) });
    }

    pub(super) fn fail_pending(&mut self, why: &str) {
        for Pending { ticket, .. } in std::mem::take(&mut self.pending) {
            self.event(Event::Stored { ticket, result: Err(why.to_owned()) });
        }
    }

    /// Renews, takes over, releases; and puts every pending record on file with the same write.
    pub(super) fn write(&mut self, now: Time) {
        let (base, mut document) = match &self.view {
            View::Document { revision, document, .. } => (Some(revision.clone()), Document::clone(document)),
            _ => (None, self.empty_document()),
        };
        if let Some(newest) = &self.newest {
            document.absorb(newest);
        }
        self.serial += 1;
        document.version = Document::VERSION;
        document.holder = self.settings.me.clone();
        document.admin = self.settings.admin.clone();
        document.serial = self.serial;
        document.write += 1;
        document.term += u64::from(self.lead.is_none() && self.resign == Resign::No);
        document.lead_for_ms = u64::try_from(self.settings.lead_for.as_millis()).unwrap_or(u64::MAX);
        document.released = self.resign != Resign::No;
        let without = document.records.clone();
        for Pending { instance, record, .. } in &self.pending {
            let entry = Entry { write: document.write, record: record.clone() };
            document.records.insert(instance.clone(), entry);
        }
        if !self.pending.is_empty() && document.to_json().len() > MAX_DOCUMENT_BYTES {
            document.records = without;
            self.fail_pending("the records of this group no longer fit into one object: split the group");
        }
        let document = Arc::new(document);
        if self.attempts.len() >= MAX_ATTEMPTS {
            self.attempts.remove(0);
        }
        let included = self.persisted;
        self.attempts.push(Attempt { sent: now, base: base.clone(), document: document.clone(), included });
        let request = match base {
            Some(revision) => Request::CompareAndSet(revision, document),
            None => Request::Create(document),
        };
        self.ask(now, request, Some(self.serial));
    }

    fn empty_document(&self) -> Document {
        Document {
            version: Document::VERSION,
            holder: String::new(),
            admin: String::new(),
            serial: 0,
            write: 0,
            term: 0,
            lead_for_ms: 0,
            released: false,
            records: std::collections::BTreeMap::new(),
        }
    }

    /// The store said that a write is done.
    pub(super) fn written(&mut self, now: Time, serial: u64, revision: Revision) {
        let Some(index) = self.attempts.iter().position(|attempt| attempt.document.serial == serial) else {
            self.must_read = true;
            return;
        };
        let attempt = self.attempts.swap_remove(index);
        self.attempts.clear();
        self.view = View::Document { revision, document: attempt.document.clone(), stale: false };
        self.since = now;
        self.remember(&attempt.document);
        self.confirmed(now, &attempt);
    }

    /// A write is known to be there: its records are durable, and it proves leadership from when it was sent.
    pub(super) fn confirmed(&mut self, now: Time, attempt: &Attempt) {
        let included = match self.rules.holds(Rule::ConfirmWhatWasWritten) {
            true => attempt.included,
            false => u64::MAX,
        };
        while let Some(stored) = self.pending.pop_front_if(|pending| pending.number <= included) {
            self.event(Event::Stored { ticket: stored.ticket, result: Ok(()) });
        }
        if self.resign != Resign::No {
            return;
        }
        let from = match self.rules.holds(Rule::CountFromSending) {
            true => attempt.sent,
            false => now,
        };
        let until = from + attempt.document.lead_for();
        let renew_at = attempt.sent + self.settings.renew;
        if now >= until {
            return;
        }
        if self.lead.replace(Lead { until, renew_at }).is_none() {
            self.event(Event::Led { term: attempt.document.term, document: attempt.document.clone() });
        }
    }

    /// Keeps the newest of everything that was ever seen.
    pub(super) fn remember(&mut self, document: &Arc<Document>) {
        let newest = match self.newest.take() {
            Some(newest) if !document.covers(&newest) => {
                let mut merged = Document::clone(document);
                merged.absorb(&newest);
                Arc::new(merged)
            }
            _ => document.clone(),
        };
        self.newest = Some(newest);
    }
}
