//! A Node-RED, as it is: what it runs, and the requests that wait to be carried out.

use std::collections::VecDeque;

/// What its flows really do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flows {
    /// No process.
    Down,
    Stopped,
    /// Some nodes may run already.
    Starting,
    Running,
    /// Some nodes may run still.
    Closing,
}

impl Flows {
    pub fn may_run(self) -> bool {
        matches!(self, Flows::Starting | Flows::Running | Flows::Closing)
    }
}

/// An order on its way, or in the socket of a Node-RED that hangs. It is carried out also if its sender has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    pub number: u64,
    pub start: bool,
    /// The controller that gave it.
    pub life: u64,
}

#[derive(Debug)]
pub struct Node {
    /// nr-launcher's: a stop ends the process, a start begins one, and one that crashes comes back with flows on.
    pub launched: bool,
    pub flows: Flows,
    /// Counted up with each change, so that the end of one that was overtaken is known as such.
    pub change: u64,
    pub hung: bool,
    /// From and to the proxy. What is under way then waits, as TCP does.
    pub cut: bool,
    /// Not arrived yet.
    pub on_the_way: Vec<Request>,
    /// Arrived, not carried out yet.
    pub waiting: VecDeque<Request>,
    /// Being carried out.
    pub at_work: Option<Request>,
}

impl Node {
    pub fn new(launched: bool) -> Self {
        Node {
            launched,
            flows: if launched { Flows::Down } else { Flows::Stopped },
            change: 0,
            hung: false,
            cut: false,
            on_the_way: Vec::new(),
            waiting: VecDeque::new(),
            at_work: None,
        }
    }

    /// Nothing that anybody has ordered is still to come.
    pub fn is_quiet(&self) -> bool {
        self.on_the_way.is_empty() && self.waiting.is_empty() && self.at_work.is_none()
    }
}
