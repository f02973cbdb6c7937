//! `hotspare explain`: the story of the last change, and what would happen now.

use std::io::{self, Write};

use serde_json::Value;

use super::args::ExplainArgs;
use super::client::Client;
use super::failure::Failure;
use super::table::{BOLD, DIM, out};
use super::words::{instant, number, text};

/// Tells it in sentences.
///
/// # Errors
/// When the proxy can't be asked, or has no such instance.
pub async fn explain(args: &ExplainArgs) -> Result<(), Failure> {
    let story = Client::new(&args.admin)?.get(&format!("/v1/instances/{}/explain", args.instance)).await?;
    let mut out = out();
    if args.json {
        writeln!(out, "{story:#}")?
    } else {
        tell(&mut out, &story)?
    }
    Ok(())
}

/// A story is a table of chapters, each a sentence, a list of sentences, or a list of events with their times.
/// What there is gets told under its name, in the order the proxy has it.
fn tell(out: &mut impl Write, story: &Value) -> io::Result<()> {
    match story {
        Value::Object(chapters) => {
            for (name, chapter) in chapters.iter().filter(|(_, chapter)| !is_empty(chapter)) {
                writeln!(out, "{BOLD}{}{BOLD:#}", name.replace('_', " "))?;
                sentences(out, chapter, 1)?;
                writeln!(out)?;
            }
            Ok(())
        }
        other => sentences(out, other, 0),
    }
}

fn sentences(out: &mut impl Write, chapter: &Value, depth: usize) -> io::Result<()> {
    let indent = "  ".repeat(depth);
    match chapter {
        Value::Array(items) => items.iter().try_for_each(|item| sentences(out, item, depth)),
        Value::Object(_) if chapter["text"].is_string() => {
            let at = number(chapter, "at_ms").map(instant).unwrap_or_default();
            writeln!(out, "{indent}{DIM}{at}{DIM:#}  {}", text(chapter, "text"))
        }
        Value::Object(fields) => {
            for (name, value) in fields.iter().filter(|(_, value)| !is_empty(value)) {
                match value {
                    Value::Array(_) | Value::Object(_) => {
                        writeln!(out, "{indent}{}:", name.replace('_', " "))?;
                        sentences(out, value, depth + 1)?;
                    }
                    Value::String(said) => writeln!(out, "{indent}{}: {said}", name.replace('_', " "))?,
                    plain => writeln!(out, "{indent}{}: {plain}", name.replace('_', " "))?,
                }
            }
            Ok(())
        }
        Value::String(said) => writeln!(out, "{indent}{said}"),
        plain => writeln!(out, "{indent}{plain}"),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(said) => said.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_story_is_told_in_the_order_it_has() {
        let story = json!({"now": {"to": "b", "sentences": ["b would take over."]},
                           "last_change": [{"at_ms": 0, "text": "a exited"}], "nothing": []});
        let mut told = Vec::new();
        tell(&mut anstream::StripStream::new(&mut told), &story).expect("a Vec takes all");
        let told = String::from_utf8_lossy(&told).into_owned();
        assert!(told.contains("b would take over.") && told.contains("1970-01-01 00:00:00.000  a exited"), "{told}");
        assert!(!told.contains("nothing"), "{told}");
    }
}
