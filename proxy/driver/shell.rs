//! Between a driver and the engine: a task a member that make a driver look like a launcher's link.
//!
//! Half of it looks at the member at a steady pace and reports what it saw as a heartbeat; the other half carries out
//! orders one after the other and answers as a launcher would. A member that does not answer at all is a link that is down.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hotspare_decide::message::{
    Down, FenceHow, FlowState, Heartbeat, MemberStatus, NotReady, StartFailure, StartFailureKind, Up,
};
use hotspare_decide::{Epoch, LinkId, Member};
use tokio::sync::mpsc;

use super::{Certain, Driver, Flows, Seen};
use crate::engine::{DriverEvent, Handle, Input};

/// Orders that may wait for the one that is being carried out; the decision core repeats what is lost.
const ORDERS: usize = 16;

/// The engine's end of a driver.
#[derive(Debug)]
pub struct DriverHandle {
    /// The present number of the link that the driver stands for; the engine counts it up.
    pub link: LinkId,
    orders: mpsc::Sender<Down>,
}

impl DriverHandle {
    /// Hands over an order; `false` if too many wait.
    pub fn send(&self, order: Down) -> bool {
        match order {
            // Leases mean nothing to members without our launcher.
            Down::Grant { .. } | Down::Ack { .. } | Down::Welcome(_) => true,
            order => self.orders.try_send(order).is_ok(),
        }
    }
}

/// What both halves know.
struct Shared {
    driver: Arc<dyn Driver>,
    instance: u32,
    member: Member,
    engine: Handle,
    /// The newest epoch that was started or fenced here by this process; the member itself keeps none.
    max_epoch: AtomicU64,
    /// The epoch that was started last here and not fenced since, or 0.
    tenure: AtomicU64,
}

/// Starts the task, which ends when the handle is dropped. `pace` is the time from one look to the next.
pub fn spawn(driver: Arc<dyn Driver>, instance: u32, member: Member, pace: Duration, engine: Handle) -> DriverHandle {
    let (orders, receiver) = mpsc::channel(ORDERS);
    let shared =
        Arc::new(Shared { driver, instance, member, engine, max_epoch: AtomicU64::new(0), tenure: AtomicU64::new(0) });
    tokio::spawn(async move {
        // Acting ends when the engine drops its end, and looking with it.
        tokio::select! {
            () = look(shared.clone(), pace) => {}
            () = act(shared.clone(), receiver) => {}
        }
    });
    DriverHandle { link: LinkId(0), orders }
}

impl Shared {
    async fn tell(&self, event: DriverEvent) -> bool {
        self.engine.send(Input::Driver { instance: self.instance, member: self.member, event }).await
    }
}

async fn look(shared: Arc<Shared>, pace: Duration) {
    let mut up = false;
    let mut seq = 0;
    let mut ticks = tokio::time::interval(pace);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let seen = shared.driver.observe().await;
        let answers = !matches!(seen.flows, Flows::Unknown(_));
        if answers != up {
            up = answers;
            if !shared.tell(if up { DriverEvent::Up } else { DriverEvent::Down }).await {
                return;
            }
        }
        if !answers {
            continue;
        }
        seq += 1;
        let status = status(&shared, &seen);
        if !shared.tell(DriverEvent::Says(Up::Heartbeat(Heartbeat { seq, echo: None, status }))).await {
            return;
        }
    }
}

fn status(shared: &Shared, seen: &Seen) -> MemberStatus {
    let flows = match (&seen.flows, seen.up) {
        (Flows::Running, _) => FlowState::Running,
        (_, true) => FlowState::Stopped,
        (_, false) => FlowState::Down,
    };
    let tenure = Some(shared.tenure.load(Ordering::Acquire)).filter(|t| *t != 0 && flows == FlowState::Running);
    MemberStatus {
        flows,
        tenure: tenure.map(Epoch),
        max_epoch: Epoch(shared.max_epoch.load(Ordering::Acquire)),
        not_ready: seen.ready.as_ref().err().map(|text| NotReady::Other { text: text.clone() }),
        revision: seen.revision.clone(),
        node_red: seen.node_red.clone(),
        ..MemberStatus::default()
    }
}

async fn act(shared: Arc<Shared>, mut orders: mpsc::Receiver<Down>) {
    while let Some(order) = orders.recv().await {
        let answer = match order {
            Down::Start { op, epoch, .. } => {
                let failure = start(&shared, epoch).await.err();
                Some(Up::Started { op, epoch, failure })
            }
            Down::Fence { op, epoch, .. } => {
                shared.max_epoch.fetch_max(epoch.0, Ordering::AcqRel);
                match shared.driver.fence().await {
                    Ok(certain) => {
                        shared.tenure.store(0, Ordering::Release);
                        let how = match certain {
                            Certain::FlowsStopped => FenceHow::FlowsStopped,
                            Certain::ProcessGone => FenceHow::ProcessExited,
                            Certain::NothingToFence => FenceHow::NeverRan,
                        };
                        Some(Up::Fenced { op, epoch, how })
                    }
                    Err(why) => {
                        // No answer is no proof: the decision core asks again.
                        tracing::warn!(member = ?shared.member, %why, "the fence is not confirmed");
                        None
                    }
                }
            }
            Down::Restart { op } => {
                let failure = shared.driver.restart().await.err().map(|e| e.0);
                Some(Up::Restarted { op, failure })
            }
            Down::Grant { .. } | Down::Ack { .. } | Down::Welcome(_) | Down::Refused { .. } => None,
        };
        if let Some(answer) = answer
            && !shared.tell(DriverEvent::Says(answer)).await
        {
            return;
        }
    }
}

async fn start(shared: &Shared, epoch: Epoch) -> Result<(), StartFailure> {
    let newest = shared.max_epoch.fetch_max(epoch.0, Ordering::AcqRel);
    if newest > epoch.0 || (newest == epoch.0 && shared.tenure.load(Ordering::Acquire) != epoch.0) {
        let text = format!("epoch {newest} has been here already");
        return Err(StartFailure { kind: StartFailureKind::StaleEpoch, text });
    }
    shared.tenure.store(epoch.0, Ordering::Release);
    let started = shared.driver.start().await;
    started.map_err(|e| StartFailure { kind: StartFailureKind::Failed, text: e.0 })
}
