//! `hotspare status`: one line for each instance.

use std::io::{self, Write};

use serde_json::Value;

use super::args::StatusArgs;
use super::client::Client;
use super::failure::Failure;
use super::instance;
use super::table::{BAD, Cell, DIM, GOOD, NOTICE, PLAIN, Table, out};
use super::words::{is, list, number, span, text};

/// Shows all instances, or everything about one.
///
/// # Errors
/// When the proxy can't be asked, or has no such instance.
pub async fn status(args: &StatusArgs) -> Result<(), Failure> {
    let status = Client::new(&args.admin)?.status().await?;
    let chosen = match &args.instance {
        Some(name) => Some(find(&status, name)?),
        None => None,
    };
    let mut out = out();
    if args.json {
        let shown = chosen.unwrap_or(&status);
        return Ok(writeln!(out, "{shown:#}")?);
    }
    match chosen {
        Some(one) => instance::write(&mut out, one)?,
        None => write(&mut out, &status)?,
    }
    Ok(())
}

/// The instance of this name.
pub(super) fn find<'s>(status: &'s Value, name: &str) -> Result<&'s Value, Failure> {
    let instances = list(status, "instances");
    instances.iter().find(|one| text(one, "name") == name).ok_or_else(|| {
        let names: Vec<&str> = instances.iter().map(|one| text(one, "name")).collect();
        Failure::refused(format!("there is no instance {name:?}; there are: {}", names.join(", ")))
    })
}

/// Everything at a glance.
pub(super) fn write(out: &mut impl Write, status: &Value) -> io::Result<()> {
    controller(out, &status["controller"])?;
    let mut table =
        Table::new(&["INSTANCE", "STATE", "ACTIVE", "EPOCH", "SINCE", "SPARE", "CONNS", "PARKED", "LAST CHANGE"]);
    for one in list(status, "instances") {
        table.row(vec![
            Cell::plain(text(one, "name")),
            state(one),
            active(one),
            Cell::plain(epoch(one).map(|epoch| epoch.to_string()).unwrap_or_default()),
            Cell::plain(number(one, "since_ms").map(span).unwrap_or_default()),
            spare(one),
            Cell::plain(traffic(one, "connections").map(|count| count.to_string()).unwrap_or_default()),
            parked(one),
            Cell::plain(last_failover(one)),
        ]);
    }
    table.write(out)
}

/// Only what is out of the ordinary: a follower, a store that fails.
fn controller(out: &mut impl Write, controller: &Value) -> io::Result<()> {
    if controller["store_ok"] == false {
        writeln!(out, "{BAD}the store fails: traffic goes on, nothing new is decided{BAD:#}")?;
    }
    if controller["leader"] == false {
        writeln!(out, "{NOTICE}{} is a follower: another proxy decides{NOTICE:#}", text(controller, "name"))?;
    }
    Ok(())
}

/// The state, with whatever keeps it from deciding.
pub(super) fn state(one: &Value) -> Cell {
    let name = text(one, "state").replace('_', " ");
    let flags =
        [("frozen", is(one, "frozen"), BAD), ("blind", is(one, "blind"), BAD), ("paused", is_paused(one), NOTICE)];
    if let Some((flag, _, style)) = flags.into_iter().find(|(_, set, _)| *set) {
        return Cell::new(format!("{name}, {flag}"), style);
    }
    let style = match name.as_str() {
        "active" => GOOD,
        "idle" | "no active" => BAD,
        _ => NOTICE,
    };
    Cell::new(name, style)
}

/// `paused` is the reason, or a flag.
fn is_paused(one: &Value) -> bool {
    is(one, "paused") || one["paused"].is_string()
}

/// The epoch under which the active's flows run, or else the newest one given out.
pub(super) fn epoch(one: &Value) -> Option<u64> {
    let active = list(one, "members").iter().find(|member| text(member, "role") == "active");
    active.and_then(|member| number(member, "tenure")).or_else(|| number(one, "epoch")).filter(|epoch| *epoch > 0)
}

