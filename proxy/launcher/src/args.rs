//! The command line of `hotspare launcher`.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

/// Start a Node-RED as one of a pair: its flows run only under a lease
///
/// Node-RED comes up with its flows stopped, whatever was stored before. Its editor works. Its flows start when a
/// controller (`hotspare run`) says so, or by hand through the admin API when no controller is given. The state of
/// the launcher is kept in the state folder; give each member its own, and its own Node-RED user folder.
#[derive(Debug, Clone, Args)]
pub struct LauncherArgs {
    /// Name of this member, as the controller's configuration has it
    #[arg(long, default_value = "a", env = "HOTSPARE_NAME")]
    pub name: String,
    /// Name of the instance, as the controller's configuration has it
    #[arg(long, default_value = "default", env = "HOTSPARE_INSTANCE")]
    pub instance: String,
    /// A controller's link address such as ws://proxy:9481, or wss:// where [links] has TLS; give one for each proxy of a group. A name that stands for
    /// several proxies is given once for each, too
    #[arg(long = "controller", value_name = "URL", value_parser = controller_url, env = "HOTSPARE_CONTROLLERS", value_delimiter = ',')]
    pub controllers: Vec<String>,
    /// File that holds this member's token; needed with a controller, and for an admin address that others can reach
    #[arg(long, value_name = "FILE", env = "HOTSPARE_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// Authorities, in PEM, that controllers (wss://) and the peer's launcher (https://) are verified with
    /// [default: those that the system trusts]
    #[arg(long, value_name = "FILE", env = "HOTSPARE_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// This launcher's certificate in PEM: shown to controllers that ask for one, and by the admin API, which speaks
    /// https then. It is read again when it changes
    #[arg(long, value_name = "FILE", requires = "key_file", env = "HOTSPARE_CERT_FILE")]
    pub cert_file: Option<PathBuf>,
    /// The certificate's key, in a file that only its owner can read
    #[arg(long, value_name = "FILE", requires = "cert_file", env = "HOTSPARE_KEY_FILE")]
    pub key_file: Option<PathBuf>,
    /// Folder for what must survive a restart [default: .hotspare in Node-RED's user folder]
    #[arg(long, value_name = "DIR", env = "HOTSPARE_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Address of the admin HTTP API
    #[arg(long, default_value = "127.0.0.1:2880", value_name = "ADDR", env = "HOTSPARE_LAUNCHER_ADMIN")]
    pub admin: SocketAddr,
    /// How long flows may take to stop before the process is killed, when this launcher ends or is told to stop
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = duration)]
    pub stop_grace: Duration,
    /// Overrides Node-RED's nodeCloseTimeout (15s): a node that takes longer ends the process
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub node_close_timeout: Option<Duration>,
    /// Start no Node-RED, but take on the one that another launcher (FlowFuse's nr-launcher) starts with this user folder. It
    /// needs NODE_OPTIONS=--require=STATE_DIR/module/attach.js in its environment
    #[arg(long, value_name = "USER_DIR", env = "HOTSPARE_ATTACH")]
    pub attach: Option<PathBuf>,
    /// Where that launcher's admin API is, such as http://127.0.0.1:2880: told to restart Node-RED when this member is to be
    /// restarted. Without it Node-RED is killed, and comes back with the settings it had
    #[arg(long, value_name = "URL", requires = "attach", conflicts_with = "command", value_parser = launcher_url, env = "HOTSPARE_NR_LAUNCHER")]
    pub nr_launcher: Option<String>,
    /// The command that starts Node-RED, such as: node-red -u /data
    #[arg(last = true, required_unless_present = "attach", conflicts_with = "attach", value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

impl LauncherArgs {
    /// The state folder given, or `.hotspare` in the user folder that the command names (Node-RED's default without).
    pub(crate) fn state_dir(&self) -> PathBuf {
        if let Some(dir) = &self.state_dir {
            return dir.clone();
        }
        if let Some(user_dir) = &self.attach {
            return user_dir.join(".hotspare");
        }
        let mut words = self.command.iter();
        while let Some(word) = words.next() {
            let word = word.to_string_lossy();
            let value = match word.split_once('=') {
                Some(("--userDir", value)) => Some(PathBuf::from(value)),
                _ if word == "-u" || word == "--userDir" => words.next().map(PathBuf::from),
                _ => None,
            };
            if let Some(user_dir) = value {
                return user_dir.join(".hotspare");
            }
        }
        Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(".node-red/.hotspare")
    }
}

fn controller_url(text: &str) -> Result<String, String> {
    let (scheme, host) = text
        .split_once("://")
        .filter(|(scheme, _)| matches!(*scheme, "ws" | "wss"))
        .ok_or("it must begin with ws:// or wss://")?;
    let host = host.trim_end_matches('/');
    let port = host.rsplit_once(':').and_then(|(name, port)| (!name.is_empty()).then_some(port));
    if host.contains('/') || port.is_none_or(|port| port.parse::<u16>().is_err()) {
        return Err(format!("it must be {scheme}://HOST:PORT"));
    }
    Ok(format!("{scheme}://{host}"))
}

fn launcher_url(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("http://").ok_or("it must begin with http://")?.trim_end_matches('/');
    match host.contains('/') || host.is_empty() {
        true => Err("it must be http://HOST:PORT".to_owned()),
        false => Ok(format!("http://{host}")),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| "it must be a number and a unit, such as 500ms or 5s".to_owned())?;
    match &text[digits.len()..] {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        _ => Err("the unit must be ms, s or m".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: LauncherArgs,
    }

    fn parse(words: &[&str]) -> Result<LauncherArgs, clap::Error> {
        Cli::try_parse_from([&["launcher"], words].concat()).map(|cli| cli.args)
    }

    #[test]
    fn the_smallest_command_keeps_its_state_beside_the_flows() {
        let args = parse(&["--", "node-red", "-u", "/data"]).unwrap();
        assert_eq!(args.state_dir(), Path::new("/data/.hotspare"));
        let args = parse(&["--", "node", "red.js", "--userDir=/data"]).unwrap();
        assert_eq!(args.state_dir(), Path::new("/data/.hotspare"));
    }

    #[test]
    fn a_wrong_address_or_time_is_refused() {
        assert!(parse(&["--controller", "http://proxy:9481", "--", "node-red"]).is_err());
        assert!(parse(&["--controller", "ws://proxy", "--", "node-red"]).is_err());
        assert!(parse(&["--stop-grace", "5", "--", "node-red"]).is_err());
        assert!(parse(&[]).is_err());
        assert!(parse(&["--attach", "/data", "--", "node-red"]).is_err(), "it starts none");
        assert!(parse(&["--nr-launcher", "http://127.0.0.1:2880", "--", "node-red"]).is_err());
        let args = parse(&["--attach", "/data", "--nr-launcher", "http://127.0.0.1:2880/"]).unwrap();
        assert_eq!(args.nr_launcher.as_deref(), Some("http://127.0.0.1:2880"));
        assert_eq!(args.state_dir(), Path::new("/data/.hotspare"));
        let args = parse(&["--controller", "ws://p:1/", "--controller", "wss://[::1]:2", "--", "node-red"]).unwrap();
        assert_eq!(args.controllers, ["ws://p:1", "wss://[::1]:2"]);
        assert!(parse(&["--cert-file", "c", "--", "node-red"]).is_err(), "a certificate without its key");
    }
}
