//! The task around the guard: everything that happens becomes an input, every effect is carried out, in order.
//!
//! Owns: the guard, the Node-RED process, the ends of the links. Never decides: what the guard does not say is not
//! done. One task, so nothing here is ever raced. Next: `effects` for the carrying out, `hotspare_decide::Guard` for
//! the rules, `waiting` for commands that are answered when they have become true.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hotspare_decide::message::{
    Down, FlowState, Hello, MemberStatus, Peer, PromiseAnswer, PromiseAsk, StartFailure, StartFailureKind, Up, VERSION,
};
use hotspare_decide::{Epoch, Guard, GuardConfig, GuardInput, GuardRecord, ModuleEvent, OpId, Time};
use hotspare_tls::stream::Expected;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::sync::oneshot;
use tokio::time::sleep;

use hotspare_protocol::{Secret, flows_key};

use crate::args::LauncherArgs;
use crate::attach::Caller;
use crate::clock;
use crate::cut::Cut;
use crate::logs::Logs;
use crate::module::{EXIT_REFUSED, Flows, Order, Report, Status};
use crate::node_red::{Ending, Happening, NodeRed, What};
use crate::output::Output;
use crate::record::StateDir;
use crate::resources::{Samples, own_lag};
use crate::undertaker::Undertaker;
use crate::waiting::{Goal, Outcome, Waiting};

/// An event loop with less lag has just turned: two of its beats.
const TURNS: Duration = Duration::from_millis(100);
/// How long the links may take to send what waits when the launcher ends.
const LINKS_CLOSE_WITHIN: Duration = Duration::from_millis(500);

/// Something for the shell to do or to hear.
#[derive(Debug)]
pub(crate) enum Input {
    LinkUp {
        controller: usize,
        outbox: Sender<Up>,
    },
    LinkDown {
        controller: usize,
    },
    Down {
        controller: usize,
        msg: Down,
    },
    Persisted {
        id: u64,
        ok: bool,
    },
    PromiseAsked {
        ask: PromiseAsk,
        answer: oneshot::Sender<PromiseAnswer>,
    },
    PromiseAnswered {
        answer: PromiseAnswer,
    },
    /// A Node-RED that another launcher has started calls.
    Attached(Caller),
    /// The back-off before the start of process `process` is over.
    SpawnDue {
        process: u64,
    },
    /// Process `process` was asked to end by itself and had time for it.
    KillDue {
        process: u64,
    },
    Command {
        command: Command,
        answer: oneshot::Sender<Outcome>,
    },
    /// A rehearsal: something is to go wrong.
    Drill {
        fault: Fault,
        /// Of a partition.
        lasts: Duration,
    },
    /// The stored flows are to be written to, or taken from, a file.
    Transfer {
        transfer: Transfer,
        path: PathBuf,
        answer: oneshot::Sender<Outcome>,
    },
    Look {
        answer: oneshot::Sender<View>,
    },
    /// What is installed in the user folder of process `run`.
    Nodes {
        run: u64,
        installed: Option<String>,
        problem: Option<String>,
    },
    SampleDue,
}

/// What goes wrong in a drill. Nothing of the guard is told: it must find out as it would of the real thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fault {
    /// Node-RED is killed.
    Crash,
    /// Its event loop stands still.
    Hang,
    /// No controller and no peer can be reached from here.
    Partition,
}

/// Which way stored flows go, or the files of context stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transfer {
    Export,
    Import,
    ExportContext,
    ImportContext,
}

/// By hand, through the admin API. Each is answered when it has become true, or never can.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Command {
    StartFlows {
        epoch: Epoch,
    },
    Fence {
        epoch: Option<Epoch>,
        grace: Duration,
    },
    StartProcess {
        safe: bool,
    },
    StopProcess,
    RestartProcess {
        safe: bool,
    },
    /// Only if no flows run here, nor are about to.
    RestartSpare,
}

