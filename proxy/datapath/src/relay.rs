//! Moves bytes in one direction: small messages by read and write through the thread's scratch buffer, bulky
//! streams by splice through a pooled pipe.
//!
//! Contract: [`pump`] goes on until the source has nothing more (its `readable` goes down), the sink takes
//! nothing more (its `writable` goes down), the source has ended, something broke, as many bytes as were asked
//! for have moved, or the budget is used up.
//! It never reads while anything is held, so a connection holds at most one scratch buffer's worth of bytes or
//! one pipe's. It passes on no end: that is the caller's.

use crate::conn::{Flow, Held, Side};
use crate::pipes::{PIPE_BYTES, Pipes};
use crate::tls;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send, sockopt};
use rustix::pipe::{SpliceFlags, splice};
use std::os::fd::{AsFd, BorrowedFd};

/// Size of a thread's scratch buffer: fits the second-level cache beside the kernel's own copies.
pub(crate) const SCRATCH_BYTES: usize = 64 << 10;
/// A read of this size or more makes a stream look bulky.
const LARGE_READ: usize = 32 << 10;
/// So many large reads in a row make it bulky.
const LARGE_READS: u8 = 2;
/// Bytes one connection may move before the others get their turn.
const BUDGET: u64 = 4 << 20;

/// What a thread lends to whichever flow is served.
#[derive(Debug)]
pub(crate) struct Io {
    pub(crate) scratch: Box<[u8]>,
    pub(crate) pipes: Pipes,
    /// Times a pipe was taken.
    pub(crate) splices: u64,
}

/// Why [`pump`] stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Nothing to read or no room to write; an event will tell.
    Blocked,
    /// The source has ended and everything was written.
    Ended,
    /// As many bytes as were asked for were read and written.
    Limit,
    /// The budget is used up; there may be more.
    Budget,
    /// The source broke.
    SourceFailed,
    /// The sink broke.
    SinkFailed,
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// So many bytes, at the beginning of the buffer.
    Bytes(usize),
    /// Nothing just now; an event will tell.
    Nothing,
    /// The end.
    End,
    /// The connection broke.
    Failed,
}

/// Whether the caller shuts or closes the sink right after these bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum More {
    /// Not that it knew; the bytes go out now.
    No,
    /// It does: the last bytes and the FIN share a segment.
    EndFollows,
}

/// Serves one flow until `left` more bytes were read. Returns the bytes written and why it stopped.
pub(crate) fn pump(source: &mut Side, sink: &mut Side, flow: &mut Flow, io: &mut Io, left: &mut u64) -> (u64, Stop) {
    if !source.readable && !flow.ended && flow.is_empty() && *left > 0 {
        return (0, Stop::Blocked);
    }
    let mut moved = 0;
    let stop = run(source, sink, flow, io, left, &mut moved);
    give_back_empty_pipe(flow, io);
    flow.moved |= moved > 0;
    (moved, stop)
}

fn run(source: &mut Side, sink: &mut Side, flow: &mut Flow, io: &mut Io, left: &mut u64, moved: &mut u64) -> Stop {
    loop {
        match flush(sink, flow, moved) {
            Ok(true) => {}
            Ok(false) => return Stop::Blocked,
            Err(_) => return Stop::SinkFailed,
        }
        if *left == 0 {
            return Stop::Limit;
        }
        if flow.ended {
            return Stop::Ended;
        }
        if !source.readable || !sink.writable {
            return Stop::Blocked;
        }
        if *moved >= BUDGET {
            return Stop::Budget;
        }
        let step = if flow.large_reads >= LARGE_READS && lend_pipe(flow, io) {
            splice_in(source, flow, left)
        } else {
            give_back_empty_pipe(flow, io);
            copy(source, sink, flow, &mut io.scratch, left, moved)
        };
        if let Err(stop) = step {
            return stop;
        }
    }
}

/// One read, and a write of what it brought. What the sink does not take is held.
fn copy(
    source: &mut Side,
    sink: &mut Side,
    flow: &mut Flow,
    scratch: &mut [u8],
    left: &mut u64,
    moved: &mut u64,
) -> Result<(), Stop> {
    let most = usize::try_from(*left).unwrap_or(usize::MAX).min(scratch.len());
    let read = match read_some(source, &mut scratch[..most]) {
        Read::Bytes(read) => read,
        Read::Nothing => return Ok(()),
        Read::End => {
            flow.ended = true;
            return Ok(());
        }
        Read::Failed => return Err(Stop::SourceFailed),
    };
    *left -= read as u64;
    let bulky = read >= LARGE_READ && sink.tls.is_none();
    flow.large_reads = if bulky { flow.large_reads.saturating_add(1) } else { 0 };
    // The FIN was there before this read, which brought all there was: this is the end, no read need say so.
    flow.ended = read < most && source.hung_up && !source.failed && !source.urgent && source.tls.is_none();
    let more = if flow.ended { More::EndFollows } else { More::No };
    forward(sink, flow, &scratch[..read], more, moved).map_err(|_| Stop::SinkFailed)
}

/// One read.
pub(crate) fn read_some(source: &mut Side, buffer: &mut [u8]) -> Read {
    if !source.readable {
        return Read::Nothing;
    }
    if source.tls.is_some() {
        return tls::read(source, buffer);
    }
    let Some(from) = source.fd.as_ref() else { return Read::Failed };
    loop {
        match recv(from, &mut *buffer, RecvFlags::empty()) {
            Ok((0, _)) => {
                source.readable = false;
                return Read::End;
            }
            Ok((read, _)) => {
                // Less than asked for is all there was; whatever comes later makes a new event. What came
                // earlier (an end, an error, an urgent mark that cut the read short) makes none.
                let more = source.hung_up || source.failed || source.urgent;
                source.readable = read == buffer.len() || more;
                return Read::Bytes(read);
            }
            Err(Errno::AGAIN) => {
                source.readable = false;
                return Read::Nothing;
            }
            Err(Errno::INTR) => {}
            Err(_) => return Read::Failed,
        }
    }
}

