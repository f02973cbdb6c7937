//! What the shell is told, and what of it is done at once.

use std::path::PathBuf;
use std::sync::PoisonError;
use std::time::Duration;

use hotspare_decide::message::{Down, Hello, PromiseAnswer, PromiseAsk, Up, VERSION};
use hotspare_decide::{Epoch, GuardInput, ModuleEvent};
use hotspare_protocol::{Secret, flows_key};
use tokio::sync::mpsc::Sender;
use tokio::sync::oneshot;

use super::{Shell, View, now};
use crate::attach::Caller;
use crate::module::Order;
use crate::waiting::Outcome;

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

impl Shell {
    pub(super) fn take(&mut self, input: Input) {
        let now = now();
        match input {
            Input::LinkUp { controller, outbox } => {
                let hello = Up::Hello(Hello {
                    version: VERSION,
                    instance: self.parts.args.instance.clone(),
                    member: self.parts.args.name.clone(),
                    session: self.parts.session,
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
                    samples.add(&self.parts.args.name, usage, current.lag_ms);
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
                self.parts.cut.until(now() + lasts);
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
}
