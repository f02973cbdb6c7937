//! Times and amounts that can't work together.
//!
//! A rule is left out where one of its values was refused already: the default stands in for it then,
//! and what the rule said would be about a value nobody wrote.

use std::fmt::Display;
use std::time::Duration;

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
        steps(&mut rules, instance);
        limits(&mut rules, instance);
        limits_of_all(report, file, instance);
    }
    store(report, file);
}

/// What a rule compares: a key and its value, which may be worked out from more than that key.
struct Side<'a, T> {
    keys: &'a [&'a str],
    value: T,
    /// How the value came about, as in "3 heartbeats (300ms)".
    words: String,
}

struct Rules<'r> {
    report: &'r mut Report,
    at: &'r str,
}

impl Rules<'_> {
    /// `low` must not be more than `high`; reported at whichever of `low`'s first key and `high`'s first key the file has.
    fn at_most<T: PartialOrd + Show>(&mut self, low: Side<'_, T>, high: Side<'_, T>, why: &str) {
        if low.value <= high.value {
            return;
        }
        let place = |key: &&str| format!("{}.{key}", self.at);
        let mut keys = low.keys.iter().chain(high.keys).map(place);
        if keys.clone().any(|key| self.report.is_bad(&key)) {
            return;
        }
        let low_is_written = low.keys.iter().any(|key| self.report.has(&place(key)));
        let (blamed, expected) = if low_is_written {
            let key = low.keys.iter().map(place).find(|key| self.report.has(key));
            (key, format!("at most {}: {why}", high.words))
        } else {
            (high.keys.first().map(place), format!("at least {}: {why}", low.words))
        };
        let found = if low_is_written { low.value.show() } else { high.value.show() };
        let blamed = blamed.or_else(|| keys.next()).unwrap_or_default();
        self.report.problem(&blamed, expected, found, None);
    }
}

trait Show {
    fn show(&self) -> String;
}

impl Show for Duration {
    fn show(&self) -> String {
        write_duration(*self)
    }
}

impl Show for u32 {
    fn show(&self) -> String {
        self.to_string()
    }
}

fn side<'a, T: Show>(keys: &'a [&'a str], value: T, words: impl Display) -> Side<'a, T> {
    let words = format!("{words} ({})", value.show());
    Side { keys, value, words }
}

fn lease(rules: &mut Rules<'_>, instance: &Instance) {
    let (lease, health) = (&instance.lease, &instance.health);
    rules.at_most(
        side(&["lease.heartbeat"], lease.heartbeat, "heartbeat"),
        side(&["lease.ttl"], lease.ttl / 3, "a third of lease.ttl"),
        "two lost heartbeats must not end a lease",
    );
    rules.at_most(
        side(&["lease.stop_lead"], lease.stop_lead, "stop_lead"),
        side(
            &["lease.ttl", "lease.heartbeat"],
            lease.ttl.saturating_sub(lease.heartbeat * 2),
            "ttl less two heartbeats",
        ),
        "a lease that is renewed in time must not begin to stop flows",
    );
    rules.at_most(
        side(&["lease.ttl"], lease.ttl, "ttl"),
        side(&["lease.promise"], lease.promise, "promise"),
        "a promise must last longer than the lease that it takes over from",
    );
    rules.at_most(
        side(&["lease.heartbeat"], lease.heartbeat * 2, "two heartbeats"),
        side(&["health.hang_after"], health.hang_after, "health.hang_after"),
        "a hang is told by heartbeats",
    );
}

fn health(rules: &mut Rules<'_>, instance: &Instance) {
    let health = &instance.health;
    rules.at_most(
        side(&["health.timeout"], health.timeout, "timeout"),
        side(&["health.interval"], health.interval, "interval"),
        "a check must end before the next begins",
    );
}

fn steps(rules: &mut Rules<'_>, instance: &Instance) {
    let (timeouts, failover) = (&instance.timeouts, &instance.failover);
    rules.at_most(
        side(
            &["timeouts.drain", "timeouts.stop", "timeouts.start"],
            timeouts.drain + timeouts.stop + timeouts.start,
            "drain, stop and start together",
        ),
        side(&["timeouts.switchover"], timeouts.switchover, "switchover"),
        "a planned switch must have time for its steps",
    );
    rules.at_most(
        side(&["failover.hold_down"], failover.hold_down, "hold_down"),
        side(&["failover.hold_down_max"], failover.hold_down_max, "hold_down_max"),
        "it is what the wait doubles up to",
    );
}

fn limits(rules: &mut Rules<'_>, instance: &Instance) {
    let limits = &instance.limits;
    let connections = || side(&["limits.connections"], limits.connections, "connections");
    rules.at_most(side(&["limits.parked"], limits.parked, "parked"), connections(), "those parked are connections too");
    if let OrOff(Some(per_source)) = limits.per_source {
        let why = "one address can't have more than all";
        rules.at_most(side(&["limits.per_source"], per_source, "per_source"), connections(), why);
    }
}

fn limits_of_all(report: &mut Report, file: &File, instance: &Instance) {
    let all = file.proxy.max_connections;
    if instance.limits.connections > all
        && !report.is_bad("proxy.max_connections")
        && report.has("proxy.max_connections")
    {
        let expected =
            format!("at least {}, which limits.connections of {} allows", instance.limits.connections, instance.name);
        report.problem("proxy.max_connections", expected, all.to_string(), None);
    }
}

fn store(report: &mut Report, file: &File) {
    let store = &file.store;
    let mut rules = Rules { report, at: "store" };
    rules.at_most(
        side(&["renew", "request_timeout"], store.renew * 2 + store.request_timeout, "two renewals and a request"),
        side(&["lead_for"], store.lead_for, "lead_for"),
        "one lost renewal must not end leadership",
    );
}
