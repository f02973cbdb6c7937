//! `hotspare config` and `hotspare completions`: what editors and shells want to know.

use std::io::Write;

use clap::CommandFactory;

use super::args::{Cli, ConfigDump, ConfigDumpArgs};
use super::failure::Failure;
use super::table::out;
use crate::config;

/// Prints what a configuration can hold.
///
/// # Errors
/// When it can't be written.
pub fn config(args: &ConfigDumpArgs) -> Result<(), Failure> {
    let text = match args.what {
        ConfigDump::Schema => config::schema(),
        ConfigDump::Reference => config::reference(),
        ConfigDump::Example => config::example(),
    };
    Ok(out().write_all(text.as_bytes())?)
}

/// Prints a completion script.
///
/// # Errors
/// When it can't be written.
pub fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "hotspare", &mut script);
    Ok(out().write_all(&script)?)
}
