//! The proxy's end of a member without a lease: gives one order at a time and tells facts only, as `proxy/driver` does.
//! It dies with its controller.

use std::collections::VecDeque;

use hotspare_decide::OpId;
use hotspare_decide::message::Down;

/// What is being carried out.
#[derive(Clone, Copy, Debug)]
pub enum Job {
    Start { op: OpId, epoch: u64 },
    Fence { op: OpId, epoch: u64 },
    Restart { op: OpId },
}

#[derive(Debug, Default)]
pub struct Driver {
    pub link: Option<u64>,
    pub waiting: VecDeque<Down>,
    pub job: Option<Job>,
    /// The request that was given for it, as long as it is not answered.
    pub request: Option<u64>,
    /// Jobs begun and ended: a look during which this changes is worthless.
    pub turn: u64,
    pub max_epoch: u64,
    pub tenure: u64,
    pub seq: u64,
}
