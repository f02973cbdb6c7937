//! The recording end, one for each instance, in the engine: joins what repeats itself to runs, and hands lines over.

use std::sync::Arc;
use std::time::Duration;

use hotspare_decide::message::{MemberStatus, NotReady, Up};
use hotspare_decide::{Fencing, Input, Member, PerMember, Record, Settings, Time};

use super::files::Recorder;
use super::{Begin, Line, Moved, Seen};
use crate::clock;

/// All runs are closed and written at least this often: what a killed proxy loses.
const CHECKPOINT: Duration = Duration::from_secs(30 * 60);
/// A begin is written again after this many lines, so that a file whose predecessors are gone is of use.
const BEGIN_AGAIN: usize = 1500;
/// A member without a lease is looked at once a second at the slowest.
const SLOWEST_LOOK: Duration = Duration::from_secs(1);
/// Clients' troubles that come closer together than this are one run.
const TROUBLE_GAP: Duration = Duration::from_secs(1);

/// What an instance's decider is told, on its way to the files.
#[derive(Debug)]
pub struct Tape {
    recorder: Recorder,
    instance: Arc<str>,
    members: [String; 2],
    /// A stretch is open: every line since its begin was taken.
    open: bool,
    /// When the decider was made, until its first stretch begins: its timers run from then.
    made: Option<Time>,
    /// Two heartbeats further apart than this are no longer one run.
    gap: PerMember<Duration>,
    runs: Vec<Seen>,
    links: PerMember<Vec<Input>>,
    whole_at: Time,
    lines: usize,
    /// What the recorder had lost when the stretch began.
    lost: u64,
}

impl Tape {
    /// A tape on which nothing is yet, for a decider that is made now.
    pub fn new(now: Time, recorder: Recorder, instance: &str, members: [String; 2]) -> Self {
        Self {
            recorder,
            instance: instance.into(),
            members,
            open: false,
            made: Some(now),
            gap: PerMember::default(),
            runs: Vec::new(),
            links: PerMember::default(),
            whole_at: Time::ZERO,
            lines: 0,
            lost: 0,
        }
    }

    /// Records what the decider is about to be told. `leads` is false while another proxy decides: then only links are
    /// remembered, and the stretch ends.
    pub fn note(&mut self, now: Time, input: &Input, leads: bool, settings: &Settings, record: Option<&Record>) {
        if self.recorder.lost() != self.lost {
            self.open = false;
        }
        if !leads {
            self.end(now);
        } else if !self.open {
            self.begin(now, settings, record, false);
        } else if self.lines >= BEGIN_AGAIN {
            self.checkpoint(now);
            self.begin(now, settings, record, true);
        } else if now.since(self.whole_at) >= CHECKPOINT {
            self.checkpoint(now);
        }
        self.remember_link(input);
        if self.open && is_told(input) {
            self.add(now, input);
        }
    }

    /// A failover began.
    pub fn failed_over(&mut self, moved: Moved) {
        if self.open {
            self.hand_over(vec![Line::FailedOver(moved)]);
        }
    }

    /// Writes all that is known until now.
    pub fn checkpoint(&mut self, now: Time) {
        if !self.open {
            return;
        }
        let mut lines: Vec<_> = self.runs.drain(..).map(|run| Line::Seen(Box::new(run))).collect();
        lines.push(Line::Whole { at: now });
        self.whole_at = now;
        self.hand_over(lines);
    }

    /// The stretch ends: another proxy decides, the settings change, or the proxy stops.
    pub fn end(&mut self, now: Time) {
        self.checkpoint(now);
        (self.open, self.made) = (false, None);
    }

