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
//! accept → limits → route → connect → route again → relay (copy or splice) → close with a reason
//!             ↘ park (first in, first out, bounded) ↗
//! ```
//!
//! System calls, counted with `strace -f -c -p PID` around a load of 32 connections at one time:
//!
//! | | calls |
//! |---|---|
//! | a connection with one request, closed by the member | 14: accept, socket, setsockopt, connect, 2 epoll_ctl, 3 recv, 2 send, shutdown, 2 close; and 0.4 shared with others (epoll_wait, the accept that finds nothing more) |
//! | a message and its answer on an open connection | 4: 2 recv, 2 send; and 0.6 epoll_wait |
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
mod wheel;
mod worker;

pub use config::{
    Config, Drain, Error, InstanceId, InstanceSpec, Keepalive, Limits, ListenerId, ListenerSpec, Protocol, Proxied,
    Route, Timeouts,
};
pub use counters::{CloseReason, Counters, WAIT_BUCKETS_MS};
pub use datapath::{DataPath, Listener};
pub use signal::{Signal, SignalKind, SignalSink};
