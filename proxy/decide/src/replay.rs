//! What-if: recorded observations played through a decider with other settings.
//!
//! What the world did by itself is kept: who was heard when, crashes, hangs, links, checks, clients' troubles,
//! operators, pauses of the controller. What followed from decisions is worked out anew: writes and orders are taken
//! as carried out at once, a member that was heard with its process up runs what the replayed decider had it run,
//! and endings that only followed from an old decision (lease ended, fenced, asked for) are left out: such a member
//! counts as up for as long as its process was away, and so does one that held a lease and comes back without a
//! process after a silence that outlasted the lease.
//! So it tells how often and when the active would have changed, not what a start would have run into.

use crate::decider::Decider;
use crate::effect::Effect;
use crate::event::Event;
use crate::ids::{Epoch, LinkId, Member, PerMember};
use crate::input::Input;
use crate::message::{Down, ExitCause, ExitReceipt, FenceHow, FlowState, Heartbeat, Up};
use crate::record::Record;
use crate::settings::Settings;
use crate::time::Time;
use std::collections::VecDeque;
use std::time::Duration;

/// What a replayed member runs and has used up.
#[derive(Clone, Copy, Debug, Default)]
struct Played {
    tenure: Option<Epoch>,
    max_epoch: Epoch,
    /// In the recording: when it was last heard, and whether it then held a lease.
    heard: Time,
    held: bool,
    session: u64,
    /// In the recording its process is away, and that only followed from a decision.
    away: bool,
}

struct Player {
    decider: Decider,
    /// The ttl under which it was recorded.
    ttl: Duration,
    members: PerMember<Played>,
    /// Answers to orders just given.
    answers: VecDeque<Input>,
    events: Vec<Event>,
}

/// Plays `inputs` (in order of time) through a decider that starts at `start` with `record`; gives its events.
/// `recorded` are the settings under which the inputs came about, `settings` those to play them with.
pub fn replay(
    start: Time,
    wall_ms: u64,
    recorded: &Settings,
    settings: Settings,
    mut record: Option<Record>,
    inputs: impl IntoIterator<Item = (Time, Input)>,
) -> Vec<Event> {
    // At its start a decider waits out what may have been granted before: no longer than it did then.
    let mut first = settings.clone();
    if first.lease.ttl > recorded.lease.ttl {
        first.lease = recorded.lease;
    }
    if let Some(record) = &mut record {
        record.lease = first.lease;
    }
    let mut members = PerMember::<Played>::default();
    for tenure in record.iter().flat_map(|r| &r.tenures) {
        let running = record.as_ref().is_some_and(|r| r.last_active == Some(tenure.member));
        members[tenure.member] = Played {
            tenure: running.then_some(tenure.epoch),
            max_epoch: if running { tenure.epoch } else { Epoch::NONE },
            ..Played::default()
        };
    }
    let decider = Decider::new(start, wall_ms, "replay".into(), first, record);
    let ttl = recorded.lease.ttl;
    let mut player = Player { decider, ttl, members, answers: VecDeque::new(), events: Vec::new() };
    player.settle(start);
    player.decider.set_settings(start, settings);
    player.settle(start);
    for (at, input) in inputs {
        player.run_timers(at);
        if let Some(input) = player.adapt(at, input) {
            player.decider.handle(at, input);
            player.settle(at);
        }
    }
    player.events
}

impl Player {
    fn run_timers(&mut self, until: Time) {
        while let Some(due) = self.decider.poll_timeout().filter(|due| *due < until) {
            self.decider.handle_timeout(due);
            self.settle(due);
        }
    }

    /// Carries out what the decider wants, at once.
    fn settle(&mut self, now: Time) {
        loop {
            while let Some(effect) = self.decider.poll_effect() {
                match effect {
                    Effect::Persist { id, .. } => self.answers.push_back(Input::Persisted { id }),
                    Effect::Event(event) => self.events.push(event),
                    Effect::Send { member, link, msg } => self.order(member, link, msg),
                    Effect::Route { .. } | Effect::Probe { .. } | Effect::Answer { .. } => {}
                }
            }
            let Some(answer) = self.answers.pop_front() else { break };
            self.decider.handle(now, answer);
        }
    }

