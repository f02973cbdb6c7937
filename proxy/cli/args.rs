//! Every command with its arguments and its help.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::observations::Change;

/// Hot-spare failover for Node-RED.
///
/// In front of every pair of Node-REDs stands `hotspare run`, a proxy that decides which of the two is active.
/// Beside every Node-RED stands `hotspare launcher`, which starts it and lets its flows run only while it may.
#[derive(Debug, Parser)]
#[command(name = "hotspare", version, max_term_width = 110, arg_required_else_help = true, after_help = AFTER_HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "\
First steps:
  hotspare demo                           a failover of a real pair, as a client sees it
  hotspare check --config hotspare.toml   everything wrong in a configuration, at once
  hotspare run --config hotspare.toml     the proxy
  hotspare status                         one line for each instance
  hotspare explain line-1                 why it failed over, or what would happen now

Exit codes:
  0   done, or all is well
  1   refused or failed; the message says why
  2   the command line is wrong
  64  the configuration is wrong
  69  the admin listener can't be reached
  77  the admin listener refused the token";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the proxy: carry traffic, watch the members, decide.
    #[command(
        after_help = "SIGTERM ends it: no new connections, the open ones finish up to [proxy] drain. SIGHUP reads the \
                            configuration again; a wrong one changes nothing. SIGUSR2 upgrades it: the program that \
                            stands in its place now is started with --takeover."
    )]
    Run(RunArgs),
    /// Say everything that is wrong in a configuration.
    #[command(after_help = "Example:\n  hotspare check --config hotspare.toml\n  \
                            hotspare check --config hotspare.toml --without-secrets   on another machine, without the token files")]
    Check(CheckArgs),
    /// Run beside a Node-RED: start it, watch it, let its flows run only under a lease.
    Launcher(hotspare_launcher::LauncherArgs),
    /// Show a failover of a real pair on this machine.
    Demo(crate::demo::Args),
    /// Show all instances, one line each; or everything about one.
    #[command(after_help = "Examples:\n  hotspare status\n  hotspare status line-1\n  \
                            hotspare status --json | jq '.instances[] | select(.active == null) | .name'")]
    Status(StatusArgs),
    /// Show the status again and again until stopped.
    Watch(WatchArgs),
    /// Show what happened: decisions, changes, alarms.
    #[command(after_help = "Examples:\n  hotspare events line-1\n  hotspare events --follow\n  \
                            hotspare events --follow --json | jq -r .text")]
    Events(EventsArgs),
    /// Say why an instance failed over, or why it didn't, and what would happen now.
    #[command(after_help = "Examples:\n  hotspare explain line-1\n  \
                            hotspare explain line-1 --what-if ttl=3s --since 30d      how often would it have failed over?\n  \
                            hotspare explain line-1 --what-if hold_down=10s --what-if max_per_hour=3")]
    Explain(ExplainArgs),
    /// Make the other member active, without loss.
    #[command(after_help = "Clients wait meanwhile; whatever fails goes back to the old active.\n\nExamples:\n  \
                            hotspare switchover line-1 --check          would it work now?\n  \
                            hotspare switchover line-1 --reason 'new disk for a'")]
    Switchover(SwitchoverArgs),
    /// Restart both Node-REDs one after the other, without loss.
    #[command(
        after_help = "The spare first; when it is ready again the switch; then the other. The first failure stops it, \
                            with the service where it was."
    )]
    Restart(ReasonArgs),
    /// Make the other member active although the old one can't be stopped for certain.
    #[command(
        after_help = "This is for an active that can neither be reached nor proven dead, and that you know to be off. If it \
                            isn't, its flows run twice until somebody stops it."
    )]
    Failover(FailoverArgs),
    /// No automatic decision for a while.
    #[command(after_help = "Traffic goes on. It ends by itself; `hotspare resume` ends it sooner.\n\nExample:\n  \
                            hotspare pause line-1 --for 30m --reason 'moving switch 3'")]
    Pause(PauseArgs),
    /// End a pause.
    Resume(InstanceArgs),
    /// Allow failovers again after too many in an hour.
    Unfreeze(InstanceArgs),
    /// Make certain that a member runs no flows, and keep it so.
    #[command(after_help = "Fencing the active fails over. `hotspare release` allows the member again.")]
    Fence(MemberArgs),
    /// Allow a fenced member again.
    Release(MemberArgs),
    /// Rehearse a fault on a healthy pair, and report what clients saw.
    Drill(DrillArgs),
    /// What a configuration can hold: its JSON Schema, the reference page, a file with every key.
    Config(ConfigDumpArgs),
    /// Print a completion script for a shell.
    #[command(after_help = "Example:\n  hotspare completions bash > /etc/bash_completion.d/hotspare")]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Take the place of the hotspare that runs with the same `[store] dir`: its listening sockets, its launchers, its
    /// decisions. No client is refused; what is connected there finishes up to [proxy] drain.
    #[arg(long)]
    pub takeover: bool,
}

/// Which configuration.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// The configuration file.
    #[arg(long, short, env = "HOTSPARE_CONFIG", value_name = "FILE", default_value = "/etc/hotspare/hotspare.toml")]
    pub config: PathBuf,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Leave alone the token files that it names.
    #[arg(long)]
    pub without_secrets: bool,
}

