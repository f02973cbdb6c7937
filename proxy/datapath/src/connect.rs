//! From a route to a member: connect without waiting, look at the route again once connected, and go back to
//! waiting when the member refuses, does not answer, or is no longer the one.

use crate::config::Route;
use crate::conn::{End, Flow, Phase, Side};
use crate::counters::CloseReason;
use crate::signal::SignalKind;
use crate::slab::Index;
use crate::socket;
use crate::tls::{self, Shaken};
use crate::worker::Worker;
use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;
use rustix::net::sockopt;
use rustls::ClientConnection;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Age at which a connection gets keepalive on the member's side, in ms. Most are gone by then and need not pay.
const LASTING_AFTER_MS: u64 = 5_000;

/// What a member is told to be that takes a connection and breaks it before a byte was moved.
const UNFIT: SignalKind = SignalKind::ResetBeforeFirstByte;

/// What both ends of a connection are watched for, from beginning to end: one call per socket.
const WATCHED: EventFlags =
    EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP).union(EventFlags::PRI).union(EventFlags::ET);

impl Worker {
    /// Finds a member for a connection that has none: connects, parks or closes, as the route says.
    pub(crate) fn seek(&mut self, index: Index) {
        let Some(place) = self.conns.get(index).map(|conn| conn.instance) else { return };
        let local = self.local(place);
        let must_wait = local.suspect.is_some() || !local.parked.is_empty();
        match local.route.load().route {
            Route::To { .. } if !must_wait => self.connect(index),
            Route::To { .. } => {
                self.park(index, false, CloseReason::ParkFull);
                self.release(place);
            }
            Route::Park => self.park(index, false, CloseReason::ParkFull),
            Route::Closed => self.turn_away(index, CloseReason::RouteClosed),
        }
    }

    /// Starts the connect of a connection that is in no list.
    pub(crate) fn connect(&mut self, index: Index) {
        let Some(conn) = self.conns.get(index) else { return };
        let (place, listener) = (conn.instance, conn.listener);
        let Some(Some(listener)) = self.listeners.get(listener as usize) else {
            return self.end(index, CloseReason::RouteClosed, false);
        };
        let (port, patience) = (listener.spec.port_index, listener.spec.timeouts.connect);
        let local = self.local(place);
        let routed = local.route.load();
        let version = routed.version;
        let Route::To { epoch, member, addrs } = &routed.route else {
            self.scout_turns_back(index);
            return self.park(index, true, CloseReason::ParkFull);
        };
        let (epoch, member) = (*epoch, (*member).min(1));
        let addr = addrs.get(port).copied();
        self.attach(index, epoch, version, member);
        let opened = addr.ok_or(Errno::ADDRNOTAVAIL).and_then(socket::start_connect);
        match opened.and_then(|fd| self.watch(index, fd)) {
            Ok(()) => self.wheel.set(index, self.now + millis(patience)),
            Err(e) => self.connect_failed(index, kind_of(e), CloseReason::ConnectRefused),
        }
    }

    fn watch(&mut self, index: Index, member: OwnedFd) -> Result<(), Errno> {
        epoll::add(&self.epoll, &member, self.token(index, End::Member), WATCHED)?;
        self.watch_client(index)?;
        if let Some(conn) = self.conns.get_mut(index) {
            conn.member = Side::new(member, false);
        }
        Ok(())
    }

    /// Watches the client's socket, once in its life.
    pub(crate) fn watch_client(&mut self, index: Index) -> Result<(), Errno> {
        let token = self.token(index, End::Client);
        let Some(conn) = self.conns.get_mut(index) else { return Ok(()) };
        if !conn.client_watched
            && let Some(fd) = conn.client.fd.as_ref()
        {
            epoll::add(&self.epoll, fd, token, WATCHED)?;
            conn.client_watched = true;
            conn.client.writable = true;
        }
        Ok(())
    }

