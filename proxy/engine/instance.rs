//! One instance as the engine holds it: its decider, the links of its launchers or the drivers that stand for them,
//! and the requests that wait for an answer.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use hotspare_decide::message::{Down, Hello, LauncherSettings, Peer, Up, VERSION, Welcome};
use hotspare_decide::{Decider, Input as Observed, LinkId, Member, PerMember, ProbeOutcome, Record, Settings, Time};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::handle::{Accepted, Refusal};
use super::input::DriverEvent;
use super::worst::Worst;
use crate::clock;
use crate::driver::shell::DriverHandle;
use crate::link::LinkEvent;
use crate::observations::{Recorder, Tape};

/// What the configuration says of an instance, as the engine needs it.
#[derive(Debug)]
pub struct InstanceSpec {
    /// Its name.
    pub name: String,
    /// How to decide for it.
    pub settings: Settings,
    /// What its launchers are told to work by.
    pub launcher: LauncherSettings,
    /// Its members, in configured order.
    pub members: [MemberSpec; 2],
}

/// What the configuration says of a member, as the engine needs it.
#[derive(Debug)]
pub struct MemberSpec {
    /// Its name.
    pub name: String,
    /// Where its Node-RED listens, as configured.
    pub address: String,
    /// The kind of its launcher, in the configuration's word.
    pub kind: &'static str,
    /// What its launcher is told of the other member's launcher; `None` for kinds without a link.
    pub peer: Option<Peer>,
    /// Stands for the launcher, for kinds without a link.
    pub driver: Option<DriverHandle>,
    /// Wakes the probes of this member.
    pub probe_now: Arc<tokio::sync::Notify>,
}

/// A launcher's connection.
struct Link {
    connection: u64,
    outbox: mpsc::Sender<Down>,
    /// It has said who it is, in a version that is understood.
    greeted: bool,
}

/// What the heartbeats of the last minute said at the worst, in milliseconds.
#[derive(Clone, Copy)]
pub(super) struct Worsts {
    pub(super) lag: Worst,
    pub(super) lease_left: Worst,
}

impl Default for Worsts {
    fn default() -> Self {
        Self { lag: Worst::by(u64::max), lease_left: Worst::by(u64::min) }
    }
}

/// What is counted.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) heartbeats: PerMember<u64>,
    pub(super) worst: PerMember<Worsts>,
    pub(super) probes: PerMember<BTreeMap<&'static str, u64>>,
    pub(super) failovers: BTreeMap<String, u64>,
    pub(super) switchovers: BTreeMap<String, u64>,
}

pub(super) struct Instance {
    pub(super) index: u32,
    pub(super) spec: InstanceSpec,
    pub(super) decider: Decider,
    pub(super) counts: Counts,
    pub(super) waiting: HashMap<u64, oneshot::Sender<Result<Accepted, Refusal>>>,
    pub(super) next_request: u64,
    /// The newest record that went to the store.
    pub(super) last_record: Option<Record>,
    /// Records what the decider is told.
    pub(super) tape: Tape,
    links: [Option<Link>; 2],
}

impl Instance {
    pub(super) fn new(
        index: u32,
        spec: InstanceSpec,
        record: Option<Record>,
        leader: bool,
        recorder: &Recorder,
    ) -> Self {
        let now = clock::now();
        let tape = Tape::new(now, recorder.clone(), &spec.name, spec.members.each_ref().map(|m| m.name.clone()));
        let last_record = record.clone();
        let (name, settings) = (spec.name.clone(), spec.settings.clone());
        let decider = if leader {
            Decider::new(now, clock::wall_ms(), name, settings, record)
        } else {
            let mut decider = Decider::follower(now, clock::wall_ms(), name, settings);
            if let Some(record) = record {
                decider.handle(now, Observed::Seen { record });
            }
            decider
        };
        Self {
            index,
            decider,
            spec,
            counts: Counts::default(),
            waiting: HashMap::new(),
            next_request: 1,
            last_record,
            tape,
            links: [None, None],
        }
    }

    /// Tells the decider, and records that it was told.
    pub(super) fn tell(&mut self, now: Time, input: Observed) {
        if let Observed::Leadership { record: Some(record), .. } = &input {
            self.last_record = Some(record.clone());
        }
        let (leads, settings) = (self.decider.is_leader(), self.decider.settings());
        self.tape.note(now, &input, leads, settings, self.last_record.as_ref());
        self.decider.handle(now, input);
    }

    /// Takes over what a reload changed. Links, epoch, health and requests stay.
    pub(super) fn change(&mut self, mut spec: InstanceSpec, now: Time) {
        for member in Member::BOTH {
            let (old, new) = (&mut self.spec.members[member.index()], &mut spec.members[member.index()]);
            if let (Some(old), Some(new)) = (&old.driver, &mut new.driver) {
                new.link = old.link;
            }
        }
        self.tape.end(now);
        self.decider.set_settings(now, spec.settings.clone());
        self.spec = spec;
    }

    /// The instance's name and a member's.
    pub(super) fn names(&self, member: Member) -> (String, String) {
        (self.spec.name.clone(), self.spec.members[member.index()].name.clone())
    }

    pub(super) fn count_probe(&mut self, member: Member, outcome: &ProbeOutcome) {
        let word = match outcome {
            ProbeOutcome::Pass => "pass",
            ProbeOutcome::Fail { .. } => "fail",
            ProbeOutcome::Unknown { .. } => "unknown",
        };
        *self.counts.probes[member].entry(word).or_default() += 1;
    }