fn active(one: &Value) -> Cell {
    match one["active"].as_str() {
        Some(name) => Cell::plain(name),
        None => Cell::new("none", BAD),
    }
}

/// Whether somebody could take over now, and if not, why.
fn spare(one: &Value) -> Cell {
    let spares: Vec<&Value> = list(one, "members").iter().filter(|member| text(member, "role") != "active").collect();
    let [spare] = spares.as_slice() else { return Cell::new("", PLAIN) };
    let name = text(spare, "name");
    if !is(spare, "ready") {
        return Cell::new(format!("{name} not ready: {}", text(spare, "why_not")), BAD);
    }
    match one["in_sync"].as_bool() {
        Some(true) => Cell::new(format!("{name} ready, in sync"), GOOD),
        Some(false) => Cell::new(format!("{name} ready, but not in sync"), NOTICE),
        // Of this kind of launcher it is not known.
        None => Cell::new(format!("{name} ready"), GOOD),
    }
}

/// A number of the data path, which may stand in a table of its own.
pub(super) fn traffic(one: &Value, field: &str) -> Option<u64> {
    number(&one["traffic"], field).or_else(|| number(one, field))
}

fn parked(one: &Value) -> Cell {
    match traffic(one, "parked") {
        Some(count) if count > 0 => Cell::new(count.to_string(), NOTICE),
        Some(count) => Cell::new(count.to_string(), DIM),
        None => Cell::plain(""),
    }
}

/// `2 h 4 min ago: exit, 41 ms`.
pub(super) fn last_failover(one: &Value) -> String {
    let last = &one["last_failover"];
    if !last.is_object() {
        return String::new();
    }
    let ago = number(last, "ago_ms").map(|ms| format!("{} ago", span(ms)));
    let cause = Some(text(last, "cause").replace('_', " ")).filter(|cause| !cause.is_empty());
    let outage = number(last, "outage_ms").map(span);
    let rest: Vec<String> = cause.into_iter().chain(outage).collect();
    [ago.unwrap_or_default(), rest.join(", ")]
        .iter()
        .filter(|part| !part.is_empty())
        .cloned()
        .collect::<Vec<_>>()
        .join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(status: &Value) -> String {
        let mut text = Vec::new();
        write(&mut anstream::StripStream::new(&mut text), status).expect("a Vec takes all");
        String::from_utf8(text).expect("UTF-8")
    }

    #[test]
    fn one_line_says_who_is_active_and_whether_the_spare_could_take_over() {
        let status = json!({"controller": {"name": "p1", "leader": true, "store_ok": true}, "instances": [
            {"name": "line-1", "state": "active", "active": "a", "epoch": 3, "since_ms": 7_440_000, "in_sync": true,
             "traffic": {"connections": 12, "parked": 0},
             "members": [{"name": "a", "role": "active", "ready": true}, {"name": "b", "role": "standby", "ready": true}],
             "last_failover": {"ago_ms": 86_400_000, "cause": "exited", "outage_ms": 41}},
            {"name": "line-2", "state": "idle", "active": null, "epoch": 0, "since_ms": 500, "frozen": true,
             "members": [{"name": "a", "role": "standby", "ready": false, "why_not": "its link is down"},
                         {"name": "b", "role": "standby", "ready": false, "why_not": "its link is down"}]},
        ]});
        let text = shown(&status);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[1].contains("2 h 4 min  b ready") && lines[1].ends_with("1 d 0 h ago: exited, 41 ms"), "{text}");
        assert!(lines[2].contains("idle, frozen  none"), "{text}");
    }

    #[test]
    fn an_answer_that_lacks_everything_is_shown_all_the_same() {
        assert!(shown(&json!({})).is_empty() || shown(&json!({})).starts_with('\n'));
        assert!(shown(&json!({"instances": [{"name": "x"}]})).contains('x'));
    }
}
