//! TLS on one side of a connection: a client's that is ended here, or a member's that is opened here.
//!
//! Owns: the records between the socket and the relay. To the relay a side with TLS reads and writes like any other:
//! its `readable` means that there may be something to read, its `writable` that the socket takes bytes, nothing that
//! was encrypted before is still waiting, and the handshake is done.
//! Never: holds more than one record to read (16 KiB) and one to write, besides the 4 KiB that rustls keeps for each
//! connection; reads on while the relay cannot pass on; takes a connection that was cut for one that has ended (an end
//! is told by close_notify; without it the other side sees a reset).
//!
//! What it costs beside plain bytes: each read brings 4 KiB at most, nothing is spliced.

use crate::conn::Side;
use crate::relay::Read;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use rustls::Connection;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;

/// Bytes that are encrypted at one time: what fits into one record.
const RECORD: usize = 16 << 10;

/// How far a handshake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shaken {
    /// It is done.
    Done,
    /// The peer has to say something, or to take something.
    Waits,
    /// The peer left without a word.
    Left,
    /// It failed; the peer was told why if that was possible.
    Failed,
}

/// TLS of one side.
#[derive(Debug)]
pub(crate) struct Tls {
    conn: Connection,
    /// What epoll says of the socket itself.
    readable: bool,
    writable: bool,
    /// Decrypted bytes wait to be read.
    waiting: bool,
    /// The peer has ended, in order or not: nothing more will be decrypted.
    over: bool,
    /// It has sent something.
    heard: bool,
    /// The end goes out after what is still to be sent.
    ending: Ending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    No,
    Asked,
    Done,
}

/// Puts TLS on a side whose socket is connected. Nothing is sent before [`shake`].
pub(crate) fn begin(side: &mut Side, conn: Connection) {
    side.tls = Some(Box::new(Tls {
        conn,
        readable: side.readable,
        writable: side.writable,
        waiting: false,
        over: false,
        heard: false,
        ending: Ending::No,
    }));
    side.writable = false;
}

/// Goes on with the handshake as far as the socket allows.
#[cold]
pub(crate) fn shake(side: &mut Side) -> Shaken {
    loop {
        let flushed = flush(side);
        let Some(tls) = side.tls.as_mut() else { return Shaken::Done };
        if flushed.is_err() {
            return Shaken::Failed;
        }
        if !tls.conn.is_handshaking() {
            // Its first bytes may have come with the end of the handshake.
            side.readable = true;
            return Shaken::Done;
        }
        if tls.over {
            return if tls.heard { Shaken::Failed } else { Shaken::Left };
        }
        if !tls.readable {
            side.readable = false;
            return Shaken::Waits;
        }
        if pull(side).is_err() {
            return Shaken::Failed;
        }
    }
}

/// The side's socket has an event, which is noted in the side already.
#[cold]
pub(crate) fn note(side: &mut Side) {
    if let Some(tls) = side.tls.as_mut() {
        tls.readable |= side.readable;
        tls.writable |= side.writable;
        // A failure is told again by the read that follows.
        let _ = flush(side);
    }
}

