//! Carries out the orders for a member without a link, one at a time; a fence interrupts a start.
//!
//! The decision core repeats an order until it is answered: what waits is looked through before the next is begun, and
//! one answer serves all repetitions of a fence.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hotspare_decide::message::{Down, FenceHow, FlowState, StartFailure, StartFailureKind, Up};
use hotspare_decide::{Epoch, OpId, ProbeOutcome};
use tokio::sync::mpsc;

use super::shell::Shared;
use super::{Certain, DriverError};
use crate::engine::DriverEvent;

/// Until the engine has stopped.
pub(super) async fn act(shared: Arc<Shared>, mut orders: mpsc::Receiver<Down>) {
    let mut waiting = VecDeque::new();
    loop {
        let order = match waiting.pop_front() {
            Some(order) => order,
            None => match orders.recv().await {
                Some(order) => order,
                None => return,
            },
        };
        let answers = match order {
            Down::Start { op, epoch, .. } => {
                let failure = start(&shared, epoch, &mut orders, &mut waiting).await.err();
                // The driver has seen them run, and the last look is older than that.
                if failure.is_none() && !shared.report(ProbeOutcome::Pass, Some(FlowState::Running)).await {
                    return;
                }
                vec![Up::Started { op, epoch, failure }]
            }
            Down::Fence { op, epoch, .. } => {
                waiting.extend(std::iter::from_fn(|| orders.try_recv().ok()));
                fence(&shared, op, epoch, &mut waiting).await
            }
            Down::Restart { op } => {
                let failure = shared.shell.driver.restart().await.err().map(|e| e.0);
                vec![Up::Restarted { op, failure }]
            }
            Down::Grant { .. } | Down::Ack { .. } | Down::Welcome(_) | Down::Refused { .. } => Vec::new(),
        };
        for answer in answers {
            if !shared.tell(DriverEvent::Says(answer)).await {
                return;
            }
        }
        shared.look_now();
    }
}

/// Starts the flows, unless this epoch is over here or a fence comes in between.
async fn start(
    shared: &Shared,
    epoch: Epoch,
    orders: &mut mpsc::Receiver<Down>,
    waiting: &mut VecDeque<Down>,
) -> Result<(), StartFailure> {
    let newest = shared.max_epoch.fetch_max(epoch.0, Ordering::AcqRel);
    if newest > epoch.0 || (newest == epoch.0 && shared.tenure.load(Ordering::Acquire) != epoch.0) {
        let text = format!("epoch {newest} has been here already");
        return Err(StartFailure { kind: StartFailureKind::StaleEpoch, text });
    }
    shared.tenure.store(epoch.0, Ordering::Release);
    let _under_way = shared.under_way();
    let mut started = shared.shell.driver.start();
    loop {
        tokio::select! {
            result = &mut started => {
                return result.map_err(|e| StartFailure { kind: StartFailureKind::Failed, text: e.0 });
            }
            Some(order) = orders.recv() => {
                // One of an earlier tenure, given again, is not about this one.
                let is_fence = matches!(order, Down::Fence { epoch: up_to, .. } if up_to >= epoch);
                // A start that is given again is the one under way.
                if !matches!(order, Down::Start { epoch: again, .. } if again == epoch) {
                    waiting.push_back(order);
                }
                if is_fence {
                    let text = "fenced before it had started".to_owned();
                    return Err(StartFailure { kind: StartFailureKind::Failed, text });
                }
            }
        }
    }
}

/// Fences up to the newest epoch that is asked for, and answers every fence that this one covers. No answer if it is not
/// certain: the decision core asks again.
async fn fence(shared: &Shared, op: OpId, epoch: Epoch, waiting: &mut VecDeque<Down>) -> Vec<Up> {
    let mut asked = vec![(op, epoch)];
    waiting.retain(|order| match order {
        Down::Fence { op, epoch, .. } => {
            if !asked.contains(&(*op, *epoch)) {
                asked.push((*op, *epoch));
            }
            false
        }
        _ => true,
    });
    let newest = asked.iter().map(|(_, epoch)| epoch.0).max().unwrap_or_default();
    if newest < shared.tenure.load(Ordering::Acquire) {
        // Given again for a tenure that was over before this one could begin.
        return asked.into_iter().map(|(op, epoch)| Up::Fenced { op, epoch, how: FenceHow::NeverRan }).collect();
    }
    shared.max_epoch.fetch_max(newest, Ordering::AcqRel);
    let under_way = shared.under_way();
    let certain = certain(shared).await;
    drop(under_way);
    match certain {
        Ok(certain) => {
            shared.tenure.store(0, Ordering::Release);
            let how = match certain {
                Certain::FlowsStopped => FenceHow::FlowsStopped,
                Certain::ProcessGone => FenceHow::ProcessExited,
                Certain::NothingToFence => FenceHow::NeverRan,
            };
            asked.into_iter().map(|(op, epoch)| Up::Fenced { op, epoch, how }).collect()
        }
        Err(why) => {
            tracing::warn!(member = ?shared.shell.member, %why, "the fence is not confirmed");
            Vec::new()
        }
    }
}

/// The driver's fence; if that is not certain and a fence command is configured, that.
async fn certain(shared: &Shared) -> Result<Certain, DriverError> {
    let failed = match shared.shell.driver.fence().await {
        Ok(certain) => return Ok(certain),
        Err(failed) => failed,
    };
    let Some(power_off) = &shared.shell.power_off else { return Err(failed) };
    tracing::warn!(member = ?shared.shell.member, why = %failed, "the fence is not confirmed: running the fence command");
    match power_off.run().await {
        Ok(()) => Ok(Certain::ProcessGone),
        Err(why) => Err(DriverError(format!("{failed}; the fence command: {why}"))),
    }
}
