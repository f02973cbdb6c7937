//! What was probably meant: a word that is nearly right, a key that stands in another table.

use super::file::File;
use super::key::{Kind, Section, words_or};
use super::read::{Table, join};
use super::value::Mismatch;

/// A mismatch for a word that should have been one of `words`.
pub(super) fn near(word: &str, words: &[&str]) -> Mismatch {
    Mismatch { expected: Some(words_or(words)), found: None, help: suggest(word, words) }
}

/// The word that was probably meant.
pub(super) fn suggest(word: &str, words: &[&str]) -> Option<String> {
    let folded = word.to_ascii_lowercase().replace('-', "_");
    words
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(&folded, &candidate.replace('-', "_")), *candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(word.len()) / 3).max(1))
        .map(|(_, candidate)| format!("did you mean {candidate}?"))
}

/// For a key that belongs to another table: TOML gives a key to the last table header above it.
pub(super) fn elsewhere(name: &str) -> Option<String> {
    let mut headers = Vec::new();
    owners(&File::section(), "", "the top of the file", name, &mut headers);
    let owners = headers.join(" and ");
    (!headers.is_empty()).then(|| format!("{name} is a key of {owners}; a key belongs to the last [header] above it"))
}

/// Adds the headers of all tables inside `section` that have a key of this name.
fn owners(section: &Section, path: &str, header: &str, name: &str, headers: &mut Vec<String>) {
    for key in &section.keys {
        if key.name == name {
            headers.push(header.to_owned());
        }
        let path = join(path, key.name);
        match &key.kind {
            Kind::Table(inner) => owners(inner, &path, &format!("[{path}]"), name, headers),
            Kind::List(item) => {
                if let Kind::Table(inner) = item.as_ref() {
                    owners(inner, &path, &format!("[[{path}]]"), name, headers);
                }
            }
            _ => {}
        }
    }
}
