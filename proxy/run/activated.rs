//! Sockets that systemd listens with and passes on at the start: sd_listen_fds(3). Clients that come while the proxy is
//! being started again wait in them, and none is refused.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use listenfd::ListenFd;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::sockopt::socket_acceptconn;

/// What was passed to this process, by the address that it listens on. To be asked once, before there are threads: it
/// takes the word of it out of the environment.
///
/// # Errors
/// What was passed and is no listening TCP socket.
pub(super) fn sockets() -> io::Result<HashMap<SocketAddr, Vec<OwnedFd>>> {
    let mut passed = ListenFd::from_env();
    let mut sockets: HashMap<SocketAddr, Vec<OwnedFd>> = HashMap::new();
    for index in 0..passed.len() {
        let bad = |why: &dyn std::fmt::Display| {
            io::Error::other(format!("number {} of the sockets that systemd passed: {why}", index + 1))
        };
        let listener = passed.take_tcp_listener(index).map_err(|error| bad(&error))?;
        let listener = listener.ok_or_else(|| bad(&"it is gone"))?;
        if !socket_acceptconn(&listener)? {
            return Err(bad(&"it does not listen (it needs ListenStream=, and Accept=no)"));
        }
        fcntl_setfd(&listener, FdFlags::CLOEXEC)?;
        listener.set_nonblocking(true)?;
        sockets.entry(listener.local_addr()?).or_default().push(listener.into());
    }
    Ok(sockets)
}
