//! Carrying out what the guard says.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use hotspare_decide::message::{ExitCause, ExitReceipt, Up};
use hotspare_decide::{GuardEffect, GuardEvent, GuardInput, Time};
use hotspare_protocol::Secret;
use tokio::time::sleep;

use crate::attach;
use crate::clock;
use crate::module::{self, Order};
use crate::node_red::{How, NodeRed};
use crate::nr_launcher;
use crate::peer;
use crate::record::NODE_RED_LOCK;
use crate::shell::{Current, Input, Shell, now};
use crate::waiting::Next;

/// How long a Node-RED whose flows are stopped may take to save its context and exit.
const EXITS_WITHIN: Duration = Duration::from_secs(5);

impl Shell {
    /// Carries out every effect, in order, and answers the commands that have become true by it.
    pub(crate) fn carry_out_effects(&mut self) {
        loop {
            while let Some(effect) = self.guard.poll_effect() {
                self.carry_out(effect);
            }
            let run = self.current.as_ref().map(|current| current.run);
            let Some(next) = self.waiting.look(&self.guard.status(now()), run) else { break };
            self.guard.handle(now(), GuardInput::ManualStop { restart: next == Next::RestartProcess });
        }
        self.note_undertaker();
    }

    fn carry_out(&mut self, effect: GuardEffect) {
        match effect {
            GuardEffect::Spawn { process, after } => {
                self.pending_spawn = Some(process);
                if self.parts.args.attach.is_some() {
                    // When it comes is for its own launcher to say.
                    self.take_on();
                } else if after.is_zero() {
                    self.spawn_if_due(process);
                } else {
                    self.later(after, Input::SpawnDue { process });
                }
            }
            GuardEffect::Kill { process, cause } => self.kill(process, cause),
            GuardEffect::SetLease { process, end, .. } => {
                if let Some((beat, left_ms)) = self.lease_left(end) {
                    self.order(process, &Order::Lease { beat, left_ms });
                }
            }
            GuardEffect::StartFlows { process, cmd, epoch } => {
                // The receipt must speak for this epoch before anything of it can run.
                self.note_undertaker();
                self.order(process, &Order::Start { id: cmd, epoch: epoch.0 });
            }
            GuardEffect::StopFlows { process, cmd } => self.order(process, &Order::Stop { id: cmd }),
            GuardEffect::Send { controller, msg } => {
                // A link that cannot take it is far behind: closing it makes the launcher open another.
                if self.outboxes[controller].as_ref().is_some_and(|outbox| outbox.try_send(msg).is_err()) {
                    self.outboxes[controller] = None;
                }
            }
            GuardEffect::AskPromise { ask } => self.ask_promise(ask),
            GuardEffect::AnswerPromise { request, answer } => {
                if let Some(asker) = self.promises.remove(&request) {
                    let _ = asker.send(answer);
                }
            }
            GuardEffect::Persist { id, record } => {
                let secret = record.peer.as_ref().map(|peer| Secret::new(peer.secret.clone()));
                *self.parts.peer_secret.lock().unwrap_or_else(PoisonError::into_inner) = secret;
                if self.parts.records.try_send((id, record)).is_err() {
                    // The disk is so slow that records queue up: as good as a failed write.
                    self.later(Duration::from_millis(10), Input::Persisted { id, ok: false });
                }
            }
            GuardEffect::Event(event) => self.event(&event),
        }
    }

    /// Starts process `process`, unless another has taken its place or it is to stay down.
    pub(crate) fn spawn_if_due(&mut self, process: u64) {
        if self.pending_spawn != Some(process) {
            return;
        }
        self.pending_spawn = None;
        let safe = std::mem::take(&mut self.safe_next);
        let close =
            self.parts.args.node_close_timeout.map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
        let environment = module::environment(&self.parts.module, &self.parts.args.name, close, safe);
        let lock = self.parts.state.path().join(NODE_RED_LOCK);
        let how = How { command: &self.parts.args.command, lock: &lock, nice: self.parts.nice, environment };
        let started = NodeRed::start(process, how, &self.parts.logs, &self.parts.output, &self.parts.happenings);
        match started {
            Ok(red) => {
                self.say(&format!("Node-RED started as process {}", red.pid().as_raw_nonzero()));
                self.began(process, red, safe);
            }
            Err(error) => {
                self.last_ending = Some(format!("it could not be started: {error}"));
                self.say(&format!("Node-RED could not be started: {error}"));
                self.guard.handle(now(), GuardInput::Exited { process, code: None, signal: None });
            }
        }
    }

