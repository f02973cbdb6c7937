//! What Node-RED uses of the machine, sampled for `/flowforge/resources`.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::clock;

/// How often a sample is taken; FlowFuse's launcher takes as many.
pub(crate) const EVERY: Duration = Duration::from_secs(10);
/// Samples kept.
const MAX_SAMPLES: usize = 1000;

/// One sample, with the field names of FlowFuse's launcher.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sample {
    /// Wall clock in milliseconds.
    ts: u64,
    src: String,
    /// Resident memory in MiB.
    ps: f64,
    /// Percent of one core since the sample before.
    cpu: f64,
    /// How long the event loop had not turned, in milliseconds.
    el: u32,
}

/// The ring of samples.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    ring: VecDeque<Sample>,
    before: Option<(u64, f64)>,
}

impl Samples {
    /// Adds a sample of a process whose `usage` is its memory in bytes and processor time in seconds.
    pub(crate) fn add(&mut self, source: &str, usage: (u64, f64), lag_ms: u32) {
        let now = clock::boottime_ns();
        let cpu = match self.before {
            Some((at, seconds)) if now > at && usage.1 >= seconds => {
                (usage.1 - seconds) / Duration::from_nanos(now - at).as_secs_f64() * 100.0
            }
            _ => 0.0,
        };
        self.before = Some((now, usage.1));
        if self.ring.len() == MAX_SAMPLES {
            self.ring.pop_front();
        }
        let ps = usage.0 as f64 / (1024.0 * 1024.0);
        self.ring.push_back(Sample { ts: clock::wall_ms(), src: source.to_owned(), ps, cpu, el: lag_ms });
    }

    /// Oldest first.
    pub(crate) fn all(&self) -> &VecDeque<Sample> {
        &self.ring
    }
}

/// Resident memory in bytes and processor time in seconds of the process at `proc` (a folder of /proc).
pub(crate) fn usage(proc: &Path) -> Option<(u64, f64)> {
    let stat = fs::read_to_string(proc.join("stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything; see proc_pid_stat(5).
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u32 = fields.get(11)?.parse::<u32>().ok()?.checked_add(fields.get(12)?.parse().ok()?)?;
    let pages: u64 = fields.get(21)?.parse().ok()?;
    let per_second = rustix::param::clock_ticks_per_second();
    let page = u64::try_from(rustix::param::page_size()).ok()?;
    Some((pages * page, f64::from(ticks) / f64::from(u32::try_from(per_second).ok()?)))
}

/// How long the first thread of the process at `proc` has waited for a processor so far: it could run, and others did.
pub(crate) fn waited(proc: &Path) -> Option<Duration> {
    let text = fs::read_to_string(proc.join("schedstat")).ok()?;
    // On a processor, waiting for one, and how often: sched-stats.rst of the kernel.
    text.split_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}

/// How long an event loop stood still of its own doing. A machine whose processors are all taken makes everything late: that
/// is no hang. `waited`: for a processor, since the loop last turned. Half of any lag counts in any case.
pub(crate) fn own_lag(lag: Duration, waited: Duration) -> Duration {
    lag.saturating_sub(waited).max(lag / 2)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_a_busy_machine_costs_is_no_hang_but_nothing_hangs_for_ever() {
        let ms = Duration::from_millis;
        assert_eq!(own_lag(ms(1900), ms(0)), ms(1900));
        assert_eq!(own_lag(ms(2100), ms(300)), ms(1800));
        assert_eq!(own_lag(ms(4000), ms(3900)), ms(2000));
        let before = waited(Path::new("/proc/self")).unwrap();
        assert!(waited(Path::new("/proc/self")).unwrap() >= before);
    }

    #[test]
    fn this_process_uses_memory() {
        let (bytes, seconds) = usage(Path::new("/proc/self")).unwrap();
        assert!(bytes > 100_000, "{bytes} bytes");
        let mut samples = Samples::default();
        samples.add("a", (bytes, seconds), 0);
        assert!(samples.all()[0].ps > 0.1);
    }
}
