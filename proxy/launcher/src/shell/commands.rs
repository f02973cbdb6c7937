//! Commands by hand: what each asks of the guard, and when it has become true.

use hotspare_decide::{GuardInput, OpId};
use tokio::sync::oneshot;

use super::{Command, Shell, now};
use crate::waiting::{Goal, Outcome};

impl Shell {
    pub(super) fn command(&mut self, command: Command, answer: oneshot::Sender<Outcome>) {
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
            Command::StopProcess if self.parts.args.attach.is_some() => match status.tenure {
                Some(tenure) => {
                    self.guard.handle(now, GuardInput::ManualFence { epoch: None, grace: self.parts.args.stop_grace });
                    Goal::Fenced(tenure)
                }
                None => return drop(answer.send(Ok(()))),
            },
            Command::StopProcess => {
                self.down_by_request = true;
                self.pending_spawn = None;
                if status.tenure.is_some() {
                    self.guard.handle(now, GuardInput::ManualFence { epoch: None, grace: self.parts.args.stop_grace });
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
                    self.guard.handle(now, GuardInput::ManualFence { epoch: None, grace: self.parts.args.stop_grace });
                    Goal::FencedThenAgain
                } else {
                    self.guard.handle(now, GuardInput::ManualStop { restart: true });
                    Goal::Again(self.current.as_ref().map_or(0, |c| c.run))
                }
            }
        };
        self.waiting.add(goal, answer);
    }
}
