//! The configuration: from a TOML file to a `Config` in which everything is typed, complete and possible.
//!
//! Owns the keys and their defaults (`file`), reading (`read`, `value`), what values mean together
//! (`check`), secrets (`secret`), and what is made from all that: the difference between two configurations
//! for a reload (`diff`), the JSON Schema (`schema`) and the reference page (`reference`).
//! It never opens a socket, and never guesses: a file with anything wrong in it is refused as a whole,
//! with every problem at once.
//!
//! Two layers: `file::File` is what is written, `Config` (in `model`) is what is meant. Go on with `file` for the keys,
//! with `build` for the step between the two.

mod build;
mod check;
mod decide;
mod diff;
mod example;
mod file;
mod key;
mod model;
mod problem;
mod read;
mod reference;
mod report;
mod schema;
mod secret;
mod section;
mod suggest;
mod value;

use std::path::Path;

pub use diff::{Change, Difference};
pub use example::example;
pub use file::{
    CheckKind, DrillFault, EventKind, Failover, Isolated, Lease, Limits, Log, LogFormat, Protocol, ProxyHeader, Role,
    Timeouts,
};
pub use model::{
    Admin, AdminUser, Check, Config, Drill, Health, Hook, HookAction, Instance, Launcher, Links, Listener, Member,
    MemberTls, Proxy, Store, StoreKind, Unreachable,
};
pub use problem::{EXIT_CODE, Problem, Problems};
pub use reference::reference;
pub use schema::schema;
pub use secret::{Secrets, Tokens};
pub use value::parse_duration;
pub use value::{HostPort, Label, LogFilter, Name, Network, OrOff, Percent, Sni, StatusRange, Url, Window};

impl Config {
    /// Reads, checks and completes a configuration file.
    ///
    /// # Errors
    /// Every problem at once, also when the file can't be read at all.
    pub fn load(path: &Path, secrets: Secrets) -> Result<Config, Problems> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| Problems {
            file: file.clone(),
            list: vec![Problem {
                line: 1,
                column: 1,
                key: String::new(),
                expected: "a file that can be read".to_owned(),
                found: error.to_string(),
                help: None,
            }],
        })?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Config::parse(&file, &text, folder, secrets)
    }

    /// The same from a text; relative paths in it are taken from `folder`.
    ///
    /// # Errors
    /// Every problem at once.
    pub fn parse(file: &str, text: &str, folder: &Path, secrets: Secrets) -> Result<Config, Problems> {
        let mut report = report::Report::new(file, text);
        let config = read::read_file(&mut report, text).and_then(|file| {
            check::check(&mut report, &file);
            build::Builder::new(&mut report, folder, secrets).config(file)
        });
        report.finish(config)
    }

    /// The instance of this name.
    pub fn instance(&self, name: &str) -> Option<&Instance> {
        self.instances.iter().find(|instance| instance.name.as_str() == name)
    }
}