    /// The member's socket has an event while in connect.
    pub(crate) fn connect_event(&mut self, index: Index) {
        let Some(conn) = self.conns.get(index) else { return };
        if conn.member.failed || conn.member.hung_up && !conn.member.writable {
            let fd = conn.member.fd.as_ref();
            let error = fd.map_or(Ok(Ok(())), sockopt::socket_error).unwrap_or_else(Err);
            let kind = error.map_or_else(kind_of, |()| Some(SignalKind::Refused));
            self.connect_failed(index, kind, CloseReason::ConnectRefused);
        } else if conn.member.tls.is_some() {
            self.shake_with_member(index);
        } else if conn.member.writable {
            let listening = self.listeners.get(conn.listener as usize).and_then(Option::as_ref);
            let tls = listening.and_then(|listening| listening.spec.member_tls[conn.member_no as usize].as_ref());
            match tls.map(|tls| ClientConnection::new(tls.config.load_full(), tls.name.clone())) {
                None => self.connected(index),
                Some(Ok(client)) => {
                    if !self.introduce(index) {
                        return self.connect_failed(index, Some(UNFIT), CloseReason::MemberReset);
                    }
                    if let Some(conn) = self.conns.get_mut(index) {
                        tls::begin(&mut conn.member, client.into());
                    }
                    self.shake_with_member(index);
                }
                Some(Err(error)) => {
                    tracing::error!(%error, "no TLS to a member");
                    self.end(index, CloseReason::Internal, false);
                }
            }
        }
    }

    /// Goes on with the TLS handshake with a member. Its time is part of the time for the connect.
    fn shake_with_member(&mut self, index: Index) {
        let Some(conn) = self.conns.get_mut(index) else { return };
        match tls::shake(&mut conn.member) {
            Shaken::Waits => {}
            Shaken::Done => self.connected(index),
            Shaken::Left | Shaken::Failed => self.connect_failed(index, Some(UNFIT), CloseReason::ConnectRefused),
        }
    }

    fn connected(&mut self, index: Index) {
        let (thread, now) = (self.thread, self.now);
        let Some(conn) = self.conns.get_mut(index) else { return };
        let (place, epoch, version, member) = (conn.instance, conn.epoch, conn.version, conn.member_no);
        conn.phase = Phase::Relaying;
        conn.last_move = now;
        let parked_at = std::mem::take(&mut conn.parked_at);
        // With TLS that was done before the handshake.
        let is_introduced = conn.member.tls.is_some();
        let local = self.local(place);
        local.connecting -= 1;
        let routed = local.route.load();
        if !routed.covers(epoch) || routed.cut.covers(epoch, version) {
            return self.find_another(index);
        }
        if !is_introduced && !self.introduce(index) {
            return self.connect_failed(index, Some(UNFIT), CloseReason::MemberReset);
        }
        if let Some(conn) = self.conns.get_mut(index) {
            conn.scout = false;
        }
        let local = self.local(place);
        if parked_at > 0 {
            local.cells(thread).waited(now - parked_at);
        }
        if local.suspect.take().is_some() {
            self.signal(place, SignalKind::Recovered, member, epoch);
        }
        let idle = self.idle_timeout(index);
        self.wheel.set(index, now + LASTING_AFTER_MS.min(idle));
        self.serve(index);
        if let Some(conn) = self.conns.get(index)
            && conn.phase == Phase::Relaying
            && !conn.up.moved
            && let Some(fd) = conn.member.fd.as_ref()
        {
            // The client is silent: maybe the member speaks first. It is told now that it is connected, and not with
            // the first request. Refused, it is told a moment later.
            let _ = socket::acknowledge_now(fd);
        }
        self.release(place);
    }

