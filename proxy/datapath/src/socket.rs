//! Sockets: how they are opened, bound and tuned. Options set on a listening socket are inherited by what it
//! accepts, so a client connection costs no call for them.

use crate::config::{Keepalive, Timeouts};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, getsockname, listen, socket_with, sockopt};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Longest queue of connections not yet accepted (the system caps it at `net.core.somaxconn`).
const BACKLOG: i32 = 4096;

fn stream_socket(addr: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)
}

/// One listening socket per thread on one address. The first bind goes without `SO_REUSEPORT`, so that an
/// address somebody else listens on is an error and not a silent share of his clients.
pub(crate) fn listen_group(addr: SocketAddr, count: usize) -> Result<(SocketAddr, Vec<OwnedFd>), Errno> {
    let probe = stream_socket(addr)?;
    sockopt::set_socket_reuseaddr(&probe, true)?;
    bind(&probe, &addr)?;
    let bound = bound_addr(&probe)?;
    // From here on the port is held by the group, not by the probe.
    sockopt::set_socket_reuseport(&probe, true)?;
    let mut group = Vec::with_capacity(count);
    for _ in 0..count {
        group.push(listen_one(bound)?);
    }
    Ok((bound, group))
}

/// One more listening socket of a group.
pub(crate) fn listen_one(addr: SocketAddr) -> Result<OwnedFd, Errno> {
    let fd = stream_socket(addr)?;
    sockopt::set_socket_reuseaddr(&fd, true)?;
    sockopt::set_socket_reuseport(&fd, true)?;
    bind(&fd, &addr)?;
    listen(&fd, BACKLOG)?;
    Ok(fd)
}

/// Whether others may listen on the same address.
pub(crate) fn shares_its_address(fd: impl AsFd) -> Result<bool, Errno> {
    sockopt::socket_reuseport(fd)
}

/// The address a socket is bound to.
pub(crate) fn bound_addr(fd: impl AsFd) -> Result<SocketAddr, Errno> {
    SocketAddr::try_from(getsockname(fd)?).map_err(|_| Errno::AFNOSUPPORT)
}

/// What every connection accepted from this socket shall have.
pub(crate) fn tune_listener(fd: impl AsFd, timeouts: &Timeouts) -> Result<(), Errno> {
    let fd = fd.as_fd();
    sockopt::set_tcp_nodelay(fd, true)?;
    // Inherited as "interactive": the acknowledgement of a request rides on its answer.
    sockopt::set_tcp_quickack(fd, false)?;
    tune_lasting(fd, timeouts)
}

/// What a connection needs once it lasts: a peer that vanished is found.
pub(crate) fn tune_lasting(fd: impl AsFd, timeouts: &Timeouts) -> Result<(), Errno> {
    let fd = fd.as_fd();
    let Keepalive { idle, interval, probes } = timeouts.keepalive;
    sockopt::set_socket_keepalive(fd, true)?;
    sockopt::set_tcp_keepidle(fd, whole_seconds(idle))?;
    sockopt::set_tcp_keepintvl(fd, whole_seconds(interval))?;
    sockopt::set_tcp_keepcnt(fd, probes.max(1))?;
    if !timeouts.unacknowledged.is_zero() {
        let ms = u32::try_from(timeouts.unacknowledged.as_millis()).unwrap_or(u32::MAX);
        sockopt::set_tcp_user_timeout(fd, ms)?;
    }
    Ok(())
}

fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs().clamp(1, 32_767))
}

/// Sends an acknowledgement that waits to ride on data.
pub(crate) fn acknowledge_now(fd: impl AsFd) -> Result<(), Errno> {
    sockopt::set_tcp_quickack(fd, true)
}

/// A socket on its way to `addr`. The result of the connect comes as an event, also if it is there already. The last
/// acknowledgement of the handshake waits for the first data, or for [`acknowledge_now`].
pub(crate) fn start_connect(addr: SocketAddr) -> Result<OwnedFd, Errno> {
    let fd = stream_socket(addr)?;
    sockopt::set_tcp_quickack(&fd, false)?;
    match connect(&fd, &addr) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(fd),
        Err(e) => Err(e),
    }
}

/// Makes the coming close a reset: what is under way is dropped and the peer sees that it was cut.
pub(crate) fn close_with_reset(fd: OwnedFd) {
    // A refusal leaves a plain close, which is all that is left to do.
    let _ = sockopt::set_socket_linger(&fd, Some(Duration::ZERO));
    drop(fd);
}
