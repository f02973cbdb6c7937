//! FlowFuse's real nr-launcher with a real Node-RED, and what hotspare makes of it. The platform behind it is a stand-in.
//!
//! `driver.rs`: every way in which the launcher's answers and the truth differ, one launcher at a time. `attached.rs`: our
//! launcher beside it, with a hot spare.
#![allow(clippy::unwrap_used)]

mod attached;
mod attached_pair;
mod driver;
mod endpoint;
mod failover;
mod launched;
mod pair;
mod platform_stand_in;
