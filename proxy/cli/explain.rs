//! `hotspare explain`: what would happen now, how the last change came about, and what kept one from coming about.
//!
//! Owns the telling. The facts are the proxy's: its forecast, and the event log, in which every decision left what
//! was seen, which proof it had and how long it took.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::args::ExplainArgs;
use super::client::Client;
use super::failure::Failure;
use super::status::find;
use super::table::{BOLD, DIM, out};
use super::words::{instant, is, list, number, span, text};

/// Events this long before a change's own first one belong to its story.
const BEFORE_MS: u64 = 5_000;
/// And these after its end.
const AFTER_MS: u64 = 10_000;
/// What is seen before a change is decided.
const SIGNS: [&str; 3] = ["suspected", "cleared", "link"];
/// What comes of a change.
const OUTCOMES: [&str; 6] = ["plan_ended", "link", "spare_ready", "spare_not_ready", "out_of_sync", "in_sync"];
/// How many of the things that kept a failover from happening are told.
const KEPT: usize = 5;

/// Tells it in sentences.
///
/// # Errors
/// When the proxy can't be asked, or has no such instance.
pub async fn explain(args: &ExplainArgs) -> Result<(), Failure> {
    if !args.what_if.is_empty() {
        return super::what_if::what_if(args).await;
    }
    let client = Client::new(&args.admin)?;
    let status = client.status().await?;
    let one = find(&status, &args.instance)?;
    let story = client.get(&format!("/v1/instances/{}/explain", args.instance)).await?;
    let events = client.get(&format!("/v1/events?instance={}", args.instance)).await?;
    let events = events.as_array().map_or_else(|| list(&events, "events"), Vec::as_slice);
    let change = last_change(events);
    let mut out = out();
    if args.json {
        let all = json!({"instance": one, "explain": story, "last_change": change, "kept": kept(events)});
        return Ok(writeln!(out, "{all:#}")?);
    }
    tell_now(&mut out, one, &story)?;
    tell_change(&mut out, one, change)?;
    tell_kept(&mut out, events)?;
    Ok(())
}

fn tell_now(out: &mut impl Write, one: &Value, story: &Value) -> io::Result<()> {
    writeln!(out, "{BOLD}Now{BOLD:#}")?;
    let detail = text(one, "detail");
    let active = one["active"].as_str().map_or("No member is active".to_owned(), |name| format!("{name} is active"));
    let since = number(one, "since_ms").map(|ms| format!(" since {}", span(ms))).unwrap_or_default();
    writeln!(out, "  {active}{since}.")?;
    if !detail.is_empty() {
        writeln!(out, "  {detail}")?;
    }
    for sentence in list(&story["if_the_active_died_now"], "sentences").iter().filter_map(Value::as_str) {
        writeln!(out, "  {sentence}")?;
    }
    Ok(())
}

fn tell_change(out: &mut impl Write, one: &Value, change: &[Value]) -> io::Result<()> {
    let Some(first) = change.first() else {
        return writeln!(out, "\n{BOLD}The last change{BOLD:#}\n  None is in the event log.");
    };
    let began = number(first, "at_ms").unwrap_or(0);
    writeln!(out, "\n{BOLD}The last change{BOLD:#}, from {} UTC", instant(began))?;
    for entry in change {
        let after = number(entry, "at_ms").unwrap_or(began).saturating_sub(began);
        let at = format!("+{}", span(after));
        writeln!(out, "  {DIM}{at:>12}{DIM:#}  {}", text(entry, "text"))?;
    }
    if let Some(seen) = change.iter().map(|entry| &entry["event"]["observations"]).find(|seen| seen.is_object()) {
        writeln!(out, "  What was seen when it was decided:")?;
        for (member, side) in list(one, "members").iter().zip(["a", "b"]) {
            writeln!(out, "    {}: {}", text(member, "name"), observation(&seen[side]))?;
        }
    }
    if let Some(end) = change.iter().map(|entry| &entry["event"]).find(|event| text(event, "event") == "active") {
        let detect = number(end, "detect_ms").map(|ms| format!("Until it was noticed: {}. ", span(ms)));
        let took = number(end, "took_ms").map(|ms| format!("From the decision to the new active: {}.", span(ms)));
        writeln!(out, "  {}{}", detect.unwrap_or_default(), took.unwrap_or_default())?;
    }
    Ok(())
}