/// What is so, for the admin API.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) status: MemberStatus,
    pub(crate) pid: Option<i32>,
    pub(crate) port: Option<u16>,
    /// Which process it is, counted from the launcher's start; `None` while there is none.
    pub(crate) run: Option<u64>,
    pub(crate) user_dir: Option<PathBuf>,
    pub(crate) node: Option<String>,
    /// Wall clock in milliseconds.
    pub(crate) started_ms: Option<u64>,
    pub(crate) boot_ms: Option<u64>,
    pub(crate) safe: bool,
    /// Node-RED was told to stop and stays down.
    pub(crate) down_by_request: bool,
    /// The event loop turns: the last beat is fresh and its lag below the limit.
    pub(crate) alive: bool,
    pub(crate) last_ending: Option<String>,
    pub(crate) links: Vec<(String, bool)>,
    pub(crate) peer: Option<Peer>,
    /// How often files of context stores go to the peer, if they do.
    pub(crate) context_every: Option<Duration>,
    pub(crate) ignored: u64,
    pub(crate) dropped_lines: u64,
    pub(crate) resources: Arc<Mutex<Samples>>,
}

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
    pub(crate) args: LauncherArgs,
    pub(crate) state: StateDir,
    pub(crate) module: PathBuf,
    pub(crate) guard: Guard,
    pub(crate) session: u64,
    pub(crate) current: Option<Current>,
    pub(crate) outboxes: Vec<Option<Sender<Up>>>,
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
    /// What the peer must show over https.
    pub(crate) tls: Expected,
    /// Told when somebody deployed flows here.
    pub(crate) deployed: Arc<tokio::sync::Notify>,
    pub(crate) cut: Cut,
}

/// What the shell is made of; the rest of its fields begin empty.
pub(crate) struct Parts {
    pub(crate) args: LauncherArgs,
    pub(crate) state: StateDir,
    pub(crate) module: PathBuf,
    pub(crate) record: GuardRecord,
    pub(crate) session: u64,
    pub(crate) inputs: Sender<Input>,
    pub(crate) happenings: Sender<Happening>,
    pub(crate) records: SyncSender<(u64, GuardRecord)>,
    pub(crate) undertaker: Undertaker,
    pub(crate) logs: Arc<Mutex<Logs>>,
    pub(crate) output: Output,
    pub(crate) nice: i32,
    pub(crate) peer_secret: Arc<Mutex<Option<Secret>>>,
    /// What the peer must show over https.
    pub(crate) tls: Expected,
    pub(crate) deployed: Arc<tokio::sync::Notify>,
    pub(crate) cut: Cut,
}

