//! One client connection: the two sockets, the two flows between them, and where it stands. Small on purpose
//! (an idle connection owns no buffer and no pipe), and without any system call of its own.

use crate::http::Http;
use crate::list::{Linked, Links};
use crate::pipes::{Pipe, Pipes};
use crate::proxy_protocol::Origin;
use crate::tls::{self, Tls};
use rustix::event::epoll::EventFlags;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Waits for a member; in the instance's parked list, or on its way into a list.
    Parked,
    /// Waits for its client to say something (an HTTP request, a PROXY header), without a member; in the idle list.
    Idle,
    /// On its way to a member; in the live list.
    Connecting,
    /// Bytes may flow; in the live list.
    Relaying,
}

/// Which of the two sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Client,
    Member,
}

/// A socket and what epoll last said about it. Events are edge-triggered: a flag stays up until a call
/// on the socket shows otherwise.
#[derive(Debug, Default)]
pub(crate) struct Side {
    pub(crate) fd: Option<OwnedFd>,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The peer has sent its FIN; it may not have been read yet.
    pub(crate) hung_up: bool,
    /// The socket has failed; the next read says how.
    pub(crate) failed: bool,
    /// Urgent data was seen: a short read need not mean that all has been read.
    pub(crate) urgent: bool,
    /// `TCP_NODELAY` is on.
    pub(crate) nodelay: bool,
    /// TLS on it, from the beginning of its handshake on.
    pub(crate) tls: Option<Box<Tls>>,
}

impl Side {
    pub(crate) fn new(fd: OwnedFd, nodelay: bool) -> Self {
        Self { fd: Some(fd), nodelay, ..Self::default() }
    }

    pub(crate) fn note(&mut self, flags: EventFlags) {
        let ended = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
        self.readable |= flags.intersects(EventFlags::IN | ended);
        self.writable |= flags.contains(EventFlags::OUT);
        self.hung_up |= flags.intersects(EventFlags::RDHUP | EventFlags::HUP);
        self.failed |= flags.contains(EventFlags::ERR);
        self.urgent |= flags.contains(EventFlags::PRI);
        if self.tls.is_some() {
            tls::note(self);
        }
    }
}

/// What a flow has read and not yet written.
#[derive(Debug, Default)]
pub(crate) enum Held {
    /// Nothing.
    #[default]
    Nothing,
    /// Bytes that the other side could not take; from `at` on. At most one scratch buffer's worth.
    Bytes {
        /// The bytes.
        buffer: Box<[u8]>,
        /// How many of them have gone.
        at: u32,
    },
    /// A pipe with so many bytes in it; zero only while the flow is being served.
    Pipe {
        /// The pipe.
        pipe: Pipe,
        /// Bytes in it.
        filled: u32,
    },
}

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    pub(crate) held: Held,
    /// Large reads in a row; from two on the flow is spliced.
    pub(crate) large_reads: u8,
    /// The source has ended; nothing more will be read.
    pub(crate) ended: bool,
    /// The end has been passed on.
    pub(crate) passed_on: bool,
    /// At least one byte has gone to the other side.
    pub(crate) moved: bool,
}

impl Flow {
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.held, Held::Nothing)
    }

    /// Everything was read and written.
    pub(crate) fn finished(&self) -> bool {
        self.ended && self.is_empty()
    }

    /// Drops what is held.
    pub(crate) fn discard(&mut self, pipes: &mut Pipes) {
        if let Held::Pipe { pipe, .. } = std::mem::take(&mut self.held) {
            pipes.discard(pipe);
        }
    }
}

/// The PROXY header of a client connection.
#[derive(Debug)]
pub(crate) enum Greeting {
    /// There is none.
    None,
    /// Nothing is done before it has come.
    Awaited,
    /// It came, and named the connection's ends or not.
    Came(Option<Box<Origin>>),
}

