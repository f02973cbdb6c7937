//! The task around the guard: everything that happens becomes an input, every effect is carried out, in order.
//!
//! Owns: the guard, the Node-RED process, the ends of the links. Never decides: what the guard does not say is not
//! done. One task, so nothing here is ever raced. Next: `input`, `reports` and `commands` for what comes in, `effects` for the
//! carrying out, `hotspare_decide::Guard` for the rules, `waiting` for commands that are answered when they have become true.

mod commands;
mod input;
mod reports;
mod view;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hotspare_decide::message::{FlowState, MemberStatus, PromiseAnswer, Up};
use hotspare_decide::{Guard, GuardConfig, GuardRecord, Time};
use hotspare_protocol::Secret;
use hotspare_tls::stream::Expected;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::sync::oneshot;
use tokio::time::sleep;

pub(crate) use self::input::{Command, Fault, Input, Transfer};
pub(crate) use self::view::View;
use crate::args::LauncherArgs;
use crate::attach::Caller;
use crate::clock;
use crate::cut::Cut;
use crate::logs::Logs;
use crate::module::Status;
use crate::node_red::{Happening, NodeRed};
use crate::output::Output;
use crate::record::StateDir;
use crate::resources::Samples;
use crate::undertaker::Undertaker;
use crate::waiting::{Outcome, Waiting};

/// How long the links may take to send what waits when the launcher ends.
const LINKS_CLOSE_WITHIN: Duration = Duration::from_millis(500);

/// The process that runs now, and what it said.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) run: u64,
    pub(crate) red: NodeRed,
    pub(crate) started_ms: u64,
    pub(crate) started_ns: u64,
    pub(crate) boot_ms: Option<u64>,
    pub(crate) node: Option<String>,
    pub(crate) node_red: Option<String>,
    pub(crate) user_dir: Option<PathBuf>,
    pub(crate) port: Option<u16>,
    /// Number and time of arrival of the module's last beat.
    pub(crate) beat: Option<(u64, Time)>,
    pub(crate) lag_ms: u32,
    /// For a processor, when its event loop last turned.
    pub(crate) waited: Duration,
    pub(crate) status: Option<Status>,
    pub(crate) safe: bool,
    /// Its own launcher was asked to restart it.
    pub(crate) restarting: bool,
}

pub(crate) struct Shell {
    pub(crate) parts: Parts,
    pub(crate) guard: Guard,
    pub(crate) current: Option<Current>,
    pub(crate) outboxes: Vec<Option<Sender<Up>>>,
    pub(crate) resources: Arc<Mutex<Samples>>,
    pub(crate) promises: HashMap<u64, oneshot::Sender<PromiseAnswer>>,
    pub(crate) next_promise: u64,
    pub(crate) asking: Arc<tokio::sync::Semaphore>,
    pub(crate) waiting: Waiting,
    /// The process that is to be started at once or after its back-off.
    pub(crate) pending_spawn: Option<u64>,
    /// A Node-RED that has called and is not taken on yet.
    pub(crate) caller: Option<Caller>,
    pub(crate) safe_next: bool,
    pub(crate) down_by_request: bool,
    pub(crate) last_ending: Option<String>,
    pub(crate) next_op: u64,
    /// Transfers that the module has not answered; all are given up when its process ends.
    pub(crate) transfers: HashMap<u64, oneshot::Sender<Outcome>>,
    pub(crate) next_transfer: u64,
}

/// What the shell is given and works with.
pub(crate) struct Parts {
    pub(crate) args: LauncherArgs,
    pub(crate) state: StateDir,
    pub(crate) module: PathBuf,
    pub(crate) session: u64,
    pub(crate) inputs: Sender<Input>,
    pub(crate) happenings: Sender<Happening>,
    pub(crate) records: SyncSender<(u64, GuardRecord)>,
    pub(crate) undertaker: Undertaker,
    pub(crate) logs: Arc<Mutex<Logs>>,
    pub(crate) output: Output,
    /// Nice value for Node-RED; the launcher's own is lower.
    pub(crate) nice: i32,
    /// For the admin API, which is asked by the peer.
    pub(crate) peer_secret: Arc<Mutex<Option<Secret>>>,
    /// What the peer must show over https.
    pub(crate) tls: Expected,
    /// Told when somebody deployed flows here.
    pub(crate) deployed: Arc<tokio::sync::Notify>,
    pub(crate) cut: Cut,
}