    /// Takes on the process that has called, if the guard wants one and none is there.
    pub(crate) fn take_on(&mut self) {
        let (None, Some(process)) = (&self.current, self.pending_spawn) else { return };
        let Some(caller) = self.caller.take() else { return };
        let pid = caller.pid;
        // A later launcher must know of it before anything can be started in it.
        let taken = attach::remember(self.parts.state.path(), pid)
            .and_then(|()| NodeRed::attach(process, caller, &self.parts.happenings));
        match taken {
            Ok(red) => {
                self.pending_spawn = None;
                self.say(&format!("Node-RED, process {}, has called and is taken on", pid.as_raw_nonzero()));
                self.began(process, red, false);
            }
            // It calls again.
            Err(error) => self.say(&format!("process {} cannot be taken on: {error}", pid.as_raw_nonzero())),
        }
    }

    fn began(&mut self, process: u64, red: NodeRed, safe: bool) {
        self.current = Some(Current {
            run: process,
            red,
            started_ms: clock::wall_ms(),
            started_ns: clock::boottime_ns(),
            boot_ms: None,
            node: None,
            node_red: None,
            user_dir: None,
            port: None,
            beat: None,
            lag_ms: 0,
            waited: Duration::ZERO,
            status: None,
            safe,
            restarting: false,
        });
        self.guard.handle(now(), GuardInput::Spawned { process });
    }

    fn kill(&mut self, process: u64, cause: ExitCause) {
        let runs_nothing = Shell::runs_nothing(&self.guard.status(now()));
        let Some(current) = self.current.as_mut().filter(|current| current.run == process) else { return };
        if let (ExitCause::Requested, true, Some(url)) = (cause, runs_nothing, &self.parts.args.nr_launcher) {
            // Its own launcher starts it again with the settings of the day. This is ordered again and again until it is gone.
            if !std::mem::replace(&mut current.restarting, true) {
                tokio::spawn(nr_launcher::restart(url.clone()));
                self.later(nr_launcher::RESTARTS_WITHIN, Input::KillDue { process });
            }
        } else if cause == ExitCause::Requested && runs_nothing && !current.red.is_attached() {
            // It may take the time to save its context.
            current.red.terminate();
            self.later(EXITS_WITHIN, Input::KillDue { process });
        } else {
            current.red.kill();
        }
    }

    /// A lease's end as the module wants it: what was left when its last beat arrived. That beat was sent earlier
    /// than it arrived, so the module's end is never later than the guard's.
    fn lease_left(&self, end: Time) -> Option<(u64, f64)> {
        let (beat, arrived) = self.current.as_ref()?.beat?;
        Some((beat, arrived.until(end).as_secs_f64() * 1000.0))
    }

    fn order(&mut self, process: u64, order: &Order) {
        let Some(current) = self.current.as_ref().filter(|current| current.run == process) else { return };
        if let Err(error) = current.red.order(order) {
            self.say(&format!("Node-RED takes no orders ({error}): it is killed"));
            if let Some(current) = &self.current {
                current.red.kill();
            }
        }
    }

    fn ask_promise(&mut self, ask: hotspare_decide::message::PromiseAsk) {
        let Some(peer) = self.guard.record().peer.clone() else { return };
        if self.parts.cut.holds() {
            return;
        }
        // More than a few open questions only mean that the peer does not answer.
        let Ok(permit) = Arc::clone(&self.asking).try_acquire_owned() else { return };
        let (inputs, tls) = (self.parts.inputs.clone(), self.parts.tls.clone());
        tokio::spawn(async move {
            let answer = peer::ask(&peer, &tls, ask).await;
            drop(permit);
            if let Some(answer) = answer {
                let _ = inputs.send(Input::PromiseAnswered { answer }).await;
            }
        });
    }

    fn event(&mut self, event: &GuardEvent) {
        let text = serde_json::to_string(event).unwrap_or_default();
        self.say(&text);
        self.waiting.event(event);
    }

    /// Tells the undertaker what would be true if this launcher and its Node-RED were gone now.
    fn note_undertaker(&mut self) {
        let leader = self.current.as_ref().map(|current| current.red.pid().as_raw_nonzero().get());
        let receipt = Up::Exited(ExitReceipt {
            epoch: self.guard.record().max_epoch,
            tenure: self.guard.status(now()).tenure,
            cause: ExitCause::LauncherDied,
        });
        if let Err(error) = self.parts.undertaker.note(leader, self.parts.args.attach.is_none(), &receipt) {
            report_undertaker(&error);
        }
    }

    fn later(&self, after: Duration, input: Input) {
        let inputs = self.parts.inputs.clone();
        tokio::spawn(async move {
            sleep(after).await;
            let _ = inputs.send(input).await;
        });
    }
}

fn report_undertaker(error: &io::Error) {
    tracing::warn!(%error, "no undertaker: if this launcher is killed, its lease must end before a failover");
}
