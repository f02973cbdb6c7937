//! Times and amounts that can't work together.
//!
//! A rule is left out where one of its values was refused already: the default stands in for it then,
//! and what the rule said would be about a value nobody wrote.

use std::time::Duration;

use hotspare_decide::lease::LeaseFault;

use crate::config::file::{File, Instance, LauncherKind};
use crate::config::report::Report;
use crate::config::value::{OrOff, write_duration};

pub(super) fn check(report: &mut Report, file: &File) {
    for instance in &file.instance {
        let mut rules = Rules { report, at: &instance.at };
        if instance.member.iter().any(|member| member.launcher.kind == LauncherKind::Hotspare) {
            lease(&mut rules, instance);
        }
        health(&mut rules, instance);
        damping(&mut rules, instance);
        limits(&mut rules, instance);
        parking(&mut rules, instance);
    }
    store(&mut Rules { report, at: "store" }, file);
    limits_of_all(report, file);
}

struct Rules<'r> {
    report: &'r mut Report,
    at: &'r str,
}

/// A bound that is worked out from other keys.
struct Least<'a, T> {
    value: T,
    /// How it is worked out, as in "four heartbeats and stop_lead".
    words: &'a str,
    keys: &'a [&'a str],
}

impl Rules<'_> {
    /// `key` must have at least a value that is worked out from others. Reported at `key` or, if the file leaves
    /// that at its default, at the one that made the bound too high.
    fn at_least<T: PartialOrd + Show>(&mut self, key: &str, value: T, least: &Least<'_, T>, why: &str) {
        if value >= least.value {
            return;
        }
        let place = |key: &str| format!("{}.{key}", self.at);
        let keys: Vec<String> = std::iter::once(key).chain(least.keys.iter().copied()).map(place).collect();
        if keys.iter().any(|key| self.report.is_bad(key)) {
            return;
        }
        let blamed = keys.iter().find(|key| self.report.has(key)).unwrap_or(&keys[0]).clone();
        let expected = format!("{key} at least {} ({}): {why}", least.words, least.value.show());
        self.report.problem(&blamed, expected, format!("{key} = {}", value.show()), None);
    }
}

trait Show {
    fn show(&self) -> String;
}

impl Show for Duration {
    fn show(&self) -> String {
        format!("\"{}\"", write_duration(*self))
    }
}

impl Show for u32 {
    fn show(&self) -> String {
        self.to_string()
    }
}

fn lease(rules: &mut Rules<'_>, instance: &Instance) {
    let (lease, health) = (&instance.lease, &instance.health);
    let least = |value, words| Least { value, words, keys: &["lease.heartbeat", "lease.stop_lead"] };
    for fault in lease.settings().validate() {
        match fault {
            LeaseFault::TtlTooShort { least: value } => {
                let why = "lost heartbeats must neither end a lease nor begin to stop its flows";
                rules.at_least("lease.ttl", lease.ttl, &least(value, "six heartbeats and stop_lead"), why);
            }
            LeaseFault::PromiseTooShort { least: value } => {
                let why = "a promise must be asked for again before it ends";
                rules.at_least("lease.promise", lease.promise, &least(value, "four heartbeats and stop_lead"), why);
            }
            // Bounds of single keys: `file` has the same or narrower ones.
            fault => rules.report.problem(&format!("{}.lease", rules.at), fault.to_string(), "another", None),
        }
    }
    let least = Least { value: lease.heartbeat * 2, words: "two heartbeats", keys: &["lease.heartbeat"] };
    rules.at_least("health.hang_after", health.hang_after, &least, "a hang is told by heartbeats");
}

fn health(rules: &mut Rules<'_>, instance: &Instance) {
    let health = &instance.health;
    let least = Least { value: health.timeout, words: "health.timeout", keys: &["health.timeout"] };
    rules.at_least("health.interval", health.interval, &least, "a check must end before the next begins");
}

fn damping(rules: &mut Rules<'_>, instance: &Instance) {
    let failover = &instance.failover;
    let least = Least { value: failover.hold_down, words: "failover.hold_down", keys: &["failover.hold_down"] };
    rules.at_least("failover.hold_down_max", failover.hold_down_max, &least, "it is what that wait doubles up to");
}

/// How long stopping and starting flows may take, besides the drain, before clients that wait are sent away.
const SWITCH: Duration = Duration::from_secs(1);

fn parking(rules: &mut Rules<'_>, instance: &Instance) {
    let timeouts = &instance.timeouts;
    if timeouts.park.is_zero() {
        return;
    }
    let value = timeouts.drain + SWITCH;
    let least = Least { value, words: "timeouts.drain and 1s", keys: &["timeouts.drain"] };
    rules.at_least("timeouts.park", timeouts.park, &least, "new clients wait for as long as a planned switch drains");
}

fn limits(rules: &mut Rules<'_>, instance: &Instance) {
    let limits = &instance.limits;
    let least = Least { value: limits.parked, words: "limits.parked", keys: &["limits.parked"] };
    rules.at_least("limits.connections", limits.connections, &least, "those that wait are connections too");
    if let OrOff(Some(value)) = limits.per_source {
        let least = Least { value, words: "limits.per_source", keys: &["limits.per_source"] };
        rules.at_least("limits.connections", limits.connections, &least, "one address can't have more than all");
    }
}

fn store(rules: &mut Rules<'_>, file: &File) {
    let store = &file.store;
    let least = Least {
        value: store.renew * 2 + store.request_timeout,
        words: "two renewals and a request_timeout",
        keys: &["renew", "request_timeout"],
    };
    rules.at_least("lead_for", store.lead_for, &least, "one lost renewal must not end leadership");
}

/// An instance may be allowed more than all together only as long as nobody wrote so.
fn limits_of_all(report: &mut Report, file: &File) {
    let all = file.proxy.max_connections;
    for instance in &file.instance {
        let key = format!("{}.limits.connections", instance.at);
        let own = instance.limits.connections;
        if own > all && report.has(&key) && !report.is_bad(&key) && !report.is_bad("proxy.max_connections") {
            report.problem(&key, format!("at most proxy.max_connections ({all})"), own.to_string(), None);
        }
    }
}
