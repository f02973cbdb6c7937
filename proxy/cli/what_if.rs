//! `hotspare explain INSTANCE --what-if ttl=3s`: how often the active would have changed with other settings.
//!
//! Owns the telling. The observations come from the proxy (or from a copy of its files) and are played here, so that a
//! what-if costs the proxy no more than a look.

use std::io::{self, Write};
use std::time::Duration;

use super::args::ExplainArgs;
use super::client::Client;
use super::failure::Failure;
use super::table::{BOLD, DIM, NOTICE, out};
use super::words::{instant, span};
use crate::clock::wall_ms;
use crate::engine::cause_sentence;
use crate::observations::{Moment, Outcome, compare, stretches};

/// How many failovers of each kind are listed, the newest.
const LISTED: usize = 20;

/// Plays what was observed, and tells what would have been.
///
/// # Errors
/// When the proxy can't be asked, nothing is recorded, or the settings don't fit together.
pub(super) async fn what_if(args: &ExplainArgs) -> Result<(), Failure> {
    let text = if args.observations.is_empty() {
        let path = format!("/v1/instances/{}/observations", args.instance);
        Client::new(&args.admin)?.text(&path).await?
    } else {
        read(&args.observations)?
    };
    let since = args.since.map_or(0, |since| wall_ms().saturating_sub(millis(since)));
    let outcome = compare(&stretches(&text), &args.what_if, since).map_err(Failure::usage)?;
    let mut out = out();
    if args.json {
        return Ok(writeln!(out, "{:#}", serde_json::json!(outcome))?);
    }
    let changes: Vec<String> = args.what_if.iter().map(ToString::to_string).collect();
    Ok(tell(&mut out, &args.instance, &changes.join(", "), &outcome)?)
}

fn read(files: &[std::path::PathBuf]) -> Result<String, Failure> {
    let read = |file: &std::path::PathBuf| {
        std::fs::read_to_string(file).map_err(|error| Failure::usage(format!("{}: {error}", file.display())))
    };
    files.iter().map(read).collect()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn tell(out: &mut impl Write, instance: &str, changes: &str, outcome: &Outcome) -> io::Result<()> {
    if outcome.observed_ms == 0 {
        return writeln!(out, "Nothing was recorded of {instance} in that time.");
    }
    let (real, played, what_if) = (outcome.real.len(), outcome.played.len(), outcome.what_if.len());
    writeln!(
        out,
        "With {BOLD}{changes}{BOLD:#} there would have been {BOLD}{}{BOLD:#} in the {} that were observed, instead of {real}.",
        failovers(what_if),
        span(outcome.observed_ms)
    )?;
    writeln!(out, "{DIM}{instance}, from {} to {} UTC{DIM:#}", instant(outcome.from_ms), instant(outcome.until_ms))?;
    if played != real {
        writeln!(
            out,
            "{NOTICE}Played with the settings of then it gives {played}, not {real}: a start that failed, or a time that \
             was not recorded whole. Take the comparison with care.{NOTICE:#}"
        )?;
    }
    list(out, "What there was", &outcome.real)?;
    list(out, &format!("With {changes}"), &outcome.what_if)?;
    writeln!(
        out,
        "\n{DIM}Played from what was seen: it tells when the active would have changed, not what clients would have met.{DIM:#}"
    )
}

fn failovers(count: usize) -> String {
    match count {
        0 => "no failover".to_owned(),
        1 => "1 failover".to_owned(),
        many => format!("{many} failovers"),
    }
}

fn list(out: &mut impl Write, title: &str, moments: &[Moment]) -> io::Result<()> {
    writeln!(out, "\n{BOLD}{title}{BOLD:#}")?;
    if moments.is_empty() {
        return writeln!(out, "  no failover");
    }
    let hidden = moments.len().saturating_sub(LISTED);
    if hidden > 0 {
        writeln!(out, "  {DIM}and {hidden} before these{DIM:#}")?;
    }
    for moment in &moments[hidden..] {
        let (at, why) = (instant(moment.at_ms), cause_sentence(&moment.why));
        writeln!(out, "  {DIM}{at}{DIM:#}  {} was to be replaced: {why}", moment.from)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotspare_decide::Cause;

    #[test]
    fn the_answer_comes_first_and_in_one_sentence() {
        let moment = |at_ms| Moment { at_ms, from: "plant-a".to_owned(), why: Cause::LeaseExpired };
        let outcome = Outcome {
            from_ms: 0,
            until_ms: 86_400_000 * 30,
            observed_ms: 86_400_000 * 30,
            real: (0..4).map(moment).collect(),
            played: (0..4).map(moment).collect(),
            what_if: vec![moment(3)],
        };
        let mut told = Vec::new();
        tell(&mut anstream::StripStream::new(&mut told), "line-1", "ttl=3s", &outcome).expect("a Vec takes all");
        let told = String::from_utf8_lossy(&told).into_owned();
        let answer = "With ttl=3s there would have been 1 failover in the 30 d 0 h that were observed, instead of 4.\n";
        assert!(told.starts_with(answer), "{told}");
        assert!(!told.contains("with care") && told.contains("plant-a was to be replaced"), "{told}");
    }
}
