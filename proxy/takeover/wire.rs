//! What elder and heir say to one another: packets of JSON on a local socket, with descriptors beside them.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socket_with, sockopt,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Version of what is said. An heir that speaks another one is refused, and starts like any other process.
pub(super) const VERSION: u32 = 1;
/// Descriptors in one packet; the kernel takes 253.
pub(super) const MOST_DESCRIPTORS: usize = 200;
const MAX_PACKET_BYTES: usize = 16 << 10;

/// From the heir.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub(super) enum ToElder {
    /// Who are you, and what do you listen on?
    Hello { version: u32 },
    /// Everything is bound: decide no more.
    Take,
    /// My engine runs: give me the launchers.
    Deciding,
    /// My routes are there, I accept.
    Serving,
    /// Where connections of an instance go from now on; `member: None` lets them wait.
    Route { instance: String, member: Option<String>, epoch: u64, drain_ms: Option<u64> },
}

/// From the elder.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub(super) enum ToHeir {
    /// Descriptors that listen on this address come with it.
    Sockets { address: SocketAddr },
    /// These were all.
    Complete,
    /// I decide nothing any more.
    Yours,
    /// Done.
    Done,
    /// It can't be. In words.
    Refused { why: String },
}

pub(super) fn socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// From now on a receive that gets nothing for so long fails.
pub(super) fn patience(socket: impl AsFd, limit: Option<Duration>) -> io::Result<()> {
    Ok(sockopt::set_socket_timeout(socket, sockopt::Timeout::Recv, limit)?)
}

pub(super) fn send<T: Serialize>(socket: impl AsFd, message: &T, descriptors: &[OwnedFd]) -> io::Result<()> {
    let json = serde_json::to_vec(message)?;
    let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !borrowed.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&borrowed)) {
        return Err(io::Error::other("too many descriptors for one packet"));
    }
    // A peer that is gone must not end this process by SIGPIPE.
    sendmsg(socket, &[IoSlice::new(&json)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// The next message; an error also when the other side is gone.
pub(super) fn receive<T: DeserializeOwned>(socket: impl AsFd) -> io::Result<(T, Vec<OwnedFd>)> {
    let mut bytes = vec![0; MAX_PACKET_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = loop {
        match recvmsg(&socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    if got.bytes == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the other process has ended"));
    }
    if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::other("a message was cut short: too long, or no descriptors left"));
    }
    Ok((serde_json::from_slice(&bytes[..got.bytes])?, descriptors))
}
