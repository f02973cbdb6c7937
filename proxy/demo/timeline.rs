//! Tells what happened: the fault, what the proxy noticed and decided (its own events), what the client saw.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Deserialize;

use super::Failure;
use super::client::{Outage, Who};
use super::stage::Stage;

/// What is done to the active.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    /// `kill -9` of its Node-RED.
    Kill,
    /// An endless loop in its event loop.
    Hang,
}

impl Fault {
    /// Does it.
    pub(super) fn inflict(self, stage: &Stage, active: &Who) -> Result<(), Failure> {
        match self {
            Fault::Kill => {
                let pid = rustix::process::Pid::from_raw(active.pid).ok_or("a flow named no process id")?;
                rustix::process::kill_process(pid, rustix::process::Signal::KILL)
                    .map_err(|error| format!("can't kill process {}: {error}", active.pid))
            }
            Fault::Hang => {
                stage.hang(&active.member);
                Ok(())
            }
        }
    }
}

/// An instant with the wall clock beside it, for events that were dated by another process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    instant: Instant,
    wall_ms: u64,
}

impl Moment {
    pub(super) fn now() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Moment { instant: Instant::now(), wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX) }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.instant.elapsed()
    }
}

/// An entry of the proxy's event log.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Event {
    /// Rises by one per event.
    pub(super) id: u64,
    at_ms: u64,
    text: String,
}

pub(super) fn headline(fault: Fault, active: &Who) -> String {
    match fault {
        Fault::Kill => {
            format!("Now: kill -9 of the active's Node-RED (member {}, process {}).", active.member, active.pid)
        }
        Fault::Hang => format!("Now: an endless loop in the event loop of the active (member {}).", active.member),
    }
}

/// Prints the timeline of one fault, in milliseconds since it.
pub(super) fn tell(fault: &Moment, outage: &Outage, events: &[Event]) {
    let mut lines: Vec<(u64, String)> = events
        .iter()
        .map(|event| (event.at_ms.saturating_sub(fault.wall_ms), format!("proxy:  {}", event.text)))
        .collect();
    let failed = match outage.failed {
        0 => "no request failed".to_owned(),
        1 => "1 request failed".to_owned(),
        count => format!("{count} requests failed"),
    };
    let over = outage.over.saturating_duration_since(fault.instant);
    lines.push((
        u64::try_from(over.as_millis()).unwrap_or(u64::MAX),
        format!(
            "client: {} answers, {} after the last answer before; {failed}, the longest wait for one was {}",
            outage.by.member,
            time(outage.gap),
            time(outage.waited)
        ),
    ));
    lines.sort_by_key(|(at, _)| *at);
    for (at, line) in lines {
        println!("  {at:>6} ms  {line}");
    }
    println!();
}

/// A duration for people.
pub(super) fn time(duration: Duration) -> String {
    match duration.as_millis() {
        0..1000 => format!("{} ms", duration.as_millis()),
        _ => format!("{:.2} s", duration.as_secs_f64()),
    }
}
