//! `hotspare status INSTANCE`: everything about one instance.

use std::io::{self, Write};

use serde_json::Value;

use super::status::{epoch, last_failover, state, traffic};
use super::table::{BAD, BOLD, Cell, DIM, GOOD, NOTICE, PLAIN, Table};
use super::words::{bytes, is, list, number, span, text};

/// Writes it from the top: state, members, traffic, what happened last.
pub(super) fn write(out: &mut impl Write, one: &Value) -> io::Result<()> {
    let mut head = Table::new(&["", ""]);
    let mut line = |name: &str, cell: Cell| {
        if !cell.is_empty() {
            head.row(vec![Cell::new(name, DIM), cell]);
        }
    };
    line("state", state(one));
    line("", Cell::plain(text(one, "detail")));
    line("active", active(one));
    line("since", Cell::plain(number(one, "since_ms").map(span).unwrap_or_default()));
    line("route", Cell::plain(text(one, "route")));
    line("pause", Cell::new(pause(one), NOTICE));
    line("in sync", in_sync(one));
    line("last change", Cell::plain(last_failover(one)));
    line("proof", Cell::plain(text(&one["last_failover"], "proof").replace('_', " ")));
    for listener in list(one, "listeners") {
        line("listener", Cell::plain(format!("{} ({})", text(listener, "address"), text(listener, "name"))));
    }
    line("traffic", Cell::plain(traffic_line(one)));
    line("closed", Cell::plain(counts(&one["traffic"]["closed"])));
    line("failovers", Cell::plain(counts(&one["failovers"])));
    line("switchovers", Cell::plain(counts(&one["switchovers"])));
    line("ignored", Cell::new(counts(&one["ignored"]), DIM));
    writeln!(out, "{BOLD}{}{BOLD:#}", text(one, "name"))?;
    head.write(out)?;
    writeln!(out)?;
    members(out, one)
}

fn active(one: &Value) -> Cell {
    match (one["active"].as_str(), epoch(one)) {
        (Some(name), Some(epoch)) => Cell::new(format!("{name}, epoch {epoch}"), GOOD),
        (Some(name), None) => Cell::new(name, GOOD),
        (None, _) => Cell::new("none", BAD),
    }
}

fn pause(one: &Value) -> String {
    let left = number(one, "pause_left_ms").map(|ms| format!("ends in {}", span(ms)));
    let reason = one["paused"].as_str().map(str::to_owned);
    reason.into_iter().chain(left).collect::<Vec<_>>().join("; ")
}

fn in_sync(one: &Value) -> Cell {
    match one["in_sync"].as_bool() {
        Some(true) => Cell::new("yes", GOOD),
        Some(false) => Cell::new(format!("no: {}", text(one, "differs")), BAD),
        None => Cell::plain(""),
    }
}

fn traffic_line(one: &Value) -> String {
    let count = |field: &str, what: &str| traffic(one, field).map(|count| format!("{count} {what}"));
    let size = |field: &str, what: &str| traffic(one, field).map(|count| format!("{} {what}", bytes(count)));
    let parts = [
        count("connections", "connections"),
        count("parked", "parked"),
        count("connections_total", "so far"),
        size("bytes_in", "in"),
        size("bytes_out", "out"),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// `crash 2, hang 1` from `{"crash": 2, "hang": 1}`; those of zero are left out.
fn counts(value: &Value) -> String {
    let entries = value.as_object().into_iter().flatten();
    let entries = entries.filter(|(_, count)| count.as_u64() != Some(0));
    entries.map(|(name, count)| format!("{} {count}", name.replace('_', " "))).collect::<Vec<_>>().join(", ")
}

fn members(out: &mut impl Write, one: &Value) -> io::Result<()> {
    let headings = [
        "MEMBER",
        "ROLE",
        "READY",
        "FLOWS",
        "TENURE",
        "LEASE LEFT",
        "LAG",
        "HEALTH",
        "LINK",
        "HEARD",
        "KIND",
        "ADDRESS",
        "NODE-RED",
    ];
    let mut table = Table::new(&headings);
    let ms = |member: &Value, field: &str| number(member, field).map(span).unwrap_or_default();
    for member in list(one, "members") {
        table.row(vec![
            Cell::plain(text(member, "name")),
            Cell::new(text(member, "role"), if text(member, "role") == "active" { GOOD } else { PLAIN }),
            ready(member),
            Cell::plain(text(member, "flows")),
            Cell::plain(number(member, "tenure").map(|epoch| epoch.to_string()).unwrap_or_default()),
            Cell::plain(ms(member, "lease_left_ms")),
            Cell::plain(ms(member, "lag_ms")),
            word(member, "health", "healthy"),
            word(member, "link", "up"),
            Cell::plain(number(member, "heard_ms").map(|ms| format!("{} ago", span(ms))).unwrap_or_default()),
            Cell::new(text(member, "kind"), DIM),
            Cell::new(text(member, "address"), DIM),
            Cell::new(text(member, "node_red"), DIM),
        ]);
    }
    table.write(out)?;
    let spares = list(one, "members").iter().filter(|member| text(member, "role") != "active");
    for member in spares.filter(|member| !text(member, "why_not").is_empty()) {
        writeln!(out, "{NOTICE}{} is not ready: {}{NOTICE:#}", text(member, "name"), text(member, "why_not"))?;
    }
    let mut said = Vec::new();
    for member in list(one, "members").iter().filter(|member| !text(member, "cannot_promise").is_empty()) {
        let line = format!("{} can't promise everything: {}", text(member, "kind"), text(member, "cannot_promise"));
        if !said.contains(&line) {
            writeln!(out, "{DIM}{line}{DIM:#}")?;
            said.push(line);
        }
    }
    Ok(())
}

fn ready(member: &Value) -> Cell {
    match (text(member, "role"), is(member, "ready")) {
        ("active", _) => Cell::plain("-"),
        (_, true) => Cell::new("yes", GOOD),
        (_, false) => Cell::new("no", BAD),
    }
}

fn word(member: &Value, field: &str, good: &str) -> Cell {
    let word = text(member, field);
    Cell::new(word, if word == good { GOOD } else { NOTICE })
}