    /// The member did not take this connection, which has moved no byte: it waits, and the member is suspect.
    /// `kind` is none when the fault is not the member's.
    pub(crate) fn connect_failed(&mut self, index: Index, kind: Option<SignalKind>, reason: CloseReason) {
        let thread = self.thread;
        let Some(conn) = self.conns.get(index) else { return };
        let (place, epoch, version, member, scout) =
            (conn.instance, conn.epoch, conn.version, conn.member_no, conn.scout);
        self.detach(index);
        let local = self.local(place);
        local.cells(thread).connect_failed.add(1);
        // A failure of a route that has been replaced says nothing about the new one.
        if local.route.load().version == version {
            tracing::debug!(instance = local.shared.name, member, epoch, ?kind, "connect failed; clients wait");
            self.suspect(place, scout);
            if let Some(kind) = kind {
                self.signal(place, kind, member, epoch);
            }
        }
        self.park(index, true, reason);
        self.release(place);
    }

    /// Counts a connection to its member and puts it into the live list.
    fn attach(&mut self, index: Index, epoch: u64, version: u64, member: u8) {
        let thread = self.thread;
        let Some(conn) = self.conns.get_mut(index) else { return };
        conn.phase = Phase::Connecting;
        conn.attempt = conn.attempt.wrapping_add(1);
        (conn.epoch, conn.version, conn.member_no) = (epoch, version, member);
        let place = conn.instance as usize;
        let Some(local) = self.locals[place].as_mut() else { return };
        local.live.push_back(&mut self.conns, index);
        local.connecting += 1;
        local.cells(thread).to_member[member as usize].add(1);
        match local.epochs.iter_mut().find(|(known, _)| *known == epoch) {
            Some((_, count)) => *count += 1,
            None => local.epochs.push((epoch, 1)),
        }
    }

    /// Takes the member away from a live connection; afterwards it is in no list.
    pub(crate) fn detach(&mut self, index: Index) {
        let thread = self.thread;
        let Some(conn) = self.conns.get_mut(index) else { return };
        if matches!(conn.phase, Phase::Parked | Phase::Idle) {
            return self.scout_turns_back(index);
        }
        let was_connecting = conn.phase == Phase::Connecting;
        conn.phase = Phase::Parked;
        conn.lasting = false;
        conn.down.discard(&mut self.io.pipes);
        conn.down = Flow::default();
        if let Some(http) = conn.http.as_mut() {
            http.member_is_gone();
            conn.up.discard(&mut self.io.pipes);
            conn.up = Flow::default();
        }
        if let Some(fd) = std::mem::take(&mut conn.member).fd {
            socket::close_with_reset(fd);
        }
        let (place, epoch, member) = (conn.instance, conn.epoch, conn.member_no);
        let Some(local) = self.locals[place as usize].as_mut() else { return };
        local.live.remove(&mut self.conns, index);
        local.connecting -= usize::from(was_connecting);
        local.cells(thread).to_member[member as usize].sub(1);
        if let Some(at) = local.epochs.iter().position(|(known, _)| *known == epoch) {
            local.epochs[at].1 -= 1;
            if local.epochs[at].1 == 0 {
                local.epochs.swap_remove(at);
                self.note_clear(place);
            }
        }
        self.wheel.cancel(index);
        self.scout_turns_back(index);
    }

    /// The idle timeout of a connection's listener, in ms.
    pub(crate) fn idle_timeout(&self, index: Index) -> u64 {
        let listener = self.conns.get(index).and_then(|conn| self.listeners.get(conn.listener as usize));
        listener.and_then(Option::as_ref).map_or(u64::MAX / 4, |l| millis(l.spec.timeouts.idle))
    }
}

pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 4).min(u64::MAX / 4)
}

/// What a failed connect says about the member; nothing when the trouble is our own.
fn kind_of(error: Errno) -> Option<SignalKind> {
    match error {
        Errno::TIMEDOUT => Some(SignalKind::Timeout),
        Errno::ADDRNOTAVAIL | Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::NOSPC => None,
        _ => Some(SignalKind::Refused),
    }
}
