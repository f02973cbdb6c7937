//! The launcher by itself, for a machine that needs nothing else of hotspare: `hotspare launcher` without the rest.

use std::process::ExitCode;

use clap::Parser;
use hotspare_launcher::LauncherArgs;

#[derive(Parser)]
#[command(name = "hotspare-launcher", version)]
struct Cli {
    #[command(flatten)]
    launcher: LauncherArgs,
}

fn main() -> ExitCode {
    hotspare_launcher::hidden(std::env::args_os()).unwrap_or_else(|| hotspare_launcher::run(Cli::parse().launcher))
}
