//! The data path: accept, park, connect, relay, close. It knows routes and epochs and decides nothing.
//!
//! Owns: the listening sockets of every instance, every client and member connection, the pipes and
//! buffers between them, and the counters of all that. Its threads are its own (one per core), each a bare
//! epoll loop with its own `SO_REUSEPORT` listener; no async runtime, no lock and no shared counter on the
//! way of a connection.
//!
//! Never: picks a member, reads a health check, starts or fences anything. What it sees (a refused connect,
//! a reset) goes out through [`SignalSink`]; what it shall do comes in as a [`Route`].
//!
//! ```text
//! accept → limits → route → connect → route again → relay (copy or splice) → close with a reason
//!             ↘ park (first in, first out, bounded) ↗
//! ```
//!
//! Where to go next: [`DataPath`] is the handle the engine holds; `worker` is the loop of one thread;
//! `relay` moves the bytes; `park` and `revoke` are what a failover touches.

mod accept;
mod config;
mod conn;
mod connect;
mod counters;
mod datapath;
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
mod wheel;
mod worker;

pub use config::{
    Config, Drain, Error, InstanceId, InstanceSpec, Keepalive, Limits, ListenerId, ListenerSpec, Protocol, Proxied,
    Route, Timeouts,
};
pub use counters::{CloseReason, Counters, WAIT_BUCKETS_MS};
pub use datapath::{DataPath, Listener};
pub use signal::{Signal, SignalKind, SignalSink};
