//! Commands given by hand that are answered when they have become true, or never can.

use hotspare_decide::message::{FlowState, MemberStatus, StartFailure};
use hotspare_decide::{Epoch, GuardEvent};
use tokio::sync::oneshot;

use crate::shell::Shell;

/// What a command is answered with: nothing more to say, or why it failed.
pub(crate) type Outcome = Result<(), String>;

/// What must become true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// The flows run under this epoch.
    Running(Epoch),
    /// No tenure up to this epoch runs, or ever will.
    Fenced(Epoch),
    /// There is no process; the flows are stopped and the process is to be ended next.
    FencedThenDown,
    /// There is no process.
    Down,
    /// The flows are stopped and the process is to be started anew next.
    FencedThenAgain,
    /// Another process than this one is up.
    Again(u64),
    /// The process is up.
    Up,
}

/// The next step of a command that takes two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    StopProcess,
    RestartProcess,
}

/// The commands not yet answered.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    list: Vec<(Goal, oneshot::Sender<Outcome>)>,
}

impl Waiting {
    pub(crate) fn add(&mut self, goal: Goal, answer: oneshot::Sender<Outcome>) {
        self.list.retain(|(_, answer)| !answer.is_closed());
        self.list.push((goal, answer));
    }

    /// Answers the commands that an event decides.
    pub(crate) fn event(&mut self, event: &GuardEvent) {
        match event {
            GuardEvent::Running { epoch } => self.answer(|goal| goal == Goal::Running(*epoch), &Ok(())),
            GuardEvent::StartFailed { epoch, failure: StartFailure { kind, text } } => {
                self.answer(|goal| goal == Goal::Running(*epoch), &Err(format!("{kind:?}: {text}")));
            }
            GuardEvent::Exited { cause, crash_loop, .. } => {
                let text = format!("Node-RED ended ({cause:?}){}", if *crash_loop { ", again and again" } else { "" });
                self.answer(|goal| matches!(goal, Goal::Running(_) | Goal::Up), &Err(text));
            }
            _ => {}
        }
    }

    /// Answers the commands that have become true; `run` is the number of the process that is there.
    /// Returns the step that is due next for a command that takes two.
    pub(crate) fn look(&mut self, status: &MemberStatus, run: Option<u64>) -> Option<Next> {
        let nothing = Shell::runs_nothing(status);
        let up = matches!(status.flows, FlowState::Stopped | FlowState::Starting | FlowState::Running);
        self.answer(
            |goal| match goal {
                Goal::Running(_) | Goal::FencedThenDown | Goal::FencedThenAgain => false,
                Goal::Fenced(epoch) => {
                    status.max_epoch >= epoch
                        && status.tenure.is_none_or(|t| t > epoch)
                        && (nothing || status.tenure.is_some())
                }
                Goal::Down => run.is_none() && status.flows == FlowState::Down,
                Goal::Again(before) => up && run.is_some_and(|run| run > before),
                Goal::Up => up,
            },
            &Ok(()),
        );
        let mut next = None;
        for (goal, _) in self.list.iter_mut().filter(|_| nothing) {
            match goal {
                Goal::FencedThenDown => {
                    *goal = Goal::Down;
                    next = Some(Next::StopProcess);
                }
                Goal::FencedThenAgain => {
                    *goal = Goal::Again(run.unwrap_or(0));
                    next = Some(Next::RestartProcess);
                }
                _ => {}
            }
        }
        next
    }

    fn answer(&mut self, decided: impl Fn(Goal) -> bool, outcome: &Outcome) {
        for (_, answer) in self.list.extract_if(.., |(goal, _)| decided(*goal)) {
            let _ = answer.send(outcome.clone());
        }
    }
}
