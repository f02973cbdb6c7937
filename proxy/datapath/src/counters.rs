//! Counters that don't bounce between cores: one padded block per thread and instance, written by that thread
//! alone with plain loads and stores, summed by whoever reads.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Why a client connection ended. The order is the order in [`Counters::closed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CloseReason {
    /// The client closed first, cleanly.
    ClientClosed,
    /// The member closed first, cleanly.
    MemberClosed,
    /// The client reset, or its side broke.
    ClientReset,
    /// The member reset, or its side broke.
    MemberReset,
    /// No byte for too long.
    IdleTimeout,
    /// A PROXY header, or the head of a request that had begun, was not complete in time.
    HeadTimeout,
    /// The member did not answer the connect in time and the client could not be parked.
    ConnectTimeout,
    /// The member refused and the client could not be parked.
    ConnectRefused,
    /// Parked for too long.
    ParkTimeout,
    /// No room to park it.
    ParkFull,
    /// The client left while parked.
    ParkLeft,
    /// Its epoch was revoked.
    EpochRevoked,
    /// The instance's route was closed.
    RouteClosed,
    /// Over the bound of all connections or of descriptors.
    LimitTotal,
    /// Over the instance's bound.
    LimitInstance,
    /// Over the bound of one client address.
    LimitSource,
    /// Over the bound of new connections in a second.
    LimitRate,
    /// The bytes broke the protocol that the listener follows.
    BadProtocol,
    /// A PROXY header was missing, malformed, or not this peer's to send.
    BadProxyHeader,
    /// The client did not finish its TLS handshake in time.
    HandshakeTimeout,
    /// The client's TLS handshake failed.
    BadHandshake,
    /// The client asked for a name that nobody here has.
    UnknownName,
    /// The data path stopped.
    Shutdown,
    /// The system gave no socket or no memory for it, or a fault in our own code was contained.
    Internal,
}

impl CloseReason {
    /// Every reason, in order.
    pub const ALL: [CloseReason; 24] = [
        Self::ClientClosed,
        Self::MemberClosed,
        Self::ClientReset,
        Self::MemberReset,
        Self::IdleTimeout,
        Self::HeadTimeout,
        Self::ConnectTimeout,
        Self::ConnectRefused,
        Self::ParkTimeout,
        Self::ParkFull,
        Self::ParkLeft,
        Self::EpochRevoked,
        Self::RouteClosed,
        Self::LimitTotal,
        Self::LimitInstance,
        Self::LimitSource,
        Self::LimitRate,
        Self::BadProtocol,
        Self::BadProxyHeader,
        Self::HandshakeTimeout,
        Self::BadHandshake,
        Self::UnknownName,
        Self::Shutdown,
        Self::Internal,
    ];

    /// Its name as a metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::ClientClosed => "client_closed",
            Self::MemberClosed => "member_closed",
            Self::ClientReset => "client_reset",
            Self::MemberReset => "member_reset",
            Self::IdleTimeout => "idle_timeout",
            Self::HeadTimeout => "head_timeout",
            Self::ConnectTimeout => "connect_timeout",
            Self::ConnectRefused => "connect_refused",
            Self::ParkTimeout => "park_timeout",
            Self::ParkFull => "park_full",
            Self::ParkLeft => "park_left",
            Self::EpochRevoked => "epoch_revoked",
            Self::RouteClosed => "route_closed",
            Self::LimitTotal => "limit_total",
            Self::LimitInstance => "limit_instance",
            Self::LimitSource => "limit_source",
            Self::LimitRate => "limit_rate",
            Self::BadProtocol => "bad_protocol",
            Self::BadProxyHeader => "bad_proxy_header",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::BadHandshake => "bad_handshake",
            Self::UnknownName => "unknown_name",
            Self::Shutdown => "shutdown",
            Self::Internal => "internal",
        }
    }
}

const REASONS: usize = CloseReason::ALL.len();

/// Upper bounds, in milliseconds, of the buckets in [`Counters::park_wait`]; the last bucket has none.
pub const WAIT_BUCKETS_MS: [u64; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 5000, 30_000];
const BUCKETS: usize = WAIT_BUCKETS_MS.len() + 1;