/// What was seen of a member, in one line.
fn observation(seen: &Value) -> String {
    let flows = text(seen, "flows");
    let heard = number(seen, "heard_ms_ago").map(|ms| format!("heard {} ago", span(ms)));
    let parts = [
        Some(if is(seen, "linked") { "linked" } else { "not linked" }.to_owned()),
        heard,
        Some(format!("flows {flows}")).filter(|_| !flows.is_empty()),
        number(seen, "lag_ms").filter(|ms| *ms > 0).map(|ms| format!("event loop {} late", span(ms))),
        number(seen, "lease_left_ms")
            .filter(|ms| *ms > 0)
            .map(|ms| format!("its lease certainly over in {}", span(ms))),
        (!is(seen, "healthy")).then(|| "checks failing".to_owned()),
        seen["not_ready"].as_str().filter(|_| flows == "stopped").map(|why| format!("not ready: {why}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn tell_kept(out: &mut impl Write, events: &[Value]) -> io::Result<()> {
    let kept = kept(events);
    if kept.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{BOLD}What kept the next one from happening{BOLD:#}")?;
    for entry in kept {
        writeln!(
            out,
            "  {DIM}{}{DIM:#}  {}",
            number(entry, "at_ms").map(instant).unwrap_or_default(),
            text(entry, "text")
        )?;
    }
    Ok(())
}

fn kind(entry: &Value) -> &str {
    text(&entry["event"], "event")
}

/// The newest events since the last change that say why nothing was done.
fn kept(events: &[Value]) -> Vec<&Value> {
    let since = events.iter().rposition(|entry| kind(entry) == "active").map_or(0, |index| index + 1);
    let events = &events[since..];
    let says_why_not = ["stuck", "blind", "frozen", "paused", "refused", "cleared", "stalled", "journal_failing"];
    let mut kept: Vec<&Value> = events.iter().rev().filter(|e| says_why_not.contains(&kind(e))).take(KEPT).collect();
    kept.reverse();
    kept
}

/// The events that belong to the newest change of the active, in order; empty if none is in the log.
///
/// It begins with the decision (the first step of a planned one), or with the signs that came shortly before it, and
/// ends with what came of it.
fn last_change(events: &[Value]) -> &[Value] {
    let at = |index: usize| number(&events[index], "at_ms").unwrap_or(0);
    let is_any = |index: usize, kinds: &[&str]| kinds.contains(&kind(&events[index]));
    let Some(end) = events.iter().rposition(|entry| kind(entry) == "active") else { return &[] };
    let since = (0..end).rev().find(|index| is_any(*index, &["active", "plan_ended"])).map_or(0, |index| index + 1);
    let decision = match events[end]["event"]["planned"] == true {
        true => (since..end).find(|index| is_any(*index, &["step"])),
        false => (since..end).rev().find(|index| is_any(*index, &["failover_began"])),
    };
    let began = decision.or_else(|| (since..end).find(|index| is_any(*index, &["start_ordered"]))).unwrap_or(end);
    let is_sign = |index: &usize| is_any(*index, &SIGNS) && at(*index) + BEFORE_MS >= at(began);
    let first = (since..began).rev().take_while(is_sign).last().unwrap_or(began);
    let is_outcome = |index: &usize| is_any(*index, &OUTCOMES) && at(*index) <= at(end) + AFTER_MS;
    let last = (end + 1..events.len()).take_while(is_outcome).last().unwrap_or(end);
    &events[first..=last]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(at_ms: u64, event: &str, text: &str) -> Value {
        json!({"id": at_ms, "at_ms": at_ms, "instance": "line-1", "text": text, "event": {"event": event}})
    }

    fn log() -> Vec<Value> {
        let mut log = vec![
            entry(1_000, "active", "a is active"),
            entry(50_000, "spare_ready", "b is ready"),
            entry(90_000, "suspected", "a refused a connection"),
            entry(90_001, "failover_began", "a exited"),
            entry(90_002, "fenced", "a is fenced: exit receipt"),
            entry(90_040, "active", "b is active"),
            entry(95_000, "spare_not_ready", "a is booting"),
            entry(500_000, "stuck", "the spare is not ready"),
        ];
        log[3]["event"]["observations"] = json!({"a": {"linked": true, "heard_ms_ago": 12, "healthy": true}, "b": {}});
        log[5]["event"]["took_ms"] = json!(39);
        log
    }

    #[test]
    fn a_change_is_told_from_its_first_sign_to_its_end() {
        let log = log();
        let change = last_change(&log);
        assert_eq!((text(&change[0], "text"), change.len()), ("a refused a connection", 5));
        assert!(last_change(&log[1..2]).is_empty());
        assert_eq!(kept(&log).len(), 1);
    }

    #[test]
    fn the_story_has_times_sights_and_proof() {
        let one = json!({"active": "b", "since_ms": 410_000, "detail": "a is ready.",
                         "members": [{"name": "plant-a"}, {"name": "plant-b"}]});
        let story = json!({"if_the_active_died_now": {"sentences": ["plant-a would take over."]}});
        let mut told = Vec::new();
        {
            let mut plain = anstream::StripStream::new(&mut told);
            tell_now(&mut plain, &one, &story).expect("a Vec takes all");
            tell_change(&mut plain, &one, last_change(&log())).expect("a Vec takes all");
            tell_kept(&mut plain, &log()).expect("a Vec takes all");
        }
        let told = String::from_utf8_lossy(&told).into_owned();
        for part in
            ["plant-a would take over.", "+40 ms  b is active", "plant-a: linked, heard 12 ms ago", "active: 39 ms"]
        {
            assert!(told.contains(part), "{part} is not in:\n{told}");
        }
    }
}