/// One client connection.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) links: Links,
    pub(crate) instance: u32,
    pub(crate) listener: u32,
    pub(crate) client: Side,
    pub(crate) member: Side,
    /// Client to member.
    pub(crate) up: Flow,
    /// Member to client.
    pub(crate) down: Flow,
    pub(crate) phase: Phase,
    /// Which member it is connected to.
    pub(crate) member_no: u8,
    /// Number of this attempt to reach a member; tells late events of an earlier one apart.
    pub(crate) attempt: u8,
    /// It tries out a member that failed lately; the others wait for it.
    pub(crate) scout: bool,
    /// Keepalive and the like are set on the member's socket.
    pub(crate) lasting: bool,
    /// It stands in the queue of connections that have more to do.
    pub(crate) queued: bool,
    /// The client's socket is known to epoll.
    pub(crate) client_watched: bool,
    /// It stands in the instance's parked list.
    pub(crate) in_park: bool,
    /// The last bytes that moved came from the member.
    pub(crate) member_spoke_last: bool,
    /// Its epoch was revoked: not a byte more goes through, and it is ended in a moment.
    pub(crate) muted: bool,
    /// A member has ended it before a byte had moved. The next end is passed on.
    pub(crate) was_left: bool,
    /// Which side ended first.
    pub(crate) first_end: Option<End>,
    /// The epoch and route version that its connection to the member was opened under.
    pub(crate) epoch: u64,
    pub(crate) version: u64,
    /// The address under which it is counted, where that is bounded.
    pub(crate) source: Option<Box<IpAddr>>,
    /// The PROXY header before anything else: awaited, or what it said.
    pub(crate) greeting: Greeting,
    /// Whose it is, its client is still to say, after the PROXY header.
    pub(crate) naming: bool,
    /// The client's TLS handshake is still to be done, after the PROXY header.
    pub(crate) shaking: bool,
    /// What is followed in the bytes, if anything.
    pub(crate) http: Option<Box<Http>>,
    /// When it was first parked, in the worker's milliseconds; 0 when it was not.
    pub(crate) parked_at: u64,
    /// When a byte last moved, in the worker's milliseconds.
    pub(crate) last_move: u64,
}

impl Conn {
    pub(crate) fn new(instance: u32, listener: u32, client: OwnedFd) -> Self {
        Self {
            links: Links::default(),
            instance,
            listener,
            client: Side::new(client, true),
            member: Side::default(),
            up: Flow::default(),
            down: Flow::default(),
            phase: Phase::Parked,
            member_no: 0,
            attempt: 0,
            scout: false,
            lasting: false,
            queued: false,
            client_watched: false,
            in_park: false,
            member_spoke_last: false,
            muted: false,
            was_left: false,
            first_end: None,
            epoch: 0,
            version: 0,
            source: None,
            greeting: Greeting::None,
            naming: false,
            shaking: false,
            http: None,
            parked_at: 0,
            last_move: 0,
        }
    }

    /// Whether it may be ended without cutting anything off, as far as bytes tell: between two requests of HTTP; on a
    /// connection that has left HTTP (`was_http`), whenever nothing is on its way; on any other when besides that the
    /// member had the last word and nothing has moved for `quiet_ms`.
    pub(crate) fn is_quiet(&self, was_http: bool, now: u64, quiet_ms: u64) -> bool {
        if let Some(http) = &self.http {
            return !http.has_request();
        }
        let nothing_held = self.up.is_empty() && self.down.is_empty() && !self.client.readable;
        nothing_held && (was_http || self.member_spoke_last && now >= self.last_move + quiet_ms)
    }

    /// Whether another member can still be tried: nothing has reached this one, nothing has come from it. What was
    /// read of the client and not taken by the member is held, and goes along.
    pub(crate) fn is_untouched(&self) -> bool {
        if let Some(http) = &self.http {
            return http.is_unsent();
        }
        let sent_nothing = !self.up.moved && !self.up.passed_on && !matches!(self.up.held, Held::Pipe { .. });
        sent_nothing && !self.down.moved && self.down.is_empty()
    }
}

impl Linked for Conn {
    fn links(&mut self) -> &mut Links {
        &mut self.links
    }
}
