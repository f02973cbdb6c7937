//! Who leads: a state machine without I/O, clock or chance.
//!
//! Owns the rules. `now` is an argument, on this machine's own clock; what the store answered comes in through
//! [`Election::handle`], requests and events go out through [`Election::poll_effect`]. A shell calls, from one task:
//! `handle` for each thing that happened or `handle_timeout` once `poll_timeout` has passed, then `poll_effect` until
//! it gives `None`. A request must be sent after the call that asked for it, never before: leadership counts from the
//! `now` of that call.
//!
//! Never does: reading the wall clock, going by a ttl of the store, or taking an error for an answer.
//!
//! Where to go next: `types.rs` for the words, `write.rs` for what is written and what a written document means,
//! `rules.rs` for the rules by name.

mod rules;
mod types;
mod write;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use hotspare_decide::Time;

use crate::document::Document;
pub use rules::Rule;
use rules::Rules;
pub use types::{Answer, Effect, Event, Input, LostWhy, Request, Revision, Settings, Ticket, stretch};
use write::{Attempt, Pending};

/// A follower that is told "look now" again and again reads at most this often.
const READ_GAP: Duration = Duration::from_millis(10);

/// One proxy's side of an election.
pub struct Election {
    settings: Settings,
    rules: Rules,
    view: View,
    /// When the view was first received.
    since: Time,
    /// The newest of everything ever read or written: what was seen is never forgotten, even if the store does.
    newest: Option<Arc<Document>>,
    lead: Option<Lead>,
    resign: Resign,
    flight: Option<Flight>,
    requests: u64,
    attempts: Vec<Attempt>,
    serial: u64,
    pending: VecDeque<Pending>,
    persisted: u64,
    /// What the store has may have changed by our own hand: read before anything else.
    must_read: bool,
    last_read: Time,
    poll_at: Time,
    /// Nothing is asked before this: the pause after a failure.
    not_before: Time,
    /// Nothing is taken over before this: after an outage of the store the leader has the first word.
    patience: Time,
    up: Option<bool>,
    effects: VecDeque<Effect>,
}

/// What is known of the object.
enum View {
    Unread,
    Missing,
    Foreign(Revision),
    Document {
        revision: Revision,
        document: Arc<Document>,
        /// The store went back in time to get here: nothing that is written in it can be believed.
        stale: bool,
    },
}

