//! Between a driver and the engine: a task a member that makes a driver look like a launcher's link and a check.
//!
//! Half of it, `look`, looks at the member at a steady pace. What it sees is reported twice: as the outcome of a check,
//! with what the flows do, which is what decides; and as a heartbeat, for status. The other half, `act`
//! (`shell_act.rs`), carries out orders. The link is up while orders can be given, which is not the same as knowing what
//! the flows do: the launcher of a hung Node-RED takes orders well.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hotspare_decide::message::{Down, FlowState, Heartbeat, MemberStatus, NotReady, Up};
use hotspare_decide::{Epoch, LinkId, Member, ProbeOutcome};
use tokio::sync::{Notify, mpsc};

use super::off::PowerOff;
use super::shell_act::act;
use super::{Driver, Flows, Seen};
use crate::engine::{DriverEvent, Handle, Input};
use crate::probe::ActiveMark;

/// Orders that may wait for the one that is being carried out; the decision core repeats what is lost.
const ORDERS: usize = 16;

/// What the shell needs to know of its member.
pub struct Shell {
    /// Does the work.
    pub driver: Arc<dyn Driver>,
    /// Index of the instance.
    pub instance: u32,
    /// Which member.
    pub member: Member,
    /// Which member has the traffic.
    pub active: ActiveMark,
    /// The number of the check that the looks count as.
    pub check: usize,
    /// From one look to the next.
    pub pace: Duration,
    /// Makes certain that the member is off when nothing else does.
    pub power_off: Option<PowerOff>,
}

/// The engine's end of a driver.
#[derive(Debug)]
pub struct DriverHandle {
    /// The present number of the link that the driver stands for; the engine counts it up.
    pub link: LinkId,
    orders: mpsc::Sender<Down>,
    now: Arc<Notify>,
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

    /// Asks for a look at once.
    pub fn look_now(&self) {
        self.now.notify_one();
    }
}

/// What both halves know.
pub(super) struct Shared {
    pub(super) shell: Shell,
    engine: Handle,
    /// The newest epoch that was started or fenced here by this process; the member itself keeps none.
    pub(super) max_epoch: AtomicU64,
    /// The epoch that was started last here and not fenced since, or 0.
    pub(super) tenure: AtomicU64,
    /// Counted up when a start or a fence begins and when it ends: odd while one is under way.
    operations: AtomicU64,
    now: Arc<Notify>,
}

/// Marks a start or a fence as under way for as long as it lives.
pub(super) struct UnderWay<'a>(&'a Shared);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.operations.fetch_add(1, Ordering::AcqRel);
    }
}

impl Shared {
    /// From now until the guard is dropped, looks don't count as checks: a member that is being started serves nothing
    /// yet, and that is no fault of it.
    pub(super) fn under_way(&self) -> UnderWay<'_> {
        self.operations.fetch_add(1, Ordering::AcqRel);
        UnderWay(self)
    }

    /// `false` once the engine has stopped.
    pub(super) async fn tell(&self, event: DriverEvent) -> bool {
        let (instance, member) = (self.shell.instance, self.shell.member);
        self.engine.send(Input::Driver { instance, member, event }).await
    }

    /// Tells the outcome of a look; `false` once the engine has stopped.
    pub(super) async fn report(&self, outcome: ProbeOutcome, flows: Option<FlowState>) -> bool {
        let (instance, member, check) = (self.shell.instance, self.shell.member, self.shell.check);
        self.engine.send(Input::Probe { instance, member, check, outcome, flows }).await
    }

    /// Asks for a look at once.
    pub(super) fn look_now(&self) {
        self.now.notify_one();
    }

    fn is_active(&self) -> bool {
        usize::from(self.shell.active.load(Ordering::Relaxed)) == self.shell.member.index() + 1
    }
}

/// Starts the task, which ends when the handle is dropped.
pub fn spawn(shell: Shell, engine: Handle) -> DriverHandle {
    let (orders, receiver) = mpsc::channel(ORDERS);
    let now = Arc::new(Notify::new());
    let (max_epoch, tenure) = (AtomicU64::new(0), AtomicU64::new(0));
    let shared = Arc::new(Shared { shell, engine, max_epoch, tenure, operations: AtomicU64::new(0), now: now.clone() });
    tokio::spawn(async move {
        // Acting ends when the engine drops its end, and looking with it.
        tokio::select! {
            () = look(shared.clone()) => {}
            () = act(shared.clone(), receiver) => {}
        }
    });
    DriverHandle { link: LinkId(0), orders, now }
}

