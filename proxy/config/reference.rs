//! The reference page of the configuration, made from the description of its keys.

use std::fmt::Write;

use super::file::File;
use super::key::{Key, Kind, Section};
use super::read::Table;

const INTRODUCTION: &str = "\
# Configuration

Every key of `hotspare.toml`. This page is made from the program itself: `hotspare config reference` prints it, and
`hotspare config schema` prints the JSON Schema by which an editor completes and checks the file
(`config/hotspare.schema.json`). Examples are in `config/`; `config/minimal.toml` is the smallest file that works.

- A duration is a number and its unit in quotes, such as `\"250ms\"`, `\"2s\"`, `\"1m30s\"`; units are us, ms, s, m, h, d.
- A name has up to 63 letters, digits, `-`, `_` and `.`, and begins with a letter or digit.
- An address to listen on is an IP address and a port (`\"0.0.0.0:1880\"`); a member's address may have a host name.
- Relative paths are taken from the folder of the file.
- A token file holds one token, or two on two lines: both are valid, the first is shown to others. Only its owner may
  be able to read it (`chmod 600`). To change a token without a gap: put the new one on the second line of both ends'
  files, then swap the lines, then remove the old one.
- A key belongs to the last `[header]` above it.
- `hotspare check --config hotspare.toml` says everything that is wrong in a file at once; its exit code is 64 then.
";

/// The page, as Markdown.
pub fn reference() -> String {
    let mut page = INTRODUCTION.to_owned();
    let root = File::section();
    let mut sections = Vec::new();
    collect(&root, "", &mut sections);
    for (header, section) in sections {
        write_section(&mut page, &header, &section).unwrap_or_else(|_| unreachable!("a String takes all"));
    }
    page
}

/// All tables below `section` with their headers, each before those inside it.
fn collect(section: &Section, path: &str, sections: &mut Vec<(String, Section)>) {
    for key in &section.keys {
        let path = if path.is_empty() { key.name.to_owned() } else { format!("{path}.{}", key.name) };
        let inner = match &key.kind {
            Kind::Table(inner) => Some((format!("[{path}]"), inner)),
            Kind::List(item) => match item.as_ref() {
                Kind::Table(inner) => Some((format!("[[{path}]]"), inner)),
                _ => None,
            },
            _ => None,
        };
        if let Some((header, inner)) = inner {
            sections.push((header, inner.clone()));
            collect(inner, &path, sections);
        }
    }
}

fn write_section(page: &mut String, header: &str, section: &Section) -> std::fmt::Result {
    writeln!(page, "\n## `{header}`\n\n{}\n", section.about)?;
    writeln!(page, "| key | takes | default | what it sets, and why one would change it |\n|---|---|---|---|")?;
    for key in &section.keys {
        writeln!(page, "| `{}` | {} | {} | {} |", key.name, cell(&takes(key)), cell(&default(key)), cell(key.about))?;
    }
    Ok(())
}

fn takes(key: &Key) -> String {
    let words = match &key.kind {
        Kind::Table(_) => "a table, below".to_owned(),
        Kind::List(item) => match item.as_ref() {
            Kind::Table(_) => "tables, below".to_owned(),
            Kind::OneOf(words) => format!("list of {}", any_of(words)),
            item => format!("list, each: {}", short(&item.words())),
        },
        Kind::OneOf(words) => any_of(words),
        kind => short(&kind.words()),
    };
    match key.range {
        Some((least, most)) => format!("{words}, {} to {}", plain(&least.to_string()), plain(&most.to_string())),
        None => words,
    }
}

/// The words of a kind without article and example: the forms are explained once, at the top of the page.
fn short(words: &str) -> String {
    let off = if words.ends_with("or \"off\"") { ", or `\"off\"`" } else { "" };
    let end = words.find(" such as").or_else(|| words.find([':', ','])).unwrap_or(words.len());
    let bare = words[..end].trim_end_matches(',').trim_start_matches("a ").trim_start_matches("an ");
    format!("{bare}{off}")
}

fn default(key: &Key) -> String {
    match (key.default, key.otherwise, &key.kind) {
        (Some(default), ..) => format!("`{default}`"),
        (None, Some(otherwise), _) => otherwise.to_owned(),
        (None, None, Kind::Table(inner)) if inner.keys.iter().all(|key| !key.required) => "all defaults".to_owned(),
        (None, None, Kind::List(_)) => "none".to_owned(),
        (None, None, _) if key.required => "**must be there**".to_owned(),
        (None, None, _) => "none".to_owned(),
    }
}

fn any_of(words: &[&str]) -> String {
    words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", ")
}

fn plain(quoted: &str) -> &str {
    quoted.trim_matches('"')
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
