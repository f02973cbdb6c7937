//! FlowFuse's real nr-launcher with a real Node-RED, and what hotspare makes of it. The platform behind it is a stand-in.
//!
//! `driver.rs`: every way in which the launcher's answers and the truth differ, one launcher at a time.
#![allow(clippy::unwrap_used)]

mod driver;
mod endpoint;
mod failover;
mod launched;
mod outage;
mod pair;
mod platform_stand_in;
