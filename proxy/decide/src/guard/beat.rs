//! Links to the controllers, the heartbeats over them, and the status they carry.

use super::{Guard, GuardConfig, GuardEffect};
use crate::ids::Epoch;
use crate::message::{Down, FlowState, Heartbeat, MemberStatus, NotReady, Up};
use crate::time::{Time, ms};
use std::collections::VecDeque;

/// So many heartbeats go out in the time of one while a renewal is overdue.
const KNOCKS: u32 = 4;
/// Heartbeats remembered. A grant for an older one is too old to help, whatever the ttl.
const MAX_SENT: usize = 512;

#[derive(Debug, Default)]
struct Link {
    up: bool,
    leader: bool,
    /// When it was last heard as a leader.
    led: Option<Time>,
    /// The last of our numbers it answered.
    echo: Option<u64>,
    /// As one that follows: the tenures that its clients' connections have left.
    left: Option<Epoch>,
}

#[derive(Debug)]
pub(super) struct Beats {
    links: Vec<Link>,
    last_seq: u64,
    sent: VecDeque<(u64, Time)>,
    pub(super) next_at: Time,
    shown: Shown,
}

/// What a heartbeat is sent at once for, when it changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Shown {
    flows: FlowState,
    tenure: Option<Epoch>,
    max_epoch: Epoch,
    not_ready: Option<std::mem::Discriminant<NotReady>>,
    crash_loop: bool,
    followers_left: Option<Epoch>,
}

impl GuardConfig {
    /// Where numbers of this session begin: random, and exact in a 53-bit float.
    pub(super) fn first_number(self) -> u64 {
        self.session & 0xffff_ffff_ffff
    }
}

impl Beats {
    pub(super) fn new(now: Time, config: GuardConfig) -> Self {
        Beats {
            links: (0..config.controllers).map(|_| Link::default()).collect(),
            last_seq: config.first_number(),
            sent: VecDeque::new(),
            next_at: now,
            shown: Shown::default(),
        }
    }

    /// When heartbeat `seq` was sent, if it is one of ours.
    pub(super) fn sent_at(&self, seq: u64) -> Option<Time> {
        let (first, _) = self.sent.front()?;
        let index = usize::try_from(seq.checked_sub(*first)?).ok()?;
        self.sent.get(index).map(|(_, at)| *at)
    }
}

impl Guard {
    pub(super) fn link_up(&mut self, controller: usize) {
        let Some(link) = self.beats.links.get_mut(controller) else { return self.ignore() };
        *link = Link { up: true, ..Link::default() };
        self.beats.next_at = self.now;
    }

    pub(super) fn link_down(&mut self, controller: usize) {
        let Some(link) = self.beats.links.get_mut(controller) else { return self.ignore() };
        *link = Link::default();
        self.drop_fences_of(controller);
    }

    /// Notes that a controller spoke; false if we have no link to it.
    pub(super) fn heard(&mut self, controller: usize, msg: &Down) -> bool {
        let now = self.now;
        let Some(link) = self.beats.links.get_mut(controller).filter(|l| l.up) else { return false };
        match msg {
            Down::Welcome(welcome) => link.leader = welcome.leader,
            Down::Ack { seq, leader, left } => {
                link.leader = *leader;
                link.echo = Some(*seq);
                link.left = *left;
            }
            Down::Grant { seq, .. } => {
                link.leader = true;
                link.echo = Some(*seq);
                link.left = None;
            }
            Down::Start { .. } | Down::Fence { .. } | Down::Restart { .. } => {}
            Down::Refused { .. } => link.leader = false,
        }
        if link.leader {
            link.led = Some(now);
        }
        true
    }

    /// A controller that decides was heard within the last heartbeats.
    pub(super) fn hears_leader(&self) -> bool {
        let silence = self.settings().lease.silence();
        self.beats.links.iter().any(|l| l.up && l.leader && l.led.is_some_and(|at| self.now.since(at) < silence))
    }

    pub(super) fn send(&mut self, controller: usize, msg: Up) {
        if self.beats.links.get(controller).is_some_and(|l| l.up) {
            self.effects.push_back(GuardEffect::Send { controller, msg });
        }
    }

    pub(super) fn send_all(&mut self, msg: impl Fn() -> Up) {
        for controller in 0..self.beats.links.len() {
            self.send(controller, msg());
        }
    }

