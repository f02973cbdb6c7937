//! `hotspare events`: what happened, one line each.

use std::io::{self, Write};
use std::time::Duration;

use serde_json::Value;

use super::args::EventsArgs;
use super::client::Client;
use super::failure::Failure;
use super::stream::Stream;
use super::table::{BAD, DIM, NOTICE, PLAIN, out};
use super::words::{instant, list, number, text};

/// Before it is tried again to follow.
const AGAIN: Duration = Duration::from_secs(1);

/// Shows past events, and those to come where asked.
///
/// # Errors
/// When the proxy can't be asked.
pub async fn events(args: &EventsArgs) -> Result<(), Failure> {
    let client = Client::new(&args.admin)?;
    let instance = args.instance.as_deref().unwrap_or("");
    let since = args.since.unwrap_or(0);
    let past = client.get(&format!("/v1/events?instance={instance}&since={since}")).await?;
    let past = past.as_array().map_or_else(|| list(&past, "events"), Vec::as_slice);
    let newest = &past[past.len().saturating_sub(args.last)..];
    for event in newest {
        write(&mut out(), event, args.json)?;
    }
    if args.follow {
        let last = past.iter().filter_map(|event| number(event, "id")).max().unwrap_or(since);
        follow(&client, instance, last, args.json).await?;
    }
    Ok(())
}

/// Goes on for ever; a proxy that went away is waited for, and nothing it wrote meanwhile is missed.
async fn follow(client: &Client, instance: &str, mut last: u64, json: bool) -> Result<(), Failure> {
    loop {
        let mut stream = Stream::open(client, &format!("?instance={instance}&since={last}&follow=1")).await?;
        while let Some(event) = stream.next().await {
            write(&mut out(), &event, json)?;
            last = number(&event, "id").unwrap_or(last);
        }
        writeln!(io::stderr(), "the proxy closed the stream; asking again")?;
        while client.status().await.is_err() {
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// One event as one line.
pub(super) fn write(out: &mut impl Write, event: &Value, json: bool) -> io::Result<()> {
    if json {
        return writeln!(out, "{event}");
    }
    let style = match text(event, "level") {
        "alarm" => BAD,
        "notice" => NOTICE,
        _ => PLAIN,
    };
    let at = number(event, "at_ms").map(instant).unwrap_or_default();
    let instance = text(event, "instance");
    let said: String = text(event, "text").chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    writeln!(out, "{DIM}{at}{DIM:#}  {instance:<12}  {style}{said}{style:#}")
}
