//! The launcher by itself, for a machine that needs nothing else of hotspare: `hotspare launcher` without the rest.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use hotspare_launcher::LauncherArgs;
use tracing_subscriber::EnvFilter;

#[derive(Parser)]
#[command(name = "hotspare-launcher", version)]
struct Cli {
    #[command(flatten)]
    launcher: LauncherArgs,
}

fn main() -> ExitCode {
    if let Some(code) = hotspare_launcher::hidden(std::env::args_os()) {
        return code;
    }
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let ansi = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi).init();
    hotspare_launcher::run(cli.launcher)
}