    fn order(&mut self, member: Member, link: LinkId, msg: Down) {
        let played = &mut self.members[member];
        let msg = match msg {
            Down::Start { op, epoch, .. } => {
                (played.tenure, played.max_epoch) = (Some(epoch), epoch);
                Up::Started { op, epoch, failure: None }
            }
            Down::Fence { op, epoch, .. } => {
                played.tenure = played.tenure.filter(|running| *running > epoch);
                played.max_epoch = played.max_epoch.max(epoch);
                Up::Fenced { op, epoch, how: FenceHow::FlowsStopped }
            }
            Down::Restart { op } => Up::Restarted { op, failure: None },
            Down::Welcome(_) | Down::Ack { .. } | Down::Grant { .. } | Down::Refused { .. } => return,
        };
        self.answers.push_back(Input::Up { member, link, msg });
    }

    /// A recorded input as it would have been; `None` if it only followed from an old decision.
    fn adapt(&mut self, at: Time, input: Input) -> Option<Input> {
        let active = self.decider.active();
        match input {
            Input::Persisted { .. } | Input::PersistFailed { .. } => None,
            Input::Drained { .. } => active.map(|(_, epoch)| Input::Drained { epoch }),
            Input::Trouble { member, trouble, .. } => {
                active.filter(|(m, _)| *m == member).map(|(_, epoch)| Input::Trouble { member, epoch, trouble })
            }
            Input::Receipt { member, receipt } => {
                self.ended(member, &receipt).map(|receipt| Input::Receipt { member, receipt })
            }
            Input::LinkUp { member, session, .. } => {
                let played = &mut self.members[member];
                if played.session != session {
                    // Its launcher was started anew: its process ended with the old one, by itself.
                    (played.session, played.held, played.away) = (session, false, false);
                }
                Some(input)
            }
            Input::Up { member, link, msg } => {
                let msg = match msg {
                    Up::Heartbeat(beat) => Up::Heartbeat(self.beat(at, member, beat)),
                    Up::Exited(receipt) => Up::Exited(self.ended(member, &receipt)?),
                    Up::Started { .. } | Up::Fenced { .. } | Up::Restarted { .. } => return None,
                    other @ (Up::Hello(_) | Up::Deploy { .. }) => other,
                };
                Some(Input::Up { member, link, msg })
            }
            other => Some(other),
        }
    }

    /// The end of a process that nobody had ordered.
    fn ended(&mut self, member: Member, receipt: &ExitReceipt) -> Option<ExitReceipt> {
        let own = match receipt.cause {
            ExitCause::Crash { .. } | ExitCause::Hung | ExitCause::BootFailed | ExitCause::LauncherDied => true,
            ExitCause::LeaseEnded | ExitCause::Fenced | ExitCause::Requested => false,
        };
        let played = &mut self.members[member];
        played.away = !own;
        let tenure = played.tenure.take_if(|_| own);
        own.then_some(ExitReceipt { epoch: played.max_epoch, tenure, cause: receipt.cause })
    }

    /// It was heard: then it runs what the replayed decider had it run, if its process was up.
    fn beat(&mut self, at: Time, member: Member, mut beat: Heartbeat) -> Heartbeat {
        let played = &mut self.members[member];
        let status = &mut beat.status;
        let there = !matches!(status.flows, FlowState::Down | FlowState::Booting);
        let outlasted = played.held && at.since(played.heard) >= self.ttl;
        played.away = !there && (played.away || outlasted);
        (played.heard, played.held) = (at, status.tenure.is_some());
        let up = there || played.away;
        played.tenure = played.tenure.filter(|_| up);
        if up {
            status.flows = if played.tenure.is_some() { FlowState::Running } else { FlowState::Stopped };
        }
        let consequence =
            status.promise_given_left_ms.is_some() || matches!(status.not_ready, Some(crate::message::NotReady::Busy));
        if up && (consequence || played.away) {
            status.not_ready = None;
            status.promise_given_left_ms = None;
        }
        if played.tenure.is_some() {
            status.not_ready = Some(crate::message::NotReady::Busy);
        }
        status.tenure = played.tenure;
        status.max_epoch = played.max_epoch;
        beat
    }
}
