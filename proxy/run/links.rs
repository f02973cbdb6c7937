//! The link server of this process: opened, and closed when another process takes the launchers over.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hotspare_tls::Server;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::engine::Handle;
use crate::link::{self, Identities};

/// A link on which nothing came for this many heartbeats is closed; its launcher, which gives up as soon, opens it again.
const IDLE_HEARTBEATS: u32 = 20;
/// Never sooner than this, however fast the heartbeats, nor within a lease.
const IDLE_AT_LEAST: Duration = Duration::from_secs(2);

/// The listener of links and what serves it.
pub(super) struct Links {
    listener: Arc<TcpListener>,
    tls: Option<Server>,
    identities: Arc<ArcSwap<Identities>>,
    engine: Handle,
    idle_after: Duration,
    serving: Option<JoinHandle<()>>,
}

impl Links {
    /// Nothing is served before [`Links::open`].
    pub(super) fn new(
        listener: Arc<TcpListener>,
        tls: Option<Server>,
        config: &Config,
        identities: Arc<ArcSwap<Identities>>,
        engine: Handle,
    ) -> Self {
        let leases = config.instances.iter().map(|i| (i.lease.heartbeat * IDLE_HEARTBEATS).max(i.lease.ttl));
        let idle_after = leases.max().unwrap_or_default().max(IDLE_AT_LEAST);
        Self { listener, tls, identities, engine, idle_after, serving: None }
    }

    /// Serves links from now on.
    ///
    /// # Errors
    /// The system's, if there are no descriptors left.
    pub(super) fn open(&mut self) -> std::io::Result<()> {
        if self.serving.is_some() {
            return Ok(());
        }
        let listener = tokio::net::TcpListener::from_std(self.listener.try_clone()?)?;
        let datagrams = datagrams(listener.local_addr()?);
        let datagrams = datagrams.inspect_err(|error| tracing::warn!(%error, "links: heartbeats by websocket alone"));
        let (tls, identities, engine) = (self.tls.clone(), self.identities.clone(), self.engine.clone());
        let serve = link::serve(listener, datagrams.ok(), tls, identities, self.idle_after, engine);
        self.serving = Some(tokio::spawn(serve));
        Ok(())
    }

    /// Accepts no more, neither connections nor datagrams. What is open is closed with the next heartbeat, which nobody takes any more.
    pub(super) fn close(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
        }
    }
}

/// Where heartbeats may come as datagrams: the same address and number of port. Two processes have it for a moment while one
/// takes over from the other; whose datagrams the other gets are lost then.
fn datagrams(address: SocketAddr) -> io::Result<UdpSocket> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    UdpSocket::from_std(socket.into())
}
