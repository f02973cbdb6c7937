//! The `hotspare` binary: one command, done, and an exit code that says how it went.

use std::process::ExitCode;

use clap::Parser;
use hotspare::cli::{self, Cli, Command, Failure, RunArgs};
use hotspare::{demo, panics, run, secrecy};

fn main() -> ExitCode {
    if let Some(code) = hotspare_launcher::hidden(std::env::args_os()) {
        return code;
    }
    match Cli::parse().command {
        Command::Run(args) => proxy(&args),
        Command::Launcher(args) => {
            secrecy::no_core_dump();
            hotspare_launcher::run(args)
        }
        Command::Demo(args) => demo::run(&args),
        Command::Check(args) => cli::exit(cli::check(&args)),
        Command::Config(args) => cli::exit(cli::config(&args)),
        Command::Completions { shell } => cli::exit(cli::completions(shell)),
        Command::Status(args) => wait(cli::status(&args)),
        Command::Watch(args) => wait(cli::watch(&args)),
        Command::Events(args) => wait(cli::events(&args)),
        Command::Explain(args) => wait(cli::explain(&args)),
        Command::Switchover(args) => wait(cli::switchover(&args)),
        Command::Restart(args) => wait(cli::restart(&args)),
        Command::Failover(args) => wait(cli::failover(&args)),
        Command::Pause(args) => wait(cli::pause(&args)),
        Command::Resume(args) => wait(cli::resume(&args)),
        Command::Unfreeze(args) => wait(cli::unfreeze(&args)),
        Command::Fence(args) => wait(cli::fence(&args)),
        Command::Release(args) => wait(cli::release(&args)),
        Command::Drill(args) => wait(cli::drill(&args)),
    }
}

/// `hotspare run`: a valid configuration or nothing, then the log, then the proxy until it is told to stop.
fn proxy(args: &RunArgs) -> ExitCode {
    secrecy::no_core_dump();
    match cli::load(&args.config) {
        Ok(config) => {
            cli::log_to_stderr(&config.log);
            panics::watch();
            run::run(config, &args.config.config, args.takeover)
        }
        Err(failure) => cli::exit(Err(failure)),
    }
}

/// A command that asks a running proxy, and waits for its answer.
fn wait(command: impl Future<Output = Result<(), Failure>>) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => cli::exit(runtime.block_on(Box::pin(command))),
        Err(error) => cli::exit(Err(error.into())),
    }
}
