//! `hotspare check`, and loading the configuration for `run`.

use std::io::Write;

use super::args::{CheckArgs, ConfigArgs};
use super::failure::Failure;
use super::table::out;
use crate::config::{Config, Secrets};

/// The configuration to run with.
///
/// # Errors
/// Everything that is wrong in it.
pub fn load(args: &ConfigArgs) -> Result<Config, Failure> {
    Ok(Config::load(&args.config, Secrets::Read)?)
}

/// Says what is wrong in a configuration, or what it holds.
///
/// # Errors
/// Everything that is wrong in it.
pub fn check(args: &CheckArgs) -> Result<(), Failure> {
    let secrets = if args.without_secrets { Secrets::Skip } else { Secrets::Read };
    let config = Config::load(&args.config.config, secrets)?;
    let mut out = out();
    writeln!(out, "{}: good", args.config.config.display())?;
    for instance in &config.instances {
        let [a, b] = &instance.members;
        let listeners: Vec<String> = instance.listeners.iter().map(|one| one.listen.to_string()).collect();
        let kind = a.launcher.kind();
        writeln!(
            out,
            "  {}: {} -> {} ({}), {} ({}), launcher {kind}",
            instance.name,
            listeners.join(", "),
            a.name,
            a.address,
            b.name,
            b.address
        )?;
    }
    if secrets == Secrets::Skip {
        writeln!(out, "  its token files were not looked at")?;
    }
    Ok(())
}
