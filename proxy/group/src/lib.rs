//! Several proxies, one of which decides: agreed on through an engine that exists, never one of ours.
//!
//! Owns: the [`Election`] (who leads, since when provably and until when), the document that proxies share
//! ([`Document`]), its keepers ([`backend`]: etcd, a Kubernetes Lease, memory for tests) and the task that runs
//! one election against one keeper ([`Group`]).
//!
//! Never does: deciding anything about an instance. It carries records that it does not understand.
//!
//! How it stays safe, in five sentences. One object holds the leader's name and every record, and is only ever
//! written by compare-and-set on the revision that was read, so a stale leader's write fails by itself. A leader
//! leads until `lead_for` after it *sent* its last successful write. Another takes over only after the same revision
//! stood for the whole `lead_for`, stretched by the drift of clocks, counted on its own clock from when it *received*
//! it, so the old leader's end comes first. What a write that timed out has done is unknown, and is read back. A watch
//! only says "look now".
//!
//! Where to go next: `election/mod.rs` for the rules, `backend/mod.rs` for what a keeper must promise,
//! `tests/simulation.rs` for what shows that it holds.

pub mod backend;
mod clock;
mod document;
mod election;
mod pods;
mod shell;

pub use document::{Document, Entry, MAX_DOCUMENT_BYTES};
pub use election::{
    Answer, Effect, Election, Event, Input, LostWhy, Request, Revision, Rule, Settings, Ticket, stretch,
};
pub use pods::{ACTIVE, Pods};
pub use shell::{Group, GroupConfig, Handle};
