//! What goes into a guard and what comes out of it.

use crate::ids::{Epoch, OpId};
use crate::message::{
    Down, ExitCause, FenceHow, LauncherSettings, Peer, PromiseAnswer, PromiseAsk, PromiseVerdict, StartFailure, Up,
};
use crate::time::Time;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a launcher keeps on disk. Durable before anything that depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GuardRecord {
    /// Nothing up to this epoch can be started here again.
    pub max_epoch: Epoch,
    /// As the controller said last. `None` before the first welcome.
    pub settings: Option<LauncherSettings>,
    /// As the controller said last.
    pub peer: Option<Peer>,
}

/// What a guard is told at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardConfig {
    /// Random, one per start of the launcher. Heartbeats are numbered from a point made of it, so that an answer to
    /// an earlier session's heartbeat is known as such; the jitter of back-offs comes from it too.
    pub session: u64,
    /// How many controllers are configured. With none, the flows are started and stopped by hand only.
    pub controllers: usize,
}

/// Something that happened at a launcher. Late or illegal input is a counted no-op.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuardInput {
    /// The link to a controller is up and hello was sent.
    LinkUp {
        /// Index of the controller.
        controller: usize,
    },
    /// The link to a controller has closed.
    LinkDown {
        /// Index of the controller.
        controller: usize,
    },
    /// A message of a controller.
    Down {
        /// Index of the controller.
        controller: usize,
        /// The message.
        msg: Down,
    },
    /// Node-RED was started; it is booting.
    Spawned {
        /// As in [`GuardEffect::Spawn`].
        process: u64,
    },
    /// Node-RED's process is gone: reaped, nothing of its process group is left. Also when a spawn failed.
    Exited {
        /// As in [`GuardEffect::Spawn`].
        process: u64,
        /// Exit code.
        code: Option<i32>,
        /// Signal number.
        signal: Option<i32>,
    },
    /// Word from the module inside Node-RED.
    Module {
        /// The process it runs in.
        process: u64,
        /// What it says.
        event: ModuleEvent,
    },
    /// The peer's launcher asks for a promise. Answered at once by [`GuardEffect::AnswerPromise`].
    PromiseAsked {
        /// The shell's handle of the open request.
        request: u64,
        /// The question.
        ask: PromiseAsk,
    },
    /// The peer's launcher answered our question.
    PromiseAnswered {
        /// The answer.
        answer: PromiseAnswer,
    },
    /// A record is durable.
    Persisted {
        /// As in the effect.
        id: u64,
    },
    /// A record could not be made durable. It is tried again.
    PersistFailed {
        /// As in the effect.
        id: u64,
    },
    /// By hand, through the launcher's own API, when no controllers are configured: start under this epoch.
    ManualStart {
        /// Must be above every earlier one.
        epoch: Epoch,
        /// Names the command.
        op: OpId,
    },
    /// By hand: stop the flows, and accept no epoch up to this one. Works with controllers too (fencing is always safe).
    ManualFence {
        /// The highest epoch that is forbidden; the current tenure's if not said.
        epoch: Option<Epoch>,
        /// How long a graceful stop may take.
        grace: Duration,
    },
    /// By hand: end the Node-RED process (`restart: true`: and start it again). Refused while flows run: fence first.
    ManualStop {
        /// Start it again.
        restart: bool,
    },
}

/// Word from the module inside Node-RED. `cmd` repeats the number of the command it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModuleEvent {
    /// Node-RED is up, flows loaded and stopped.
    Ready {
        /// Revision of the flows.
        revision: Option<String>,
        /// Version of Node-RED.
        node_red: Option<String>,
        /// Node types that are missing.
        missing_types: Vec<String>,
    },
    /// What a start would find, after [`ModuleEvent::Ready`] and whenever it changes.
    Condition {
        /// Node types that are missing.
        missing_types: Vec<String>,
        /// Anything else that would make a start fail, in words.
        problem: Option<String>,
    },
    /// All flows run.
    FlowsStarted {
        /// The command answered.
        cmd: u64,
    },
    /// They don't, or not all: the guard stops what may run.
    StartFailed {
        /// The command answered.
        cmd: u64,
        /// Why.
        failure: StartFailure,
    },
    /// All nodes are closed, nothing runs.
    FlowsStopped {
        /// The command answered.
        cmd: u64,
    },
    /// The flows of a tenure stand still although no stop was ordered (a click on "stop" in the editor, a deploy that
    /// could not start), or `None`: they run again. Ignored unless they should be running.
    Halted {
        /// Why, in words.
        why: Option<String>,
    },
    /// What is installed in its user folder.
    Nodes {
        /// Stands for the nodes and their versions.
        installed: Option<String>,
        /// Why the peer's could not be installed.
        problem: Option<String>,
    },
    /// Event-loop lag, as the module's worker thread sees it. Due at least every `hang_after / 4`.
    Lag {
        /// Milliseconds.
        ms: u64,
    },
    /// The flows were deployed.
    Deploy {
        /// The revision now stored.
        revision: String,
        /// Node types that are missing now.
        missing_types: Vec<String>,
    },
}

