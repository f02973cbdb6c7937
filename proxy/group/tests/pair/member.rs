//! A model of a member: it runs flows under a lease that counts from when it sent a heartbeat, refuses epochs that are not
//! above the highest it knows, and stops at the lease's end. It has no promise and no delay of its own.

use std::collections::BTreeMap;

use hotspare_decide::message::{
    Down, ExitCause, ExitReceipt, FenceHow, FlowState, Heartbeat, MemberStatus, StartFailure, StartFailureKind, Up,
};
use hotspare_decide::{Epoch, Time};

const MS: u64 = 1_000_000;
/// Local time between heartbeats.
const HEARTBEAT: u64 = 100 * MS;

pub struct Member {
    /// Its clock: true time times rate plus offset.
    pub rate: f64,
    pub offset: u64,
    pub frozen: bool,
    /// The tenure that runs, and when its lease ends on its own clock.
    tenure: Option<(Epoch, Time)>,
    /// Kept on disk: every epoch it has started or that was forbidden.
    max_epoch: Epoch,
    seq: u64,
    sent: BTreeMap<u64, Time>,
    beat_at: Time,
    /// Node-RED is starting until then.
    up_at: Time,
    pub expired: u64,
}

impl Member {
    pub fn new(rate: f64, offset: u64) -> Self {
        Self {
            rate,
            offset,
            frozen: false,
            tenure: None,
            max_epoch: Epoch::NONE,
            seq: 0,
            sent: BTreeMap::new(),
            beat_at: Time::ZERO,
            up_at: Time::ZERO,
            expired: 0,
        }
    }

    pub fn clock(&self, true_now: u64) -> Time {
        Time::from_nanos((true_now as f64 * self.rate) as u64 + self.offset)
    }

    /// Its flows act at this very moment.
    pub fn runs(&self) -> Option<Epoch> {
        self.tenure.filter(|_| !self.frozen).map(|(epoch, _)| epoch)
    }

    /// Time passes; returns what it says to every controller it is linked to.
    pub fn tick(&mut self, now: Time) -> Vec<Up> {
        let mut says = Vec::new();
        if self.tenure.is_some_and(|(_, end)| now >= end) {
            self.expired += 1;
            says.push(self.exit(now, ExitCause::LeaseEnded));
        }
        if now >= self.beat_at {
            self.beat_at = Time::from_nanos(now.as_nanos() + HEARTBEAT);
            self.seq += 1;
            self.sent.insert(self.seq, now);
            self.sent.retain(|seq, _| seq + 100 > self.seq);
            says.push(Up::Heartbeat(Heartbeat { seq: self.seq, echo: None, status: self.status(now) }));
        }
        says
    }

    fn status(&self, now: Time) -> MemberStatus {
        let flows = match self.tenure {
            Some(_) => FlowState::Running,
            None if now < self.up_at => FlowState::Booting,
            None => FlowState::Stopped,
        };
        let not_ready = (now < self.up_at).then_some(hotspare_decide::message::NotReady::Booting);
        let tenure = self.tenure.map(|(epoch, _)| epoch);
        MemberStatus { flows, tenure, max_epoch: self.max_epoch, not_ready, ..MemberStatus::default() }
    }

    /// Its Node-RED ends.
    pub fn exit(&mut self, now: Time, cause: ExitCause) -> Up {
        let tenure = self.tenure.take().map(|(epoch, _)| epoch);
        self.up_at = Time::from_nanos(now.as_nanos() + 500 * MS);
        Up::Exited(ExitReceipt { epoch: self.max_epoch, tenure, cause })
    }

    /// What it answers to a controller. `started` says whether flows began.
    pub fn hear(&mut self, now: Time, message: &Down) -> Vec<Up> {
        let end_of = |sent: &BTreeMap<u64, Time>, seq: u64, ttl_ms: u64| {
            sent.get(&seq).map(|sent| Time::from_nanos(sent.as_nanos() + ttl_ms * MS))
        };
        match *message {
            Down::Grant { seq, epoch, ttl_ms } => {
                if let (Some(granted), Some((own, end))) = (end_of(&self.sent, seq, ttl_ms), &mut self.tenure)
                    && *own == epoch
                {
                    *end = (*end).max(granted);
                }
                Vec::new()
            }
            Down::Start { op, epoch, seq, ttl_ms } => {
                let end = end_of(&self.sent, seq, ttl_ms).filter(|end| now < *end);
                let kind = match end {
                    _ if epoch <= self.max_epoch => StartFailureKind::StaleEpoch,
                    _ if now < self.up_at => StartFailureKind::NotReady,
                    None => StartFailureKind::TooLate,
                    Some(end) => {
                        self.tenure = Some((epoch, end));
                        self.max_epoch = epoch;
                        return vec![Up::Started { op, epoch, failure: None }];
                    }
                };
                vec![Up::Started { op, epoch, failure: Some(StartFailure { kind, text: format!("{kind:?}") }) }]
            }
            Down::Fence { op, epoch, .. } => {
                self.max_epoch = self.max_epoch.max(epoch);
                let ran = self.tenure.take_if(|(own, _)| *own <= epoch).is_some();
                let how = if ran { FenceHow::FlowsStopped } else { FenceHow::NeverRan };
                match self.tenure {
                    Some(_) => Vec::new(),
                    None => vec![Up::Fenced { op, epoch, how }],
                }
            }
            Down::Restart { op } => vec![Up::Restarted { op, failure: None }],
            Down::Welcome(_) | Down::Ack { .. } | Down::Refused { .. } => Vec::new(),
        }
    }
}