impl Shell {
    pub(crate) fn new(parts: Parts, record: GuardRecord) -> Self {
        let controllers = parts.args.controllers.len();
        let config = GuardConfig { session: parts.session, controllers };
        Self {
            parts,
            guard: Guard::new(now(), config, record),
            current: None,
            outboxes: vec![None; controllers],
            resources: Arc::default(),
            promises: HashMap::new(),
            next_promise: 0,
            asking: Arc::new(tokio::sync::Semaphore::new(4)),
            waiting: Waiting::default(),
            pending_spawn: None,
            caller: None,
            safe_next: false,
            down_by_request: false,
            last_ending: None,
            next_op: 0,
            transfers: HashMap::new(),
            next_transfer: 0,
        }
    }

    /// Runs until `stop` is done, then ends Node-RED and returns once it is gone.
    pub(crate) async fn run(
        mut self,
        mut happenings: Receiver<Happening>,
        mut inputs: Receiver<Input>,
        stop: impl Future<Output = ()>,
    ) {
        let mut stop = std::pin::pin!(stop);
        let mut ending: Option<oneshot::Receiver<Outcome>> = None;
        loop {
            self.carry_out_effects();
            let timeout = self.guard.poll_timeout().map(|at| now().until(at));
            let is_ending = ending.is_some();
            let ended = async {
                match &mut ending {
                    Some(answer) => drop(answer.await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(happening) = happenings.recv() => self.hear(happening),
                () = sleep(timeout.unwrap_or(Duration::MAX)), if timeout.is_some() => {}
                Some(input) = inputs.recv() => self.take(input),
                () = &mut stop, if !is_ending => {
                    self.say("the launcher was told to end: stopping the flows, then Node-RED");
                    let (answer, done) = oneshot::channel();
                    self.command(Command::StopProcess, answer);
                    ending = Some(done);
                }
                () = ended => break,
            }
            // A machine that was suspended wakes with timers that are late: the clock decides, not the timer.
            if self.guard.poll_timeout().is_some_and(|at| at <= now()) {
                self.guard.handle_timeout(now());
            }
        }
        self.carry_out_effects();
        if self.parts.args.attach.is_some() && self.guard.status(now()).tenure.is_none() {
            // What stays has no flow that runs: the next launcher takes it on as it is.
            let _ = crate::attach::forget(self.parts.state.path());
        }
        self.close_links(&mut inputs).await;
        self.parts.undertaker.dismiss();
    }

    /// Lets the links send what waits, such as the exit receipt, and close.
    async fn close_links(&mut self, inputs: &mut Receiver<Input>) {
        let mut open = self.outboxes.iter_mut().filter_map(Option::take).count();
        let closed = async {
            while open > 0 {
                match inputs.recv().await {
                    Some(Input::LinkDown { .. }) => open -= 1,
                    Some(_) => {}
                    None => return,
                }
            }
        };
        let _ = tokio::time::timeout(LINKS_CLOSE_WITHIN, closed).await;
    }

    /// Whether flows may be running here, as far as anyone but the guard can tell.
    pub(crate) fn runs_nothing(status: &MemberStatus) -> bool {
        status.tenure.is_none() && matches!(status.flows, FlowState::Stopped | FlowState::Down | FlowState::Booting)
    }

    /// A line for people, in the log and in `/flowforge/logs`.
    pub(crate) fn say(&self, text: &str) {
        tracing::info!("{text}");
        self.parts.logs.lock().unwrap_or_else(PoisonError::into_inner).system(text);
    }
}

/// Now, on this host's `CLOCK_BOOTTIME`.
pub(crate) fn now() -> Time {
    Time::from_nanos(clock::boottime_ns())
}
