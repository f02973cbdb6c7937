//! What a process and its module say, as the guard wants to hear it.

use std::time::Duration;

use hotspare_decide::message::{StartFailure, StartFailureKind};
use hotspare_decide::{GuardInput, ModuleEvent};

use super::{Shell, now};
use crate::clock;
use crate::module::{EXIT_REFUSED, Flows, Report, Status};
use crate::node_red::{Ending, Happening, What};
use crate::resources::own_lag;

/// An event loop with less lag has just turned: two of its beats.
const TURNS: Duration = Duration::from_millis(100);
impl Shell {
    /// Word from or about a process.
    pub(super) fn hear(&mut self, Happening { run, what }: Happening) {
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
                current.user_dir = user_dir.filter(|_| self.parts.args.attach.is_none());
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
                self.parts.deployed.notify_one();
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
}