async fn look(shared: Arc<Shared>) {
    let mut up = false;
    let mut seq = 0;
    let mut ticks = tokio::time::interval(shared.shell.pace);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shared.now.notified() => {}
        }
        let operation = shared.operations.load(Ordering::Acquire);
        let seen = shared.shell.driver.observe().await;
        let active = shared.is_active();
        let reachable = seen.reachable || shared.shell.power_off.is_some();
        if reachable != up {
            up = reachable;
            if !shared.tell(if up { DriverEvent::Up } else { DriverEvent::Down }).await {
                return;
            }
        }
        if up {
            seq += 1;
            let status = status(&shared, &seen, active);
            if !shared.tell(DriverEvent::Says(Up::Heartbeat(Heartbeat { seq, echo: None, status }))).await {
                return;
            }
        }
        if operation % 2 == 1 || operation != shared.operations.load(Ordering::Acquire) {
            continue;
        }
        // A plain server has no flows that could be stopped: whether it answers is all there is to it.
        tracing::debug!(member = ?shared.shell.member, ?seen, active, "looked");
        let judged_as_active = active && shared.shell.driver.kind() != "none";
        let (outcome, flows) = outcome(&seen, judged_as_active);
        if !shared.report(outcome, flows).await {
            return;
        }
    }
}

/// The look as a check: the active's flows must run, the standby's must be stopped and able to start.
fn outcome(seen: &Seen, active: bool) -> (ProbeOutcome, Option<FlowState>) {
    let stopped = if seen.up { FlowState::Stopped } else { FlowState::Down };
    match &seen.flows {
        Flows::Running => (ProbeOutcome::Pass, Some(FlowState::Running)),
        Flows::Stopped if active => {
            let reason = "the active's flows are stopped".to_owned();
            (ProbeOutcome::Fail { reason }, Some(stopped))
        }
        Flows::Stopped => match &seen.ready {
            Ok(()) => (ProbeOutcome::Pass, Some(stopped)),
            Err(why) => (ProbeOutcome::Fail { reason: why.clone() }, Some(stopped)),
        },
        Flows::Unknown(why) if seen.up || seen.reachable => (ProbeOutcome::Fail { reason: why.clone() }, None),
        Flows::Unknown(why) => (ProbeOutcome::Unknown { reason: why.clone() }, None),
    }
}

fn status(shared: &Shared, seen: &Seen, active: bool) -> MemberStatus {
    let flows = match (&seen.flows, seen.up) {
        (Flows::Running, _) => FlowState::Running,
        (Flows::Stopped, true) => FlowState::Stopped,
        (Flows::Stopped, false) => FlowState::Down,
        // Nothing says that the active's tenure has ended; elsewhere something may still run.
        (Flows::Unknown(_), _) if active => FlowState::Running,
        (Flows::Unknown(_), _) => FlowState::Stopping,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(flows: Flows, up: bool, reachable: bool, ready: Result<(), String>) -> Seen {
        Seen { flows, up, reachable, ready, node_red: None, revision: None }
    }

    #[test]
    fn an_active_must_run_and_a_standby_must_be_able_to() {
        let cold = seen(Flows::Stopped, false, true, Ok(()));
        assert_eq!(outcome(&cold, false), (ProbeOutcome::Pass, Some(FlowState::Down)));
        assert!(matches!(outcome(&cold, true), (ProbeOutcome::Fail { .. }, Some(FlowState::Down))));
        let incomplete = seen(Flows::Stopped, true, true, Err("missing node types".to_owned()));
        assert!(matches!(outcome(&incomplete, false), (ProbeOutcome::Fail { .. }, Some(FlowState::Stopped))));
    }

    #[test]
    fn no_answer_is_unknown_and_never_a_state() {
        let silent = seen(Flows::Unknown("no answer".to_owned()), false, false, Err("no answer".to_owned()));
        assert!(matches!(outcome(&silent, true), (ProbeOutcome::Unknown { .. }, None)));
        let hung = seen(Flows::Unknown("hung".to_owned()), false, true, Err("hung".to_owned()));
        assert!(matches!(outcome(&hung, true), (ProbeOutcome::Fail { .. }, None)));
    }
}