/// One thing a launcher is to do. Carried out in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuardEffect {
    /// Start Node-RED with flows stopped; report `Spawned`, and `Exited` when it is gone or could not be started.
    Spawn {
        /// Rises with each start. The same number again replaces an order that still waits; one that was carried out
        /// already is not carried out twice.
        process: u64,
        /// Wait this long first (back-off).
        after: Duration,
    },
    /// SIGKILL Node-RED's process group.
    Kill {
        /// The process.
        process: u64,
        /// Why.
        cause: ExitCause,
    },
    /// Tell the module: you may run under this epoch until `end`, whatever the main thread does. Sent before
    /// `StartFlows`, and again whenever the end moves.
    SetLease {
        /// The process.
        process: u64,
        /// The tenure.
        epoch: Epoch,
        /// On this host's `CLOCK_BOOTTIME`. A time that has passed closes the gate.
        end: Time,
    },
    /// Tell the module to start the flows.
    StartFlows {
        /// The process.
        process: u64,
        /// Number of the command, repeated in the answer.
        cmd: u64,
        /// The tenure.
        epoch: Epoch,
    },
    /// Tell the module to close the gate and stop the flows.
    StopFlows {
        /// The process.
        process: u64,
        /// Number of the command, repeated in the answer.
        cmd: u64,
    },
    /// Send to a controller; dropped if that link has closed.
    Send {
        /// Index of the controller.
        controller: usize,
        /// The message.
        msg: Up,
    },
    /// Ask the peer's launcher (`guard.record().peer`) for a promise. No answer needs no report.
    AskPromise {
        /// The question.
        ask: PromiseAsk,
    },
    /// Answer the peer's launcher.
    AnswerPromise {
        /// The shell's handle.
        request: u64,
        /// The answer.
        answer: PromiseAnswer,
    },
    /// Make the record durable (write, fsync, rename, fsync of the folder), then report.
    Persist {
        /// Rises.
        id: u64,
        /// The whole record.
        record: GuardRecord,
    },
    /// For the log and the audit trail.
    Event(GuardEvent),
}

/// What a guard decided or saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum GuardEvent {
    /// A start was accepted.
    StartAccepted {
        /// The tenure.
        epoch: Epoch,
    },
    /// A start was refused or failed.
    StartFailed {
        /// The tenure asked for.
        epoch: Epoch,
        /// Why.
        failure: StartFailure,
    },
    /// The flows run.
    Running {
        /// The tenure.
        epoch: Epoch,
    },
    /// The flows of the tenure stand still, and nobody here asked for it; `None`: they run again.
    Halted {
        /// Why, in words.
        why: Option<String>,
    },
    /// A tenure is over: nothing of it runs.
    TenureEnded {
        /// The tenure.
        epoch: Epoch,
        /// How.
        how: FenceHow,
    },
    /// No renewal: the peer is asked for its promise.
    RenewalsFailing {
        /// Milliseconds of lease left.
        left_ms: u64,
    },
    /// The peer's promise carries the tenure on.
    PromiseHeld {
        /// Milliseconds.
        for_ms: u64,
    },
    /// The peer declined.
    PromiseDeclined {
        /// What it said.
        verdict: PromiseVerdict,
    },
    /// This launcher promised to start nothing.
    PromiseGiven {
        /// Milliseconds.
        for_ms: u64,
    },
    /// Renewals are back.
    Renewed,
    /// Neither controller nor peer: the flows are being stopped before the lease ends.
    Isolated {
        /// Milliseconds of lease left.
        left_ms: u64,
    },
    /// Neither controller nor peer, and the configuration says to run on.
    RunningIsolated,
    /// Node-RED is to be killed.
    Killing {
        /// Why.
        cause: ExitCause,
    },
    /// Node-RED's process is gone.
    Exited {
        /// Why.
        cause: ExitCause,
        /// Milliseconds until it is started again.
        restart_in_ms: u64,
        /// It keeps dying.
        crash_loop: bool,
    },
    /// The record could not be written.
    PersistFailing,
}
