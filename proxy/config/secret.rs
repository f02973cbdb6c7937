//! Secrets: tokens that both ends of a connection know.
//!
//! Owns reading them from files and the environment, and keeps their value out of everything that is
//! printed. It never says what a wrong token looked like.

use std::io::Read;
use std::path::Path;

use hotspare_protocol::{Secret, same_secret};

/// Longest token file that is read, in bytes. It holds two tokens at most.
const MAX_FILE: u64 = 4096;
/// Shortest token that is taken, in characters: 16 random ones can't be tried out.
const MIN_TOKEN: usize = 16;

/// Whether the secrets that a file names are read too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// Read them, and refuse the file if one isn't there: for running.
    Read,
    /// Leave them alone: for checking a file on another machine than the one it is for.
    Skip,
}

/// The tokens that are valid now: one, or two while it is being changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Tokens {
    current: Secret,
    next: Option<Secret>,
}

impl Tokens {
    /// A single token.
    pub fn one(token: Secret) -> Tokens {
        Tokens { current: token, next: None }
    }

    /// The token to show to others: the first line of the file.
    pub fn current(&self) -> &Secret {
        &self.current
    }

    /// All tokens that are taken from others, one or two.
    pub fn valid(&self) -> impl Iterator<Item = &Secret> {
        std::iter::once(&self.current).chain(&self.next)
    }

    /// Whether this is one of the valid tokens.
    pub fn accept(&self, shown: &str) -> bool {
        // Both are looked at in any case, so that the time says nothing of which was nearly right.
        self.valid().fold(false, |found, token| found | same_secret(shown, token.expose()))
    }

    /// Whether some token is valid in both.
    pub fn overlap(&self, other: &Tokens) -> bool {
        self.valid().any(|token| other.accept(token.expose()))
    }

    /// From the text of a token file.
    fn parse(text: &str) -> Result<Tokens, Refused> {
        let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        let (current, next) = match lines.as_slice() {
            [] => return Err(Refused::new("a token", "nothing in it")),
            [current] => (*current, None),
            [current, next] => (*current, Some(*next)),
            more => {
                return Err(Refused::new("one token, or two on two lines", format!("{} lines", more.len())));
            }
        };
        let valid = |token: &str| token.len() >= MIN_TOKEN && token.bytes().all(|byte| byte.is_ascii_graphic());
        if !valid(current) || !next.is_none_or(valid) {
            return Err(Refused {
                expected: format!("a token of {MIN_TOKEN} or more letters, digits and signs, without spaces"),
                found: "another text (not shown, it may be a secret)".to_owned(),
                help: Some("make one with: openssl rand -hex 32".to_owned()),
            });
        }
        Ok(Tokens { current: Secret::new(current), next: next.map(Secret::new) })
    }

    /// What stands in for a secret that is not to be read.
    pub(super) fn unread() -> Tokens {
        Tokens::one(Secret::new(""))
    }
}

/// Why a secret could not be had.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) expected: String,
    pub(super) found: String,
    pub(super) help: Option<String>,
}

impl Refused {
    fn new(expected: impl Into<String>, found: impl Into<String>) -> Refused {
        Refused { expected: expected.into(), found: found.into(), help: None }
    }
}

/// Reads the tokens of a file that nobody but its owner (and root) can read. A file of root's may be readable by a
/// group too: that is the only way in which Kubernetes hands a Secret to a process that is not root.
pub(super) fn read_file(path: &Path) -> Result<Tokens, Refused> {
    let readable = "a token file that can be read";
    let shown = path.display();
    let file = std::fs::File::open(path).map_err(|error| Refused::new(readable, format!("{shown}: {error}")))?;
    let meta = file.metadata().map_err(|error| Refused::new(readable, format!("{shown}: {error}")))?;
    if !meta.is_file() {
        return Err(Refused::new(readable, format!("{shown}, which is no file")));
    }
    if let Some(mode) = hotspare_tls::open_to_others(&meta) {
        return Err(Refused {
            expected: "a token file that only its owner can read".to_owned(),
            found: format!("{shown} with mode {mode:03o}"),
            help: Some(format!("chmod 600 {shown}")),
        });
    }
    let mut text = String::new();
    file.take(MAX_FILE)
        .read_to_string(&mut text)
        .map_err(|error| Refused::new(readable, format!("{shown}: {error}")))?;
    Tokens::parse(&text)
}

/// Reads the token of an environment variable.
pub(super) fn read_env(variable: &str) -> Result<Tokens, Refused> {
    match std::env::var(variable) {
        Ok(text) => Tokens::parse(&text),
        Err(_) => Err(Refused::new("an environment variable with a token", format!("{variable}, which is not set"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lines_are_two_valid_tokens() {
        let tokens = Tokens::parse("0123456789abcdef\nfedcba9876543210\n").expect("two tokens");
        assert!(tokens.accept("0123456789abcdef") && tokens.accept("fedcba9876543210"));
        assert!(!tokens.accept("") && !tokens.accept("0123456789abcde"));
        assert_eq!(tokens.current().expose(), "0123456789abcdef");
        assert!(Tokens::parse("").is_err());
        assert!(Tokens::parse("short").is_err());
        assert!(Tokens::parse("0123456789abcdef\n0123456789abcdef\n0123456789abcdef").is_err());
    }

    #[test]
    fn no_secret_is_printed() {
        let tokens = Tokens::parse("0123456789abcdef\r\n").expect("a token");
        assert!(!format!("{tokens:?}").contains("0123"));
        let refused = Tokens::parse("my secret with spaces").expect_err("refused");
        assert!(!format!("{refused:?}").contains("my secret"));
    }
}
