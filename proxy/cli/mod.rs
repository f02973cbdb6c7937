//! The command line: what each command takes, and how its answer looks on a terminal.
//!
//! Owns arguments, help, tables, exit codes. The commands that look and steer speak with a running proxy over
//! its admin listener and know nothing of its insides; an answer with fields missing or new is shown as far as
//! it goes. Nothing is decided here.
//!
//! Go on with `args` for the commands; then each command has a file of its name.

mod args;
mod check;
mod client;
mod config;
mod events;
mod explain;
mod failure;
mod instance;
mod log;
mod order;
mod status;
mod stream;
mod table;
mod watch;
mod what_if;
mod words;

pub use args::{Cli, Command, ConfigArgs, RunArgs};
pub use check::{check, load};
pub use config::{completions, config};
pub use events::events;
pub use explain::explain;
pub use failure::{Failure, exit};
pub use log::log_to_stderr;
pub use order::{drill, failover, fence, pause, release, restart, resume, switchover, unfreeze};
pub use status::status;
pub use watch::watch;