    /// What the decider is to be told about something that happened on a link.
    pub(super) fn link_event(&mut self, controller: &str, leader: bool, event: LinkEvent) -> Vec<Observed> {
        match event {
            LinkEvent::Up { key, connection, outbox } => {
                self.links[key.member.index()] = Some(Link { connection, outbox, greeted: false });
                Vec::new()
            }
            LinkEvent::Down { key, connection, why } => {
                let slot = &mut self.links[key.member.index()];
                if slot.as_ref().is_none_or(|link| link.connection != connection) {
                    return Vec::new();
                }
                tracing::debug!(instance = %self.spec.name, member = ?key.member, why, "link closed");
                let greeted = slot.take().is_some_and(|link| link.greeted);
                greeted
                    .then_some(Observed::LinkDown { member: key.member, link: LinkId(connection) })
                    .into_iter()
                    .collect()
            }
            LinkEvent::Message { key, connection, message } => {
                self.message(controller, leader, key.member, connection, message)
            }
            LinkEvent::Receipt { key, message: Up::Exited(receipt) } => {
                vec![Observed::Receipt { member: key.member, receipt }]
            }
            LinkEvent::Receipt { .. } | LinkEvent::Duplicate { .. } => Vec::new(),
        }
    }

    fn message(
        &mut self,
        controller: &str,
        leader: bool,
        member: Member,
        connection: u64,
        message: Up,
    ) -> Vec<Observed> {
        let Some(link) = self.links[member.index()].as_mut().filter(|link| link.connection == connection) else {
            return Vec::new();
        };
        let id = LinkId(connection);
        if let Up::Hello(Hello { version, session, .. }) = &message {
            if *version != VERSION {
                let reason = format!(
                    "this controller speaks version {VERSION} of the link, the launcher {version}: install one release on both"
                );
                tracing::warn!(instance = %self.spec.name, ?member, reason, "link refused");
                let _ = link.outbox.try_send(Down::Refused { reason });
                self.links[member.index()] = None;
                return Vec::new();
            }
            link.greeted = true;
            let session = *session;
            self.welcome(controller, leader, member);
            return vec![
                Observed::LinkUp { member, link: id, session },
                Observed::Up { member, link: id, msg: message },
            ];
        }
        if !link.greeted {
            let _ = link.outbox.try_send(Down::Refused { reason: "the first message must be a hello".to_owned() });
            self.links[member.index()] = None;
            return Vec::new();
        }
        if let Up::Heartbeat(beat) = &message {
            let now = clock::now();
            self.counts.heartbeats[member] += 1;
            self.counts.worst[member].lag.note(now, beat.status.lag_ms);
            if let Some(left) = beat.status.lease_left_ms {
                self.counts.worst[member].lease_left.note(now, left);
            }
        }
        vec![Observed::Up { member, link: id, msg: message }]
    }

    /// Tells both launchers who decides now.
    pub(super) fn welcome_again(&mut self, controller: &str, leader: bool) {
        for member in Member::BOTH {
            if self.links[member.index()].as_ref().is_some_and(|link| link.greeted) {
                self.welcome(controller, leader, member);
            }
        }
    }

    fn welcome(&self, controller: &str, leader: bool, member: Member) {
        let welcome = Welcome {
            version: VERSION,
            controller: controller.to_owned(),
            leader,
            settings: self.spec.launcher,
            peer: self.spec.members[member.index()].peer.clone(),
        };
        if let Some(link) = &self.links[member.index()] {
            let _ = link.outbox.try_send(Down::Welcome(welcome));
        }
    }

    /// What the decider is to be told about a driver's news.
    pub(super) fn driver_event(&mut self, member: Member, event: DriverEvent) -> Option<Vec<Observed>> {
        let driver = self.spec.members[member.index()].driver.as_mut()?;
        Some(match event {
            DriverEvent::Up => {
                driver.link.0 += 1;
                vec![Observed::LinkUp { member, link: driver.link, session: 0 }]
            }
            DriverEvent::Down => vec![Observed::LinkDown { member, link: driver.link }],
            DriverEvent::Says(msg) => vec![Observed::Up { member, link: driver.link, msg }],
        })
    }

    /// Hands an order to a member; `false` if that connection is gone or takes no more.
    pub(super) fn send(&mut self, member: Member, link: LinkId, message: Down) -> bool {
        if let Some(driver) = &self.spec.members[member.index()].driver {
            return driver.link == link && driver.send(message);
        }
        let slot = &mut self.links[member.index()];
        let Some(open) = slot.as_mut().filter(|open| open.connection == link.0) else { return false };
        match open.outbox.try_send(message) {
            Ok(()) => return true,
            // Its session has been told already.
            Err(TrySendError::Closed(_)) => return false,
            Err(TrySendError::Full(_)) => {}
        }
        // With its sender gone the session ends, and tells so as of any link that has closed.
        open.outbox = mpsc::channel(1).0;
        tracing::warn!(instance = %self.spec.name, ?member, "the launcher does not keep up; its link is closed");
        false
    }

    pub(super) fn explain(&self, now: Time) -> serde_json::Value {
        serde_json::json!({
            "instance": self.spec.name,
            "now": self.decider.view(now),
            "if_the_active_died_now": self.decider.forecast(now),
        })
    }
}
