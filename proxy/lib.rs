//! hotspare: hot-spare failover for Node-RED that loses nothing.
//!
//! Bird's eye view and code map: `ARCHITECTURE.md`.

pub mod cli;
pub mod config;
pub mod demo;
pub mod driver;
pub mod http;
pub mod run;
pub mod store;
