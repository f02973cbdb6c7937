//! `hotspare watch`: the status again and again; on a terminal in place, else whenever it has changed.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use serde_json::Value;

use super::args::WatchArgs;
use super::client::Client;
use super::failure::Failure;
use super::table::{BAD, DIM, out};
use super::words::instant;
use super::{instance, status};
use crate::clock::wall_ms;

/// To the top left; and clear from there.
const HOME: &str = "\x1b[H\x1b[J";

/// Shows the status until it is stopped. A proxy that can't be reached is said, and asked again.
///
/// # Errors
/// When the first answer doesn't come, or output can't be written.
pub async fn watch(args: &WatchArgs) -> Result<(), Failure> {
    let client = Client::new(&args.admin)?;
    let on_terminal = std::io::stdout().is_terminal();
    let mut answer = Ok(client.status().await?);
    let mut shown = String::new();
    loop {
        let text = render(&answer, args.instance.as_deref())?;
        if on_terminal {
            let now = instant(wall_ms());
            write!(out(), "{HOME}{DIM}{now} UTC, {}{DIM:#}\n{text}", client.base())?;
        } else if text != shown {
            writeln!(out(), "{text}")?;
        }
        shown = text;
        tokio::time::sleep(args.every.max(Duration::from_millis(50))).await;
        answer = client.status().await;
    }
}

fn render(answer: &Result<Value, Failure>, name: Option<&str>) -> Result<String, Failure> {
    let mut text = Vec::new();
    match (answer, name) {
        (Ok(all), Some(name)) => instance::write(&mut text, status::find(all, name)?)?,
        (Ok(all), None) => status::write(&mut text, all)?,
        (Err(failure), _) => writeln!(text, "{BAD}{}{BAD:#}", failure.message())?,
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}