/// Writes `bytes` and holds what the sink does not take, or all of them if it is broken: they may go to another. The
/// flow holds nothing before.
pub(crate) fn forward(
    sink: &mut Side,
    flow: &mut Flow,
    bytes: &[u8],
    more: More,
    moved: &mut u64,
) -> Result<(), Errno> {
    let result = send_some(sink, flow.moved, bytes, more);
    let sent = result.unwrap_or(0);
    *moved += sent as u64;
    flow.moved |= sent > 0;
    if sent < bytes.len() {
        flow.held = Held::Bytes { buffer: bytes[sent..].into(), at: 0 };
    }
    result.map(drop)
}

/// Writes what is held. True when nothing is left.
pub(crate) fn flush(sink: &mut Side, flow: &mut Flow, moved: &mut u64) -> Result<bool, Errno> {
    if sink.tls.is_some() && !tls::flush(sink)? {
        return Ok(false);
    }
    match &mut flow.held {
        Held::Nothing => Ok(true),
        Held::Bytes { buffer, at } => {
            if !sink.writable {
                return Ok(false);
            }
            let sent = send_some(sink, flow.moved, &buffer[*at as usize..], More::No)?;
            *moved += sent as u64;
            *at += sent as u32;
            let done = *at as usize == buffer.len();
            if done {
                flow.held = Held::Nothing;
            }
            Ok(done)
        }
        Held::Pipe { pipe, filled } => {
            while *filled > 0 {
                if !sink.writable {
                    return Ok(false);
                }
                let Some(to) = sink.fd.as_ref() else { return Err(Errno::NOTCONN) };
                match splice_some(pipe.read.as_fd(), to.as_fd(), *filled as usize) {
                    Ok(0) => return Err(Errno::PIPE),
                    Ok(sent) => {
                        *filled -= sent as u32;
                        *moved += sent as u64;
                    }
                    Err(Errno::AGAIN) => sink.writable = false,
                    Err(Errno::INTR) => {}
                    Err(e) => return Err(e),
                }
            }
            Ok(true)
        }
    }
}

/// Sends as much as the sink takes; takes `writable` down when it does not take all.
pub(crate) fn send_some(sink: &mut Side, has_moved: bool, bytes: &[u8], more: More) -> Result<usize, Errno> {
    if has_moved && !sink.nodelay {
        // Nagle never holds back the first message of a connection, so short connections don't pay for this.
        let Some(to) = sink.fd.as_ref() else { return Err(Errno::NOTCONN) };
        sockopt::set_tcp_nodelay(to, true)?;
        sink.nodelay = true;
    }
    if sink.tls.is_some() {
        return tls::write(sink, bytes);
    }
    let Some(to) = sink.fd.as_ref() else { return Err(Errno::NOTCONN) };
    let flags = match more {
        More::No => SendFlags::NOSIGNAL,
        More::EndFollows => SendFlags::NOSIGNAL | SendFlags::MORE,
    };
    loop {
        match send(to, bytes, flags) {
            Ok(sent) => {
                sink.writable = sent == bytes.len();
                return Ok(sent);
            }
            Err(Errno::AGAIN) => {
                sink.writable = false;
                return Ok(0);
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
}

/// Gives the flow an empty pipe unless it has one. False when there is none to be had.
fn lend_pipe(flow: &mut Flow, io: &mut Io) -> bool {
    if flow.is_empty() {
        let Some(pipe) = io.pipes.take() else { return false };
        io.splices += 1;
        flow.held = Held::Pipe { pipe, filled: 0 };
    }
    true
}

fn give_back_empty_pipe(flow: &mut Flow, io: &mut Io) {
    if let Held::Pipe { filled: 0, .. } = flow.held
        && let Held::Pipe { pipe, .. } = std::mem::take(&mut flow.held)
    {
        io.pipes.give_back(pipe);
    }
}

/// Fills the flow's empty pipe from the source.
fn splice_in(source: &mut Side, flow: &mut Flow, left: &mut u64) -> Result<(), Stop> {
    let most = usize::try_from(*left).unwrap_or(usize::MAX).min(PIPE_BYTES);
    let Held::Pipe { pipe, filled } = &mut flow.held else { return Ok(()) };
    let Some(from) = source.fd.as_ref() else { return Err(Stop::SourceFailed) };
    match splice_some(from.as_fd(), pipe.write.as_fd(), most) {
        Ok(0) => {
            source.readable = false;
            flow.ended = true;
        }
        Ok(read) => {
            *filled = read as u32;
            *left -= read as u64;
            // Once a bulky stream has shrunk to small reads it is copied again.
            flow.large_reads = if read >= LARGE_READ { LARGE_READS + 1 } else { flow.large_reads - 1 };
        }
        Err(Errno::AGAIN) => source.readable = false,
        Err(Errno::INTR) => {}
        Err(_) => return Err(Stop::SourceFailed),
    }
    Ok(())
}

fn splice_some(from: BorrowedFd<'_>, to: BorrowedFd<'_>, most: usize) -> Result<usize, Errno> {
    splice(from, None, to, None, most, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)
}
