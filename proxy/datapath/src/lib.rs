//! The data path: accept, park, connect, relay, close. It knows routes and epochs and decides nothing.
//!
//! Owns: the listening sockets of every instance, every client and member connection, the pipes and
//! buffers between them, and the counters of all that. Its threads are its own (one per core), each a bare
//! epoll loop with its own `SO_REUSEPORT` listener that helps the others when they are busy; no async runtime,
//! no lock and no shared counter on the way of a connection.
//!
//! Never: picks a member, reads a health check, starts or fences anything. What it sees (a refused connect,
//! a reset) goes out through [`SignalSink`]; what it shall do comes in as a [`Route`].
//!
//! ```text
//! accept → (name) → limits → (TLS) → route → connect → route again → relay (copy or splice) → close with a reason
//!             ↘ park (first in, first out, bounded) ↗
//! ```
//!
//! System calls, counted by `benches/syscalls` with one connection at a time (under load several share an
//! `epoll_wait`, and the accept that finds nothing more):
//!
//! | | calls |
//! |---|---|
//! | a TCP connection with one message, closed by the client | 17: 2 accept, socket, connect, 2 setsockopt, 2 epoll_ctl, 4 recv, 2 send, shutdown, 2 close; and 5 epoll_wait |
//! | the same on an HTTP listener | 14: no shutdown, one setsockopt and one recv less; and 5 epoll_wait |
//! | a message and its answer on an open connection | 4: 2 recv, 2 send; and 2 epoll_wait |
//! | a bulky stream | 2 splice per 256 KiB to 1 MiB, and one that finds nothing more |
//!
//! What is saved, and why it loses nothing: options of clients' sockets are inherited from the listening socket;
//! both sockets are watched once, edge-triggered, for everything; a FIN that epoll told before a short read makes
//! the read that would return 0 needless (not after urgent data, which cuts reads short); the last bytes and the FIN
//! share a segment; `TCP_NODELAY` is set before the second write (Nagle never holds back the first), keepalive after
//! five seconds; acknowledgements ride on answers. Closing early and `SO_LINGER` are quicker still and lose data.
//!
//! Where to go next: [`DataPath`] is the handle the engine holds; `worker` is the loop of one thread;
//! `relay` moves the bytes; `park` and `revoke` are what a failover touches.

mod accept;
mod blame;
pub mod client_hello;
mod config;
mod conn;
mod connect;
mod counters;
mod datapath;
mod descriptors;
pub mod framing;
mod greet;
mod http;
mod list;
mod mailbox;
mod naming;
mod park;
mod pipes;
pub mod proxy_protocol;
mod quota;
mod relay;
mod revoke;
mod service;
mod shared;
mod signal;
mod slab;
mod socket;
mod source;
mod tls;
mod wheel;
mod worker;

pub use blame::LastClient;
pub use config::{
    Config, Drain, Error, InstanceId, InstanceSpec, Keepalive, Limits, ListenerId, ListenerSpec, MemberTls, Protocol,
    Proxied, Route, Timeouts,
};
pub use counters::{CloseReason, Counters, WAIT_BUCKETS_MS};
pub use datapath::{DataPath, Listener};
pub use signal::{Signal, SignalKind, SignalSink};
