//! The `hotspare` binary: which command, the configuration, the log, then the command itself.

use std::process::ExitCode;

use clap::Parser;
use hotspare::cli::{self, Cli, Command, Failure};

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return cli::exit(Err(error.into())),
    };
    cli::exit(runtime.block_on(Box::pin(perform(Cli::parse().command))))
}

async fn perform(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run(args) => {
            let config = cli::load(&args)?;
            cli::log_to_stderr(&config.log);
            hotspare::run::run(config, args.config).await.map_err(|error| Failure::refused(error.to_string()))
        }
        Command::Check(args) => cli::check(&args),
        Command::Launcher(_) => Err(Failure::refused("the launcher is not wired yet")),
        Command::Demo(_) => Err(Failure::refused("the demo is not wired yet")),
        Command::Status(args) => cli::status(&args).await,
        Command::Watch(args) => cli::watch(&args).await,
        Command::Events(args) => cli::events(&args).await,
        Command::Explain(args) => cli::explain(&args).await,
        Command::Switchover(args) => cli::switchover(&args).await,
        Command::Restart(args) => cli::restart(&args).await,
        Command::Failover(args) => cli::failover(&args).await,
        Command::Pause(args) => cli::pause(&args).await,
        Command::Resume(args) => cli::resume(&args).await,
        Command::Unfreeze(args) => cli::unfreeze(&args).await,
        Command::Fence(args) => cli::fence(&args).await,
        Command::Release(args) => cli::release(&args).await,
        Command::Drill(args) => cli::drill(&args).await,
        Command::Config(args) => cli::config(&args),
        Command::Completions { shell } => cli::completions(shell),
    }
}