impl Shell {
    pub(crate) fn new(parts: Parts) -> Self {
        let controllers = parts.args.controllers.len();
        let config = GuardConfig { session: parts.session, controllers };
        Self {
            guard: Guard::new(now(), config, parts.record),
            args: parts.args,
            state: parts.state,
            module: parts.module,
            session: parts.session,
            current: None,
            outboxes: vec![None; controllers],
            inputs: parts.inputs,
            happenings: parts.happenings,
            records: parts.records,
            undertaker: parts.undertaker,
            logs: parts.logs,
            output: parts.output,
            nice: parts.nice,
            peer_secret: parts.peer_secret,
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
            tls: parts.tls,
            deployed: parts.deployed,
            cut: parts.cut,
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
        if self.args.attach.is_some() && self.guard.status(now()).tenure.is_none() {
            // What stays has no flow that runs: the next launcher takes it on as it is.
            let _ = crate::attach::forget(self.state.path());
        }
        self.close_links(&mut inputs).await;
        self.undertaker.dismiss();
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

    /// Word from or about a process.
    fn hear(&mut self, Happening { run, what }: Happening) {
        if self.current.as_ref().is_none_or(|current| current.run != run) {
            return;
        }
        match what {
            What::Gone(ending) => self.gone(run, ending),
            What::Report(report) => self.reported(run, report),
        }
    }

    fn gone(&mut self, run: u64, ending: Ending) {
        self.current = None;
        self.transfers.clear();
        let why = match ending.code {
            Some(EXIT_REFUSED) => " (the module refuses this Node-RED: see its lines above)",
            Some(crate::child::EXIT_CANNOT_START) => " (it could not be started: see its lines above)",
            _ => "",
        };
        self.last_ending = Some(format!("{ending}{why}"));
        self.say(&format!("Node-RED is gone: {ending}{why}"));
        self.guard.handle(now(), GuardInput::Exited { process: run, code: ending.code, signal: ending.signal });
    }

    fn reported(&mut self, run: u64, report: Report) {
        let Some(current) = &mut self.current else { return };
        let event = match report {
            Report::Hello { pid, node } => {
                tracing::debug!(pid, node, "the module is loaded");
                current.node = Some(node);
                return;
            }
            Report::Attached { node_red, user_dir } => {
                current.node_red = Some(node_red);
                // What is installed where another launcher starts Node-RED is for its platform to say.
                current.user_dir = user_dir.filter(|_| self.args.attach.is_none());
                return;
            }
            Report::Listening { port } => {
                current.port = Some(port);
                return;
            }
            Report::Broken { text } => return self.say(&text),
            Report::Unknown => return,
            Report::Beat { seq, lag_ms, status } => return self.beat(run, seq, lag_ms, status),
            Report::Started { id, ok: true, .. } => ModuleEvent::FlowsStarted { cmd: id },
            Report::Started { id, kind, text, .. } => {
                let kind = match kind.as_str() {
                    "lease_over" => StartFailureKind::TooLate,
                    "not_ready" => StartFailureKind::NotReady,
                    _ => StartFailureKind::Failed,
                };
                ModuleEvent::StartFailed { cmd: id, failure: StartFailure { kind, text } }
            }
            Report::Stopped { id } => ModuleEvent::FlowsStopped { cmd: id },
            Report::Transferred { id, ok, text } => {
                if let Some(answer) = self.transfers.remove(&id) {
                    let _ = answer.send(if ok { Ok(()) } else { Err(text) });
                }
                return;
            }
            Report::Deploy { revision, missing_types } => {
                self.deployed.notify_one();
                let Some(revision) = revision else { return };
                ModuleEvent::Deploy { revision, missing_types }
            }
        };
        self.guard.handle(now(), GuardInput::Module { process: run, event });
    }

    fn beat(&mut self, run: u64, seq: u64, lag_ms: u32, status: Status) {
        let Some(current) = &mut self.current else { return };
        current.beat = Some((seq, now()));
        current.lag_ms = lag_ms;
        let (lag, waited) = (Duration::from_millis(lag_ms.into()), current.red.waited());
        if lag < TURNS {
            current.waited = waited;
        }
        let own = own_lag(lag, waited.saturating_sub(current.waited));
        let changed = current.status.as_ref() != Some(&status);
        let booted = status.flows != Flows::Booting;
        if booted && current.boot_ms.is_none() {
            current.boot_ms = Some((clock::boottime_ns() - current.started_ns) / 1_000_000);
        }
        let tells = booted && changed;
        let mut told = Vec::new();
        if tells && current.status.as_ref().is_none_or(|before| before.flows == Flows::Booting) {
            told.push(ModuleEvent::Ready {
                revision: status.revision.clone(),
                node_red: current.node_red.clone(),
                missing_types: status.missing_types.clone(),
            });
        }
        if tells {
            let missing_types = status.missing_types.clone();
            let problem = status.ready.clone().filter(|_| missing_types.is_empty());
            told.push(ModuleEvent::Condition { missing_types, problem });
        }
        // A level, told until the guard has it.
        if self.guard.halted() != status.halted.as_deref() {
            told.push(ModuleEvent::Halted { why: status.halted.clone() });
        }
        current.status = Some(status);
        // While Node-RED loads its palette its event loop may stand still for long: the boot has its own deadline.
        if booted {
            told.push(ModuleEvent::Lag { ms: u64::try_from(own.as_millis()).unwrap_or(u64::MAX) });
        }
        for event in told {
            self.guard.handle(now(), GuardInput::Module { process: run, event });
        }
    }

    fn take(&mut self, input: Input) {
        let now = now();
        match input {
            Input::LinkUp { controller, outbox } => {
                let hello = Up::Hello(Hello {
                    version: VERSION,
                    instance: self.args.instance.clone(),
                    member: self.args.name.clone(),
                    session: self.session,
                    software: concat!("hotspare ", env!("CARGO_PKG_VERSION")).to_owned(),
                    node_red: self.current.as_ref().and_then(|c| c.node_red.clone()),
                    max_epoch: self.guard.record().max_epoch,
                });
                if outbox.try_send(hello).is_ok() {
                    self.outboxes[controller] = Some(outbox);
                    self.guard.handle(now, GuardInput::LinkUp { controller });
                }
            }
            Input::LinkDown { controller } => {
                self.outboxes[controller] = None;
                self.guard.handle(now, GuardInput::LinkDown { controller });
            }
            Input::Down { controller, msg } => self.guard.handle(now, GuardInput::Down { controller, msg }),
            Input::Persisted { id, ok: true } => self.guard.handle(now, GuardInput::Persisted { id }),
            Input::Persisted { id, ok: false } => self.guard.handle(now, GuardInput::PersistFailed { id }),
            Input::PromiseAsked { ask, answer } => {
                self.next_promise += 1;
                self.promises.insert(self.next_promise, answer);
                self.guard.handle(now, GuardInput::PromiseAsked { request: self.next_promise, ask });
            }
            Input::PromiseAnswered { answer } => self.guard.handle(now, GuardInput::PromiseAnswered { answer }),
            Input::Attached(caller) => {
                self.caller = Some(caller);
                self.take_on();
            }
            Input::SpawnDue { process } => self.spawn_if_due(process),
            Input::KillDue { process } => {
                if let Some(current) = self.current.as_ref().filter(|c| c.run == process) {
                    current.red.kill();
                }
            }
            Input::Command { command, answer } => self.command(command, answer),
            Input::Drill { fault, lasts } => self.drill(fault, lasts),
            Input::Transfer { transfer, path, answer } => self.transfer(transfer, path, answer),
            Input::Look { answer } => drop(answer.send(self.view())),
            Input::Nodes { run, installed, problem } => {
                let event = ModuleEvent::Nodes { installed, problem };
                self.guard.handle(now, GuardInput::Module { process: run, event });
            }
            Input::SampleDue => {
                if let Some((current, usage)) = self.current.as_ref().and_then(|c| Some((c, c.red.usage()?))) {
                    let mut samples = self.resources.lock().unwrap_or_else(PoisonError::into_inner);
                    samples.add(&self.args.name, usage, current.lag_ms);
                }
            }
        }
    }

    fn drill(&mut self, fault: Fault, lasts: Duration) {
        self.say(&format!("a drill: {fault:?}"));
        match (fault, &self.current) {
            (Fault::Crash, Some(current)) => current.red.kill(),
            (Fault::Hang, Some(current)) => drop(current.red.order(&Order::Hang)),
            (Fault::Partition, _) => {
                self.cut.until(now() + lasts);
                self.outboxes.fill(None);
            }
            (_, None) => {}
        }
    }

    fn transfer(&mut self, transfer: Transfer, path: PathBuf, answer: oneshot::Sender<Outcome>) {
        self.next_transfer += 1;
        let id = self.next_transfer;
        let Some(secret) = self.guard.record().peer.as_ref().map(|peer| Secret::new(peer.secret.clone())) else {
            return drop(answer.send(Err("no controller has told of a peer yet".to_owned())));
        };
        let key = flows_key(&secret).expose().to_owned();
        let order = match transfer {
            Transfer::Export => Order::Export { id, path, key },
            Transfer::Import => Order::Import { id, path, key },
            Transfer::ExportContext => Order::ExportContext { id, path, key },
            Transfer::ImportContext => Order::ImportContext { id, path, key },
        };
        let outcome = match &self.current {
            Some(current) => current.red.order(&order).map_err(|error| error.to_string()),
            None => Err("there is no Node-RED process".to_owned()),
        };
        match outcome {
            Ok(()) => drop(self.transfers.insert(id, answer)),
            Err(why) => drop(answer.send(Err(why))),
        }
    }

    fn command(&mut self, command: Command, answer: oneshot::Sender<Outcome>) {
        let now = now();
        let status = self.guard.status(now);
        let goal = match command {
            Command::StartFlows { epoch } => {
                self.next_op += 1;
                self.guard.handle(now, GuardInput::ManualStart { epoch, op: OpId(self.next_op) });
                Goal::Running(epoch)
            }
            Command::Fence { epoch, grace } => {
                let upto = epoch.or(status.tenure).unwrap_or(status.max_epoch);
                self.guard.handle(now, GuardInput::ManualFence { epoch, grace });
                Goal::Fenced(upto)
            }
            Command::StartProcess { safe } => {
                self.safe_next = safe;
                self.down_by_request = false;
                self.guard.handle(now, GuardInput::ManualStop { restart: true });
                Goal::Up
            }
            // It is another launcher's: its flows are stopped, and it stays.
            Command::StopProcess if self.args.attach.is_some() => match status.tenure {
                Some(tenure) => {
                    self.guard.handle(now, GuardInput::ManualFence { epoch: None, grace: self.args.stop_grace });
                    Goal::Fenced(tenure)
                }
                None => return drop(answer.send(Ok(()))),
            },
            Command::StopProcess => {
                self.down_by_request = true;
                self.pending_spawn = None;
                if status.tenure.is_some() {
                    self.guard.handle(now, GuardInput::ManualFence { epoch: None, grace: self.args.stop_grace });
                    Goal::FencedThenDown
                } else {
                    self.guard.handle(now, GuardInput::ManualStop { restart: false });
                    Goal::Down
                }
            }
            Command::RestartSpare if !Self::runs_nothing(&status) => {
                return drop(answer.send(Err("this member is active by now".to_owned())));
            }
            Command::RestartSpare => {
                self.guard.handle(now, GuardInput::ManualStop { restart: true });
                Goal::Again(self.current.as_ref().map_or(0, |c| c.run))
            }
            Command::RestartProcess { safe } => {
                self.safe_next = safe;
                self.down_by_request = false;
                if status.tenure.is_some() {
                    self.guard.handle(now, GuardInput::ManualFence { epoch: None, grace: self.args.stop_grace });
                    Goal::FencedThenAgain
                } else {
                    self.guard.handle(now, GuardInput::ManualStop { restart: true });
                    Goal::Again(self.current.as_ref().map_or(0, |c| c.run))
                }
            }
        };
        self.waiting.add(goal, answer);
    }

    fn view(&self) -> View {
        let status = self.guard.status(now());
        let current = self.current.as_ref();
        let hang_after = self.guard.record().settings.unwrap_or_default().hang_after;
        let fresh = |c: &Current| {
            c.beat.is_some_and(|(_, at)| at.until(now()) < hang_after)
                && Duration::from_millis(c.lag_ms.into()) < hang_after
        };
        View {
            pid: current.map(|c| c.red.pid().as_raw_nonzero().get()),
            port: current.and_then(|c| c.port),
            run: current.map(|c| c.run),
            user_dir: current.and_then(|c| c.user_dir.clone()),
            node: current.and_then(|c| c.node.clone()),
            started_ms: current.map(|c| c.started_ms),
            boot_ms: current.and_then(|c| c.boot_ms),
            safe: current.is_some_and(|c| c.safe),
            down_by_request: self.down_by_request,
            alive: current.is_some_and(fresh),
            last_ending: self.last_ending.clone(),
            links: self.args.controllers.iter().cloned().zip(self.outboxes.iter().map(Option::is_some)).collect(),
            peer: self.guard.record().peer.clone(),
            context_every: self
                .guard
                .record()
                .settings
                .and_then(|settings| settings.context_every_s.map(|seconds| Duration::from_secs(seconds.get().into()))),
            ignored: self.guard.ignored(),
            dropped_lines: self.output.dropped(),
            resources: Arc::clone(&self.resources),
            status,
        }
    }

    /// Whether flows may be running here, as far as anyone but the guard can tell.
    pub(crate) fn runs_nothing(status: &MemberStatus) -> bool {
        status.tenure.is_none() && matches!(status.flows, FlowState::Stopped | FlowState::Down | FlowState::Booting)
    }

    /// A line for people, in the log and in `/flowforge/logs`.
    pub(crate) fn say(&self, text: &str) {
        tracing::info!("{text}");
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).system(text);
    }
}

/// Now, on this host's `CLOCK_BOOTTIME`.
pub(crate) fn now() -> Time {
    Time::from_nanos(clock::boottime_ns())
}