#[derive(Clone, Copy)]
struct Lead {
    until: Time,
    renew_at: Time,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Resign {
    No,
    Asked,
    Done,
}

struct Flight {
    id: u64,
    sent: Time,
    /// The serial of the write under way; `None` for a read.
    writes: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Read,
    Write,
}

impl Election {
    /// A proxy that has just started: it knows nothing and follows.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            rules: Rules::default(),
            view: View::Unread,
            since: Time::ZERO,
            newest: None,
            lead: None,
            resign: Resign::No,
            flight: None,
            requests: 0,
            attempts: Vec::new(),
            serial: 0,
            pending: VecDeque::new(),
            persisted: 0,
            must_read: true,
            last_read: Time::ZERO,
            poll_at: Time::ZERO,
            not_before: Time::ZERO,
            patience: Time::ZERO,
            up: None,
            effects: VecDeque::new(),
        }
    }

    /// For the simulation's tests only: the same with one safety rule broken.
    #[cfg(feature = "mutants")]
    pub fn breaking(settings: Settings, rule: Rule) -> Self {
        Self { rules: Rules::breaking(rule), ..Self::new(settings) }
    }

    /// Until when this proxy leads; [`Time::ZERO`] if it doesn't. To be compared with the clock *after* what is to be
    /// decided upon has been received: then a pause of this process can do no harm.
    pub fn leads_until(&self) -> Time {
        self.lead.map_or(Time::ZERO, |lead| lead.until)
    }

    /// Takes in something that happened. A late or unexpected answer is ignored.
    pub fn handle(&mut self, now: Time, input: Input) {
        self.expire(now);
        match input {
            Input::Answer { id, answer } => self.answered(now, id, answer),
            Input::Hint => self.poll_at = self.poll_at.min(now.max(self.last_read + READ_GAP)),
            Input::Persist { ticket, instance, record } => self.persist(ticket, instance, record),
            Input::Resign => {
                if self.resign == Resign::No {
                    self.resign = Resign::Asked;
                    if self.rules.holds(Rule::StopBeforeRelease) {
                        self.lose(LostWhy::Resigned);
                    }
                }
            }
        }
        self.plan(now);
    }

    /// To be called once [`Election::poll_timeout`] has passed; earlier calls do no harm.
    pub fn handle_timeout(&mut self, now: Time) {
        self.expire(now);
        if self.flight.as_ref().is_some_and(|f| now >= f.sent + self.settings.request_timeout) {
            self.flight = None;
            self.failed(now, format!("no answer within {} ms", self.settings.request_timeout.as_millis()));
        }
        self.plan(now);
    }

    /// When [`Election::handle_timeout`] has to be called.
    pub fn poll_timeout(&self) -> Time {
        let next = match &self.flight {
            Some(flight) => flight.sent + self.settings.request_timeout,
            None => self.next_action().0,
        };
        self.lead.map_or(next, |lead| next.min(lead.until))
    }

    /// What to do next, in this order.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    fn expire(&mut self, now: Time) {
        if self.lead.is_some_and(|lead| now >= lead.until) && self.rules.holds(Rule::StopAtEnd) {
            self.lose(LostWhy::NotRenewed);
        }
    }

    fn plan(&mut self, now: Time) {
        self.conclude_resignation();
        if self.flight.is_some() {
            return;
        }
        match self.next_action() {
            (at, _) if now < at => {}
            (_, Action::Read) => self.read(now),
            (_, Action::Write) => self.write(now),
        }
    }

    /// What comes next if nothing happens, and when.
    fn next_action(&self) -> (Time, Action) {
        let (at, action) = if self.must_read {
            (Time::ZERO, Action::Read)
        } else {
            match self.write_at() {
                Some(at) if at <= self.poll_at || self.lead.is_some() => (at, Action::Write),
                _ => (self.poll_at, Action::Read),
            }
        };
        (at.max(self.not_before), action)
    }

    /// When to write, as far as is known now; `None` if not at all.
    fn write_at(&self) -> Option<Time> {
        let resigning = self.resign != Resign::No;
        match &self.view {
            View::Unread | View::Foreign(_) => None,
            View::Missing if resigning => None,
            View::Missing if !self.rules.holds(Rule::WaitWhenMissing) => Some(Time::ZERO),
            View::Missing => {
                Some(self.takeover_at(self.newest.as_ref().map_or(Duration::ZERO, |seen| seen.lead_for())))
            }
            View::Document { document, stale: false, .. } if self.is_mine(document) => match self.lead {
                // Nobody else led since this was written: no need to wait.
                _ if resigning => Some(Time::ZERO),
                None => Some(Time::ZERO),
                Some(_) if !self.pending.is_empty() => Some(Time::ZERO),
                Some(lead) => Some(lead.renew_at),
            },
            View::Document { .. } if resigning => None,
            View::Document { document, stale: false, .. } if document.released => Some(Time::ZERO),
            View::Document { document, .. } => Some(self.takeover_at(document.lead_for())),
        }
    }

    fn is_mine(&self, document: &Document) -> bool {
        document.holder == self.settings.me && !document.released
    }

    /// The writer of what has been seen since `since` has certainly ended by then, unless it has written again; which
    /// the precondition of the takeover finds out.
    fn takeover_at(&self, written: Duration) -> Time {
        let lead_for = match self.rules.holds(Rule::WaitAsLongAsWritten) {
            true => written.max(self.settings.lead_for),
            false => self.settings.lead_for,
        };
        let wait = match self.rules.holds(Rule::WaitForDrift) {
            true => stretch(lead_for, self.settings.drift_ppm),
            false => lead_for,
        };
        (self.since + wait).max(self.patience)
    }

    fn read(&mut self, now: Time) {
        self.last_read = now;
        self.poll_at = now + self.settings.renew;
        self.ask(now, Request::Get, None);
    }

    fn ask(&mut self, now: Time, request: Request, writes: Option<u64>) {
        self.requests += 1;
        self.flight = Some(Flight { id: self.requests, sent: now, writes });
        self.effects.push_back(Effect::Ask { id: self.requests, request });
    }

    fn answered(&mut self, now: Time, id: u64, answer: Answer) {
        let Some(flight) = self.flight.take_if(|flight| flight.id == id) else { return };
        match (flight.writes, answer) {
            (None, Answer::Found(revision, document)) => {
                self.answers(now);
                self.found(now, flight.sent, revision, document);
            }
            (None, Answer::Missing) => {
                self.answers(now);
                self.look_at(now, View::Missing);
                self.attempts.retain(|attempt| attempt.base.is_none());
                self.lose(LostWhy::Vanished);
            }
            (None, Answer::Foreign(revision, why)) => {
                self.health(false, why);
                self.must_read = false;
                self.look_at(now, View::Foreign(revision));
                self.attempts.clear();
                self.lose(LostWhy::Vanished);
            }
            (Some(serial), Answer::Written(revision)) => {
                self.answers(now);
                self.written(now, serial, revision);
            }
            (Some(_), Answer::Conflict) => {
                self.health(true, String::new());
                self.must_read = true;
                self.not_before = now + READ_GAP;
            }
            (_, Answer::Failed(why)) => self.failed(now, why),
            (_, answer) => self.failed(now, format!("an answer to another question: {answer:?}")),
        }
    }

    /// The store answered, and what it has is known.
    fn answers(&mut self, now: Time) {
        if self.up == Some(false) {
            self.patience = now + self.settings.renew * 2;
        }
        self.health(true, String::new());
        self.must_read = false;
    }

    fn failed(&mut self, now: Time, why: String) {
        self.health(false, why);
        self.must_read = true;
        self.not_before = now + (self.settings.renew / 4).clamp(Duration::from_millis(20), Duration::from_secs(1));
        if !self.rules.holds(Rule::UnknownIsReadBack)
            && let (Some(lead), Some(attempt)) = (&mut self.lead, self.attempts.last())
        {
            lead.until = attempt.sent + self.settings.lead_for;
        }
    }

    fn health(&mut self, up: bool, why: String) {
        if self.up != Some(up) {
            self.up = Some(up);
            self.event(Event::Health { up, why });
        }
    }

    fn found(&mut self, now: Time, sent: Time, revision: Revision, document: Arc<Document>) {
        let stale = self.newest.as_ref().is_some_and(|newest| document.write < newest.write);
        self.look_at(now, View::Document { revision: revision.clone(), document: document.clone(), stale });
        self.remember(&document);
        if stale {
            self.attempts.clear();
            self.lose(LostWhy::WentBack);
        } else if document.holder != self.settings.me {
            self.attempts.retain(|attempt| attempt.base.as_ref() == Some(&revision));
            self.lose(LostWhy::TakenOver(document.holder.clone()));
        } else if let Some(index) = self.attempts.iter().position(|attempt| attempt.document.serial == document.serial)
        {
            let attempt = self.attempts.swap_remove(index);
            self.attempts.clear();
            self.confirmed(now, &attempt);
        } else {
            self.attempts.retain(|attempt| attempt.base.as_ref() == Some(&revision));
        }
        if self.lead.is_none() {
            self.event(Event::Seen { as_of: sent, document });
        }
    }

    /// Takes `view` for what there is; its age counts from when it was first seen.
    fn look_at(&mut self, now: Time, view: View) {
        let same = match (&self.view, &view) {
            (View::Missing, View::Missing) => true,
            (View::Document { document: old, .. }, View::Document { document: new, .. })
                if !self.rules.holds(Rule::WaitAnewEachRevision) =>
            {
                old.holder == new.holder
            }
            (View::Document { revision: old, .. }, View::Document { revision: new, .. })
            | (View::Foreign(old), View::Foreign(new)) => old == new,
            _ => false,
        };
        if !same {
            self.since = now;
        }
        // A state that was found to be stale stays so for as long as it stands.
        if let (true, View::Document { stale: true, .. }) = (same, &self.view) {
            return;
        }
        self.view = view;
    }

    /// Ends leadership, if there is any: every write not yet confirmed has failed.
    fn lose(&mut self, why: LostWhy) {
        if self.lead.take().is_none() {
            return;
        }
        if self.rules.holds(Rule::LossFailsWrites) {
            self.fail_pending(&why.to_string());
        }
        self.event(Event::Lost { why });
    }

    fn conclude_resignation(&mut self) {
        let mine = match &self.view {
            View::Document { document, stale: false, .. } => self.is_mine(document),
            _ => false,
        };
        if self.resign == Resign::Asked && self.flight.is_none() && !self.must_read && !mine {
            self.resign = Resign::Done;
            self.lose(LostWhy::Resigned);
            self.event(Event::Resigned);
        }
    }

    fn event(&mut self, event: Event) {
        self.effects.push_back(Effect::Event(event));
    }
}