/// Where the admin listener is.
#[derive(Debug, Clone, Args)]
pub struct AdminArgs {
    /// The proxy's admin listener.
    #[arg(
        long,
        env = "HOTSPARE_ADMIN",
        value_name = "URL",
        default_value = "http://127.0.0.1:9480",
        help_heading = "Proxy"
    )]
    pub admin: String,
    /// File with the token for it; HOTSPARE_ADMIN_TOKEN may hold the token itself.
    #[arg(long, env = "HOTSPARE_ADMIN_TOKEN_FILE", value_name = "FILE", help_heading = "Proxy")]
    pub token_file: Option<PathBuf>,
    /// Authorities, in PEM, that it is verified with (https://) [default: those that the system trusts].
    #[arg(long, env = "HOTSPARE_ADMIN_CA_FILE", value_name = "FILE", help_heading = "Proxy")]
    pub ca_file: Option<PathBuf>,
    /// Certificate, in PEM, that says who you are.
    #[arg(long, env = "HOTSPARE_ADMIN_CERT_FILE", value_name = "FILE", requires = "key_file", help_heading = "Proxy")]
    pub cert_file: Option<PathBuf>,
    /// Its key, in a file that only you can read.
    #[arg(long, env = "HOTSPARE_ADMIN_KEY_FILE", value_name = "FILE", requires = "cert_file", help_heading = "Proxy")]
    pub key_file: Option<PathBuf>,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// One instance; all if left out.
    pub instance: Option<String>,
    /// What the proxy itself says, as JSON.
    #[arg(long)]
    pub json: bool,
    /// Where to ask.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// Arguments of `watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// One instance; all if left out.
    pub instance: Option<String>,
    /// How often to look, such as 500ms or 5s.
    #[arg(long, default_value = "1s", value_parser = duration)]
    pub every: Duration,
    /// Where to ask.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// Arguments of `events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// One instance; all if left out.
    pub instance: Option<String>,
    /// Go on with what happens from now.
    #[arg(long, short)]
    pub follow: bool,
    /// Only events after this one.
    #[arg(long, value_name = "ID")]
    pub since: Option<u64>,
    /// How many of the newest to show.
    #[arg(long, short = 'n', default_value_t = 50)]
    pub last: usize,
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
    /// Where to ask.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Which instance.
    pub instance: String,
    /// Play what was observed again with this setting, such as ttl=3s; several can be given.
    #[arg(long, value_name = "KEY=VALUE", value_parser = Change::parse)]
    pub what_if: Vec<Change>,
    /// For --what-if: how far back to go, such as 30d; all that is kept if left out.
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "what_if")]
    pub since: Option<Duration>,
    /// For --what-if: copies of the proxy's files, oldest first, instead of asking it.
    #[arg(long, value_name = "FILE", requires = "what_if")]
    pub observations: Vec<PathBuf>,
    /// What the proxy itself says, as JSON.
    #[arg(long)]
    pub json: bool,
    /// Where to ask.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// What every order takes.
#[derive(Debug, Clone, Args)]
pub struct InstanceArgs {
    /// Which instance.
    pub instance: String,
    /// The answer as JSON.
    #[arg(long)]
    pub json: bool,
    /// Where to ask.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// An order with a reason.
#[derive(Debug, Clone, Args)]
pub struct ReasonArgs {
    /// What every order takes.
    #[command(flatten)]
    pub order: InstanceArgs,
    /// Why, for the record.
    #[arg(long)]
    pub reason: Option<String>,
}

/// Arguments of `switchover`.
#[derive(Debug, Args)]
pub struct SwitchoverArgs {
    /// What every order takes.
    #[command(flatten)]
    pub order: ReasonArgs,
    /// The member to make active; the spare if left out.
    #[arg(long, value_name = "MEMBER")]
    pub to: Option<String>,
    /// Only say whether it would work now.
    #[arg(long)]
    pub check: bool,
}

/// Arguments of `failover`.
#[derive(Debug, Args)]
pub struct FailoverArgs {
    /// What every order takes.
    #[command(flatten)]
    pub order: ReasonArgs,
    /// Needed, so that nobody takes this for a switchover.
    #[arg(long, required = true)]
    pub force: bool,
    /// Don't ask.
    #[arg(long, short)]
    pub yes: bool,
}

/// Arguments of `pause`.
#[derive(Debug, Args)]
pub struct PauseArgs {
    /// What every order takes.
    #[command(flatten)]
    pub order: InstanceArgs,
    /// How long, such as 30m or 2h; it ends by itself.
    #[arg(long = "for", value_name = "DURATION", default_value = "1h", value_parser = duration)]
    pub duration: Duration,
    /// Why, for the record and for whoever sees the pause.
    #[arg(long, required = true)]
    pub reason: String,
}

/// An order for one member.
#[derive(Debug, Args)]
pub struct MemberArgs {
    /// What every order takes.
    #[command(flatten)]
    pub order: ReasonArgs,
    /// Which member.
    #[arg(long, value_name = "MEMBER")]
    pub member: String,
    /// Don't ask.
    #[arg(long, short)]
    pub yes: bool,
}

/// Arguments of `drill`.
#[derive(Debug, Args)]
pub struct DrillArgs {
    /// What every order takes.
    #[command(flatten)]
    pub order: ReasonArgs,
    /// What is done to the active.
    #[arg(long, value_enum, default_value_t = Fault::Switchover)]
    pub fault: Fault,
}

/// What a drill does to the active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// Kill its Node-RED.
    Crash,
    /// Make its event loop stand still.
    Hang,
    /// Cut its launcher off.
    Partition,
    /// Nothing: a planned switch.
    Switchover,
}

/// Arguments of `config`.
#[derive(Debug, Args)]
pub struct ConfigDumpArgs {
    /// What to print.
    #[arg(value_enum)]
    pub what: ConfigDump,
}

/// What `config` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ConfigDump {
    /// The JSON Schema, for editors.
    Schema,
    /// Every key with type, default and reason, as Markdown.
    Reference,
    /// A file with every key in it, most of them commented out.
    Example,
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::config::parse_duration(text).ok_or_else(|| "a duration such as 500ms, 30m or 2h".to_owned())
}
