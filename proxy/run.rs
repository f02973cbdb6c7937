//! `hotspare run`: the proxy from start to end.

use std::path::PathBuf;

use crate::config::Config;

/// Runs until it is told to stop. `file` is where `config` came from, to be read again on SIGHUP.
///
/// # Errors
/// When it could not start.
pub async fn run(config: Config, file: PathBuf) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    Err(format!("{}: {} is not wired yet", file.display(), config.name).into())
}
