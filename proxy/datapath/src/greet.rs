//! What comes before anything else: the PROXY header, awaited from the proxy before us and sent to the member behind
//! us, and after it the TLS handshake with the client, on a listener that ends TLS. The header is
//! looked at in the socket until it is complete, so it needs no buffer however many pieces it comes in.

use crate::conn::Greeting;
use crate::connect::millis;
use crate::counters::CloseReason;
use crate::proxy_protocol::{self, MAX_BYTES, Origin};
use crate::slab::Index;
use crate::tls::{self, Shaken};
use crate::worker::Worker;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, getpeername, getsockname, recv, send};
use rustls::ServerConnection;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

impl Worker {
    /// A connection without a member has an event, or another turn.
    pub(crate) fn serve_waiting(&mut self, index: Index) {
        let Some(conn) = self.conns.get(index) else { return };
        if !matches!(conn.greeting, Greeting::Awaited) {
            return match (conn.naming, conn.shaking) {
                (true, _) => self.hear_name(index),
                (false, true) => self.shake_hands(index),
                (false, false) => self.serve_http(index),
            };
        }
        match self.hear(index) {
            Ok(false) => {}
            Ok(true) => {
                self.leave_idle(index);
                self.wheel.cancel(index);
                if self.count_source(index) {
                    self.find_place(index);
                } else {
                    self.end(index, CloseReason::LimitSource, false);
                }
            }
            Err(reason) => self.end(index, reason, false),
        }
    }

    /// Counts the connection for its client's address, where that is bounded and known by now. False when it is one
    /// too many.
    pub(crate) fn count_source(&mut self, index: Index) -> bool {
        let Some(conn) = self.conns.get_mut(index) else { return true };
        let Some(local) = self.locals[conn.instance as usize].as_ref() else { return true };
        let most = local.shared.limits.load().per_source;
        if most == 0 {
            return true;
        }
        if matches!(conn.greeting, Greeting::Awaited) {
            return true;
        }
        let Some(source) = conn.client_address() else { return true };
        let ip = source.ip().to_canonical();
        let room = local.shared.sources.enter(ip, most);
        conn.source = room.then(|| Box::new(ip));
        room
    }

    /// When what must come before everything else must have come, in the worker's milliseconds: the PROXY header, then
    /// the TLS handshake.
    pub(crate) fn greeting_due(&self, index: Index) -> u64 {
        let Some(conn) = self.conns.get(index) else { return self.now };
        let Some(Some(listening)) = self.listeners.get(conn.listener as usize) else { return self.now };
        let timeouts = &listening.spec.timeouts;
        let header = matches!(conn.greeting, Greeting::Awaited);
        self.now + millis(if header { timeouts.head } else { timeouts.handshake })
    }

    /// Goes on with a client's TLS handshake. A connection on which nothing was said yet owns nothing of TLS.
    fn shake_hands(&mut self, index: Index) {
        let Some(conn) = self.conns.get_mut(index) else { return };
        if !conn.client.readable && conn.client.tls.is_none() {
            return;
        }
        if conn.client.tls.is_none() {
            let listening = self.listeners.get(conn.listener as usize).and_then(Option::as_ref);
            let tls = listening.and_then(|listening| listening.spec.tls.as_ref());
            match tls.map(|tls| ServerConnection::new(tls.load_full())) {
                Some(Ok(server)) => tls::begin(&mut conn.client, server.into()),
                Some(Err(error)) => {
                    tracing::error!(%error, "no TLS for a client");
                    return self.end(index, CloseReason::Internal, false);
                }
                None => return self.end(index, CloseReason::RouteClosed, false),
            }
        }
        match tls::shake(&mut conn.client) {
            Shaken::Waits => {}
            Shaken::Done => {
                conn.shaking = false;
                self.leave_idle(index);
                self.wheel.cancel(index);
                self.find_place(index);
            }
            Shaken::Left => self.end(index, CloseReason::ClientClosed, false),
            Shaken::Failed => self.end(index, CloseReason::BadHandshake, false),
        }
    }

    /// Whether the header has come; the reason if it cannot be accepted.
    fn hear(&mut self, index: Index) -> Result<bool, CloseReason> {
        let Some(conn) = self.conns.get_mut(index) else { return Ok(false) };
        let listening = self.listeners.get(conn.listener as usize).and_then(Option::as_ref);
        let (Some(listening), Some(fd)) = (listening, conn.client.fd.as_ref()) else {
            return Err(CloseReason::RouteClosed);
        };
        let peer = peer_of(fd).ok_or(CloseReason::ClientReset)?;
        if !listening.spec.proxied.trusted.iter().any(|network| network.contains(peer.ip())) {
            return Err(CloseReason::BadProxyHeader);
        }
        let seen = match recv(fd, &mut self.io.scratch[..MAX_BYTES], RecvFlags::PEEK) {
            Ok((0, _)) => return Err(CloseReason::ClientClosed),
            Ok((seen, _)) => seen,
            Err(Errno::AGAIN) => return Ok(false),
            Err(_) => return Err(CloseReason::ClientReset),
        };
        let header = proxy_protocol::read(&self.io.scratch[..seen]).map_err(|bad| {
            tracing::debug!(%peer, %bad, "PROXY header refused");
            CloseReason::BadProxyHeader
        })?;
        let Some(header) = header else {
            // An end after a part of it will never be told again.
            return if conn.client.hung_up { Err(CloseReason::BadProxyHeader) } else { Ok(false) };
        };
        if !matches!(recv(fd, &mut self.io.scratch[..header.length], RecvFlags::empty()), Ok((n, _)) if n == header.length)
        {
            return Err(CloseReason::ClientReset);
        }
        conn.greeting = Greeting::Came(header.origin.map(Box::new));
        Ok(true)
    }

    /// Tells a fresh connection to a member whose it is, if the listener wants that. False when it broke.
    pub(crate) fn introduce(&mut self, index: Index) -> bool {
        let Some(conn) = self.conns.get(index) else { return true };
        let listening = self.listeners.get(conn.listener as usize).and_then(Option::as_ref);
        let Some(version) = listening.and_then(|l| l.spec.proxied.send) else { return true };
        let (Some(client), Some(member)) = (conn.client.fd.as_ref(), conn.member.fd.as_ref()) else { return false };
        let origin = match &conn.greeting {
            Greeting::Came(origin) => origin.as_deref().copied(),
            Greeting::None | Greeting::Awaited => origin_of(client),
        };
        let header = proxy_protocol::write(version, origin);
        // Rides with the client's first bytes when these are there already.
        let more = if conn.client.readable { SendFlags::MORE } else { SendFlags::empty() };
        // A fresh socket has room for so little; a part of it would mean that it is broken.
        send(member, &header, SendFlags::NOSIGNAL | more) == Ok(header.len())
    }
}

/// The other end of a socket; none if it is gone.
pub(crate) fn peer_of(fd: &OwnedFd) -> Option<SocketAddr> {
    SocketAddr::try_from(getpeername(fd).ok()??).ok()
}

fn origin_of(client: &OwnedFd) -> Option<Origin> {
    Some(Origin { source: peer_of(client)?, destination: SocketAddr::try_from(getsockname(client).ok()?).ok()? })
}