    pub(super) fn beat_if_due(&mut self) {
        let shown = self.shown();
        if self.beats.next_at > self.now && shown == self.beats.shown {
            return;
        }
        self.beats.shown = shown;
        let heartbeat = self.settings().lease.heartbeat;
        let pause = if self.renewal_is_overdue() { heartbeat / KNOCKS } else { heartbeat };
        self.beats.next_at = self.now + pause;
        if !self.beats.links.iter().any(|l| l.up) {
            return;
        }
        self.beats.last_seq += 1;
        let seq = self.beats.last_seq;
        if self.beats.sent.len() >= MAX_SENT {
            self.beats.sent.pop_front();
        }
        self.beats.sent.push_back((seq, self.now));
        let status = self.make_status(self.now);
        for (controller, link) in self.beats.links.iter().enumerate().filter(|(_, l)| l.up) {
            let beat = Heartbeat { seq, echo: link.echo, status: status.clone() };
            self.effects.push_back(GuardEffect::Send { controller, msg: Up::Heartbeat(beat) });
        }
    }

    /// The last answer was due a while ago: what carried it, or the question, was lost. TCP notices by what is sent after
    /// it, so more is sent until it has.
    fn renewal_is_overdue(&self) -> bool {
        let overdue = self.settings().lease.heartbeat * 2;
        self.tenure.as_ref().is_some_and(|t| self.now.since(t.renewed) >= overdue)
            && self.beats.links.iter().any(|l| l.up)
    }

    fn shown(&self) -> Shown {
        Shown {
            flows: self.process.flows,
            tenure: self.tenure.as_ref().map(|t| t.epoch),
            max_epoch: self.durable.done.max_epoch,
            not_ready: self.not_ready(self.now).as_ref().map(std::mem::discriminant),
            crash_loop: self.process.crash_loop(self.now),
            followers_left: self.followers_left(),
        }
    }

    /// What all controllers that follow have left; `None` if none says so.
    fn followers_left(&self) -> Option<Epoch> {
        self.beats.links.iter().filter(|link| link.up).filter_map(|link| link.left).min()
    }

    pub(super) fn make_status(&self, now: Time) -> MemberStatus {
        let left = |end: Option<Time>| end.filter(|end| *end > now).map(|end| ms(now.until(end)));
        MemberStatus {
            flows: self.process.flows,
            tenure: self.tenure.as_ref().map(|t| t.epoch),
            max_epoch: self.durable.done.max_epoch,
            not_ready: self.not_ready(now),
            lag_ms: self.process.lag_ms,
            revision: self.process.revision.clone(),
            nodes: self.process.nodes.clone(),
            nodes_problem: self.process.nodes_problem.clone(),
            lease_left_ms: left(self.lease_end()),
            promise_given_left_ms: left(self.promises.given_until.max(Some(self.quarantine_end))),
            promise_held_left_ms: left(self.promises.held_until.filter(|_| self.tenure.is_some())),
            node_red: self.process.node_red.clone(),
            restarts: self.process.restarts,
            crash_loop: self.process.crash_loop(now),
            halted: self.tenure.as_ref().and_then(|t| t.halted.clone()),
            killing: self.process.killing.map(|(cause, _)| cause),
            followers_left: self.followers_left(),
        }
    }

    /// Why nothing can be started here right now.
    pub(super) fn not_ready(&self, now: Time) -> Option<NotReady> {
        if !self.welcomed && self.config.controllers > 0 {
            return Some(NotReady::NoWelcome);
        }
        match self.process.flows {
            FlowState::Down => return Some(NotReady::Down),
            FlowState::Booting => return Some(NotReady::Booting),
            FlowState::Stopped if self.tenure.is_none() && self.process.killing.is_none() => {}
            _ => return Some(NotReady::Busy),
        }
        if self.process.crash_loop(now) {
            return Some(NotReady::CrashLoop);
        }
        if !self.process.missing_types.is_empty() {
            return Some(NotReady::MissingTypes { types: self.process.missing_types.clone() });
        }
        if let Some(text) = &self.process.problem {
            return Some(NotReady::Other { text: text.clone() });
        }
        if self.durable.failing {
            return Some(NotReady::NotDurable);
        }
        if now < self.quarantine_end {
            return Some(NotReady::Quarantine { left_ms: ms(now.until(self.quarantine_end)) });
        }
        self.promises
            .given_until
            .filter(|end| *end > now)
            .map(|end| NotReady::PromiseGiven { left_ms: ms(now.until(end)) })
    }
}