/// One read of decrypted bytes.
#[cold]
pub(crate) fn read(side: &mut Side, buffer: &mut [u8]) -> Read {
    loop {
        let Some(tls) = side.tls.as_mut() else { return Read::Failed };
        match tls.conn.reader().read(buffer) {
            Ok(0) => {
                side.readable = false;
                return Read::End;
            }
            Ok(read) => {
                tls.waiting = read == buffer.len();
                side.readable = tls.waiting || tls.readable || tls.over;
                return Read::Bytes(read);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => tls.waiting = false,
            // The connection was cut: no close_notify came before its end.
            Err(_) => return Read::Failed,
        }
        if !tls.readable {
            side.readable = false;
            return Read::Nothing;
        }
        if pull(side).is_err() {
            return Read::Failed;
        }
    }
}

/// Encrypts and sends as much as the socket takes; returns how much of `bytes` was taken. What is taken and not yet
/// sent is less than a record, and keeps the side from being writable.
#[cold]
pub(crate) fn write(side: &mut Side, bytes: &[u8]) -> Result<usize, Errno> {
    let mut taken = 0;
    while taken < bytes.len() && side.writable {
        let Some(tls) = side.tls.as_mut() else { return Err(Errno::NOTCONN) };
        let end = bytes.len().min(taken + RECORD);
        taken += tls.conn.writer().write(&bytes[taken..end]).map_err(|_| Errno::PIPE)?;
        flush(side)?;
    }
    Ok(taken)
}

/// Sends what was encrypted. True when nothing of it is left.
#[cold]
pub(crate) fn flush(side: &mut Side) -> Result<bool, Errno> {
    let (Some(tls), Some(fd)) = (side.tls.as_mut(), side.fd.as_ref()) else { return Ok(true) };
    while tls.writable && tls.conn.wants_write() {
        match tls.conn.write_tls(&mut Socket { fd, short: false }) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => tls.writable = false,
            Err(error) => {
                (tls.writable, side.writable) = (false, false);
                return Err(Errno::from_io_error(&error).unwrap_or(Errno::PIPE));
            }
        }
    }
    let empty = !tls.conn.wants_write();
    if empty && tls.ending == Ending::Asked {
        tls.ending = Ending::Done;
        // A peer that is gone already says so with its next event.
        let _ = shutdown(fd, Shutdown::Write);
    }
    side.writable = tls.writable && empty && !tls.conn.is_handshaking();
    Ok(empty)
}

/// Ends our direction: close_notify and then the FIN, both after what is still to be sent.
#[cold]
pub(crate) fn end(side: &mut Side) {
    let Some(tls) = side.tls.as_mut() else { return };
    if tls.ending == Ending::No {
        tls.conn.send_close_notify();
        tls.ending = Ending::Asked;
    }
    // A failure is told again by the next event.
    let _ = flush(side);
}

/// Whether the peer has said nothing that waits to be read. Reads ahead one record at most.
pub(crate) fn says_nothing(side: &mut Side) -> bool {
    loop {
        let Some(tls) = side.tls.as_mut() else { return true };
        if tls.waiting || tls.over || !tls.readable {
            return !tls.waiting;
        }
        if pull(side).is_err() {
            return true;
        }
    }
}

/// One read from the socket, and what comes of it. Decrypted bytes must have been read before.
fn pull(side: &mut Side) -> Result<(), Errno> {
    let all_comes_at_once = side.hung_up || side.failed || side.urgent;
    let (Some(tls), Some(fd)) = (side.tls.as_mut(), side.fd.as_ref()) else { return Err(Errno::NOTCONN) };
    let mut socket = Socket { fd, short: false };
    match tls.conn.read_tls(&mut socket) {
        Ok(0) => (tls.readable, tls.over) = (false, true),
        // Less than asked for is all there was, unless an end or an error came before the read.
        Ok(_) => (tls.readable, tls.heard) = (!socket.short || all_comes_at_once, true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            tls.readable = false;
            return Ok(());
        }
        Err(error) => return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
    }
    let processed = tls.conn.process_new_packets();
    match processed {
        Ok(state) => {
            tls.waiting = state.plaintext_bytes_to_read() > 0;
            tls.over |= state.peer_has_closed();
            flush(side)?;
            Ok(())
        }
        Err(error) => {
            tracing::debug!(%error, "TLS ended");
            // The alert that says why; whoever does not take it gets none.
            let _ = flush(side);
            Err(Errno::PROTO)
        }
    }
}

impl Side {
    /// Tells the peer that nothing more will come.
    pub(crate) fn end(&mut self) {
        if self.tls.is_some() {
            end(self);
        } else if let Some(fd) = self.fd.as_ref() {
            // A peer that is gone already says so with its next event.
            let _ = shutdown(fd, Shutdown::Write);
        }
    }

    /// Nothing that was encrypted is still to be sent, the end included.
    pub(crate) fn is_flushed(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| !tls.conn.wants_write())
    }
}

/// A socket as rustls sees it.
struct Socket<'a> {
    fd: &'a OwnedFd,
    /// The last read brought less than was asked for.
    short: bool,
}

impl io::Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match recv(self.fd, &mut *buffer, RecvFlags::empty()) {
                Ok((read, _)) => {
                    self.short = read < buffer.len();
                    return Ok(read);
                }
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

impl io::Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match send(self.fd, bytes, SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                sent => return sent.map_err(Into::into),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