/// A sum over all threads at about one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Client connections accepted, those shed at once included.
    pub accepted: u64,
    /// Client connections now, parked ones included.
    pub active: u64,
    /// Parked connections now.
    pub parked: u64,
    /// Connections to each member now, those still in `connect` included.
    pub to_member: [u64; 2],
    /// Client connections ended, by [`CloseReason`] (`closed[reason as usize]`).
    pub closed: [u64; REASONS],
    /// Bytes from clients to members.
    pub bytes_up: u64,
    /// Bytes from members to clients.
    pub bytes_down: u64,
    /// Connections that were parked at least once.
    pub parked_ever: u64,
    /// Waits that ended with a member, by length (see [`WAIT_BUCKETS_MS`]; not cumulative).
    pub park_wait: [u64; BUCKETS],
    /// Sum of those waits in milliseconds.
    pub park_wait_ms: u64,
    /// Connects to a member that failed (the client was parked or closed).
    pub connect_failed: u64,
    /// Times a stream took a pipe to be spliced.
    pub splices: u64,
    /// HTTP requests that were complete enough to be sent on.
    pub requests: u64,
    /// HTTP requests sent a second time, since no byte of an answer had come.
    pub resent: u64,
    /// HTTP errors answered by the data path itself.
    pub errors: u64,
}

impl Counters {
    /// How many ended for this reason.
    pub fn closed_for(&self, reason: CloseReason) -> u64 {
        self.closed[reason as usize]
    }
}

/// One counter: written by one thread, read by any.
#[derive(Debug, Default)]
pub(crate) struct Cell(AtomicU64);

impl Cell {
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }
    pub(crate) fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(n), Relaxed);
    }
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The block of one thread for one instance. 128 bytes of alignment: the prefetcher pulls lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Cells {
    pub(crate) accepted: Cell,
    pub(crate) active: Cell,
    pub(crate) parked: Cell,
    pub(crate) to_member: [Cell; 2],
    pub(crate) closed: [Cell; REASONS],
    pub(crate) bytes_up: Cell,
    pub(crate) bytes_down: Cell,
    pub(crate) parked_ever: Cell,
    pub(crate) park_wait: [Cell; BUCKETS],
    pub(crate) park_wait_ms: Cell,
    pub(crate) connect_failed: Cell,
    pub(crate) splices: Cell,
    pub(crate) requests: Cell,
    pub(crate) resent: Cell,
    pub(crate) errors: Cell,
    /// The newest route version under which this thread holds nothing that the route does not cover.
    pub(crate) clear_version: AtomicU64,
    /// Nothing that the drain of this version ends is under way in this thread.
    pub(crate) quiet_version: AtomicU64,
}

impl Cells {
    pub(crate) fn waited(&self, ms: u64) {
        let bucket = WAIT_BUCKETS_MS.iter().position(|&bound| ms <= bound).unwrap_or(BUCKETS - 1);
        self.park_wait[bucket].add(1);
        self.park_wait_ms.add(ms);
    }

    pub(crate) fn add_to(&self, sum: &mut Counters) {
        sum.accepted += self.accepted.get();
        sum.active += self.active.get();
        sum.parked += self.parked.get();
        sum.bytes_up += self.bytes_up.get();
        sum.bytes_down += self.bytes_down.get();
        sum.parked_ever += self.parked_ever.get();
        sum.park_wait_ms += self.park_wait_ms.get();
        sum.connect_failed += self.connect_failed.get();
        sum.splices += self.splices.get();
        sum.requests += self.requests.get();
        sum.resent += self.resent.get();
        sum.errors += self.errors.get();
        for (to, from) in sum.to_member.iter_mut().zip(&self.to_member) {
            *to += from.get();
        }
        for (to, from) in sum.closed.iter_mut().zip(&self.closed) {
            *to += from.get();
        }
        for (to, from) in sum.park_wait.iter_mut().zip(&self.park_wait) {
            *to += from.get();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reasons_are_listed_in_their_order() {
        for (place, reason) in CloseReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, place, "{reason:?}");
        }
    }

    #[test]
    fn waits_fall_into_the_bucket_whose_bound_they_do_not_exceed() {
        let cells = Cells::default();
        for ms in [0, 1, 2, 3, 30_000, 30_001] {
            cells.waited(ms);
        }
        let mut sum = Counters::default();
        cells.add_to(&mut sum);
        assert_eq!((sum.park_wait[0], sum.park_wait[1], sum.park_wait[2]), (2, 1, 1));
        assert_eq!((sum.park_wait[11], sum.park_wait[12]), (1, 1));
    }
}
