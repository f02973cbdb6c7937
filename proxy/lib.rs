//! hotspare: hot-spare failover for Node-RED that loses nothing.
//!
//! Bird's eye view and code map: `ARCHITECTURE.md`.

pub mod active_label;
pub mod admin;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod drill;
pub mod driver;
pub mod engine;
pub mod events;
pub mod hooks;
pub mod http;
pub mod link;
pub mod metrics;
pub mod notify;
pub mod observations;
pub mod panics;
pub mod pass_on;
pub mod platform;
pub mod probe;
pub mod run;
pub mod secrecy;
pub mod store;
pub mod takeover;
pub mod traffic;
