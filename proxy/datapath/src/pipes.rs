//! Pipes for splicing, kept by each thread for whichever stream is bulky just now. A stream gives its pipe back
//! as soon as it is empty, so idle connections own none.

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use std::os::fd::OwnedFd;

/// Wanted size of a pipe. 1 MiB is what the kernel lets everyone have (`/proc/sys/fs/pipe-max-size`), and
/// large enough that a bulky stream crosses it in few system calls.
pub(crate) const PIPE_BYTES: usize = 1 << 20;

/// An empty pipe, or one in use by the flow that owns it.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) read: OwnedFd,
    pub(crate) write: OwnedFd,
}

/// The pipes of one thread.
#[derive(Debug)]
pub(crate) struct Pipes {
    free: Vec<Pipe>,
    made: usize,
    most: usize,
}

impl Pipes {
    pub(crate) fn new(most: usize) -> Self {
        Self { free: Vec::new(), made: 0, most }
    }

    /// An empty pipe; none when all are in use or the system refuses a large one.
    pub(crate) fn take(&mut self) -> Option<Pipe> {
        if let Some(pipe) = self.free.pop() {
            return Some(pipe);
        }
        if self.made >= self.most {
            return None;
        }
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // Over the user's share of pipe pages the kernel refuses; a small pipe would be slower than a copy.
        fcntl_setpipe_size(&write, PIPE_BYTES).ok()?;
        self.made += 1;
        Some(Pipe { read, write })
    }

    /// Takes back a pipe that is empty.
    pub(crate) fn give_back(&mut self, pipe: Pipe) {
        self.free.push(pipe);
    }

    /// Closes a pipe that still holds bytes nobody wants.
    pub(crate) fn discard(&mut self, pipe: Pipe) {
        drop(pipe);
        self.made -= 1;
    }
}