    fn begin(&mut self, now: Time, settings: &Settings, record: Option<&Record>, continued: bool) {
        for member in Member::BOTH {
            self.gap[member] = match settings.fencing[member] {
                // No valid ttl can tell silences below two heartbeats from one another.
                Fencing::Leased => settings.lease.heartbeat * 2,
                Fencing::Confirmed(_) | Fencing::Plain => SLOWEST_LOOK * 2,
            };
        }
        (self.lines, self.whole_at) = (0, now);
        self.runs.clear();
        self.lost = self.recorder.lost();
        let at = self.made.take().unwrap_or(now);
        let since_ms = u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX);
        let begin = Begin {
            at,
            wall_ms: clock::wall_ms().saturating_sub(since_ms),
            continued,
            members: self.members.clone(),
            settings: settings.clone(),
            record: record.cloned(),
            links: self.links.0.concat(),
        };
        self.open = true;
        self.hand_over(vec![Line::Begin(Box::new(begin))]);
    }

    fn remember_link(&mut self, input: &Input) {
        match input {
            Input::LinkUp { member, .. } => self.links[*member] = vec![input.clone()],
            Input::Up { member, msg: Up::Hello(_), .. } => self.links[*member].push(input.clone()),
            Input::LinkDown { member, .. } => self.links[*member].clear(),
            _ => {}
        }
    }

    fn add(&mut self, now: Time, input: &Input) {
        let Some(gap) = self.longest_gap(input) else {
            let seen = Seen { from: now, until: now, count: 1, what: input.clone() };
            return self.hand_over(vec![Line::Seen(Box::new(seen))]);
        };
        let place = self.runs.iter().position(|run| same_source(&run.what, input));
        if let Some(place) = place {
            let run = &mut self.runs[place];
            if now.since(run.until) <= gap && says_the_same(&run.what, input) {
                (run.until, run.count) = (now, run.count.saturating_add(1));
                return;
            }
            let ended = self.runs.swap_remove(place);
            self.hand_over(vec![Line::Seen(Box::new(ended))]);
        }
        self.runs.push(Seen { from: now, until: now, count: 1, what: input.clone() });
    }

    /// How far apart two of this kind may be in one run; `None` if this kind makes no runs.
    fn longest_gap(&self, input: &Input) -> Option<Duration> {
        match input {
            Input::Up { member, msg: Up::Heartbeat(_), .. } => Some(self.gap[*member]),
            Input::Probe { .. } => Some(Duration::MAX),
            Input::Trouble { .. } => Some(TROUBLE_GAP),
            _ => None,
        }
    }

    fn hand_over(&mut self, lines: Vec<Line>) {
        self.lines += lines.len();
        if !self.recorder.take(&self.instance, lines) {
            // What comes after a hole must not be read as if nothing were missing.
            self.open = false;
        }
    }
}

/// Answers of the store follow from decisions; a replay makes its own.
fn is_told(input: &Input) -> bool {
    !matches!(input, Input::Persisted { .. } | Input::PersistFailed { .. } | Input::Leadership { .. })
}

pub(super) fn same_source(one: &Input, other: &Input) -> bool {
    match (one, other) {
        (Input::Up { member: a, msg: Up::Heartbeat(_), .. }, Input::Up { member: b, msg: Up::Heartbeat(_), .. }) => {
            a == b
        }
        (Input::Probe { member: a, check: x, .. }, Input::Probe { member: b, check: y, .. }) => (a, x) == (b, y),
        (Input::Trouble { member: a, .. }, Input::Trouble { member: b, .. }) => a == b,
        _ => false,
    }
}

/// Whether a replay could tell the two apart, but for their times.
pub(super) fn says_the_same(one: &Input, other: &Input) -> bool {
    match (one, other) {
        (Input::Up { link: a, msg: Up::Heartbeat(x), .. }, Input::Up { link: b, msg: Up::Heartbeat(y), .. }) => {
            a == b && same_status(&x.status, &y.status)
        }
        _ => one == other,
    }
}

/// Lag and what is left of a lease are shown, not decided upon.
fn same_status(one: &MemberStatus, other: &MemberStatus) -> bool {
    let waits = |reason: &Option<NotReady>| matches!(reason, Some(NotReady::PromiseGiven { .. }));
    one.flows == other.flows
        && one.tenure == other.tenure
        && one.max_epoch == other.max_epoch
        && (one.not_ready == other.not_ready || (waits(&one.not_ready) && waits(&other.not_ready)))
        && one.promise_given_left_ms.is_some() == other.promise_given_left_ms.is_some()
        && one.promise_held_left_ms.is_some() == other.promise_held_left_ms.is_some()
        && one.revision == other.revision
        && one.node_red == other.node_red
        && one.crash_loop == other.crash_loop
        && one.halted == other.halted
        && one.killing == other.killing
}
