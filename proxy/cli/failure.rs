//! How a command ends: its exit code, and one message where it failed.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::config::{self, Problems};
use crate::http::HttpError;

/// The admin listener can't be reached (`EX_UNAVAILABLE` of sysexits.h).
const UNREACHABLE: u8 = 69;
/// The admin listener refused the token (`EX_NOPERM`).
const NOT_ALLOWED: u8 = 77;

/// Why a command failed, in words, and with which exit code.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// It was refused, or it failed (exit code 1).
    pub fn refused(message: impl Into<String>) -> Self {
        Failure { code: 1, message: message.into() }
    }

    /// Why, in words.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// The command line can't be meant (exit code 2).
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Failure { code: 2, message: message.into() }
    }

    /// The admin listener refused the token (exit code 77).
    pub(super) fn not_allowed(message: impl Into<String>) -> Self {
        Failure { code: NOT_ALLOWED, message: message.into() }
    }

    /// The admin listener can't be reached (exit code 69).
    pub(super) fn unreachable(admin: &str, error: &HttpError) -> Self {
        let message = match error {
            HttpError::Address(_) => {
                return Failure::usage(format!(
                    "{admin:?} is no address of an admin listener; one is http://127.0.0.1:9480"
                ));
            }
            error => format!(
                "the proxy's admin listener at {admin} can't be reached: {error}\n\
                 Is `hotspare run` running there? Another address: --admin URL, or HOTSPARE_ADMIN."
            ),
        };
        Failure { code: UNREACHABLE, message }
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Failure { code: config::EXIT_CODE, message: problems.to_string() }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // Whoever read our output has seen enough, as in `hotspare events | head`.
            io::ErrorKind::BrokenPipe => Failure { code: 0, message: String::new() },
            _ => Failure::refused(error.to_string()),
        }
    }
}

/// The exit code of a command; says on standard error why it failed.
pub fn exit(outcome: Result<(), Failure>) -> ExitCode {
    let Err(Failure { code, message }) = outcome else { return ExitCode::SUCCESS };
    if !message.is_empty() {
        // Where standard error is closed there is nobody left to tell.
        let _ = writeln!(io::stderr(), "{message}");
    }
    ExitCode::from(code)
}
