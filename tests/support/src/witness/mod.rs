//! The witness: what the flows did, seen from outside, and a judge of it.
//!
//! [`sink`] records what timers, HTTP senders and MQTT publishers of real flows sent, each with its time of arrival on
//! one clock. [`verdict`] judges a recorded history by itself: it knows nothing of leases, fences or the events hotspare
//! writes. [`record`] is the file format both share, one JSON object per line.

pub mod record;
pub mod sink;
pub mod verdict;

pub use record::{Entry, History, Record};
pub use sink::Sink;
pub use verdict::{Verdict, Violation, judge};
