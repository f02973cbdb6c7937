//! A Node-RED of this member that has no gate must not run: it would start its flows without asking anybody.
//!
//! Owns: a thread that looks for one and kills it, several times in the time that Node-RED takes to load its flows. It is
//! there for a mistake: another launcher that does not, or no longer, pass `NODE_OPTIONS` on. Next: `attach`.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::attach::{environment, processes};

/// Node-RED takes a few hundred milliseconds at least from its start to its flows.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A process is looked at so often after it was first seen: until it has become what it is going to be.
const LOOKS: u32 = 100;

/// Which Node-RED is this member's, and how one with a gate is known.
#[derive(Debug)]
pub(crate) struct Ungated {
    /// Node-RED's user folder.
    pub(crate) user_dir: PathBuf,
    /// The file that `NODE_OPTIONS` has to name, as `canonicalize` has it.
    pub(crate) module: PathBuf,
}

impl Ungated {
    /// Looks for ever, in a thread of its own; `say` is told of each that was killed.
    pub(crate) fn watch(self, say: impl Fn(&str) + Send + 'static) -> io::Result<()> {
        let look = move || {
            let mut looks: HashMap<i32, u32> = HashMap::new();
            loop {
                let mut now: HashMap<i32, u32> = HashMap::with_capacity(looks.len());
                for pid in processes() {
                    let number = pid.as_raw_nonzero().get();
                    let count = looks.get(&number).copied().unwrap_or(0);
                    if count < LOOKS && self.is_one(pid) && self.kill(pid) {
                        say(&format!(
                            "killed process {number}: a Node-RED of {} without this launcher's module, whose flows would run \
                             unasked; it needs NODE_OPTIONS=--require={}",
                            self.user_dir.display(),
                            self.module.display()
                        ));
                    }
                    now.insert(number, count.saturating_add(1));
                }
                looks = now;
                thread::sleep(LOOK_EVERY);
            }
        };
        thread::Builder::new().name("ungated".to_owned()).spawn(look).map(drop)
    }

    fn is_one(&self, pid: Pid) -> bool {
        is_node_red_of(pid, &self.user_dir) && !self.has_gate(pid)
    }

    fn has_gate(&self, pid: Pid) -> bool {
        let names_it = |word: &str| fs::canonicalize(word).is_ok_and(|path| path == self.module);
        let environment = environment(pid);
        let named = environment.split(|byte| *byte == 0).any(|entry| {
            let options = entry.strip_prefix(b"NODE_OPTIONS=").unwrap_or_default();
            // `--require=FILE`, `-r FILE`, quoted or not, and by whatever way the file is reached.
            String::from_utf8_lossy(options).split([' ', '=', '"']).any(names_it)
        });
        // One that has only just begun is looked at again.
        named || environment.is_empty()
    }

    /// Kills it, unless the number is another's by now.
    fn kill(&self, pid: Pid) -> bool {
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
        self.is_one(pid) && pidfd_send_signal(&pidfd, Signal::KILL).is_ok()
    }
}

/// Whether it is a Node-RED of this user folder: its command line names both; but Node-RED soon changes that to its name
/// alone, and then its working folder tells, which is below the user folder under FlowFuse's launcher.
fn is_node_red_of(pid: Pid, user_dir: &Path) -> bool {
    let proc = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
    let Ok(line) = fs::read(proc.join("cmdline")) else { return false };
    let line = String::from_utf8_lossy(&line);
    let words: Vec<&str> = line.split('\0').filter(|word| !word.is_empty()).collect();
    let is_node_red = words.iter().any(|word| {
        let name = Path::new(word).file_name().and_then(|name| name.to_str());
        matches!(name, Some("red.js" | "node-red" | "node-red.js"))
    });
    let named = || {
        let given = words.iter().enumerate().find_map(|(at, word)| match *word {
            "-u" | "--userDir" => words.get(at + 1).copied(),
            word => word.strip_prefix("--userDir="),
        });
        given.is_some_and(|given| fs::canonicalize(given).is_ok_and(|given| given == user_dir))
    };
    is_node_red && (named() || fs::read_link(proc.join("cwd")).is_ok_and(|cwd| cwd.starts_with(user_dir)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command};
    use std::time::Instant;

    /// A program that looks from outside like Node-RED.
    fn like_node_red(dir: &Path, options: Option<&str>) -> Child {
        let mut command = Command::new("sleep");
        command.arg0("node-red").arg("60").current_dir(dir);
        match options {
            Some(options) => command.env("NODE_OPTIONS", options),
            None => command.env_remove("NODE_OPTIONS"),
        };
        command.spawn().unwrap()
    }

    #[test]
    fn only_one_without_the_module_and_of_this_folder_counts() {
        let dir = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        let module = fs::canonicalize(other.path()).unwrap().join("attach.js");
        fs::write(&module, "").unwrap();
        std::os::unix::fs::symlink(other.path(), dir.path().join("link")).unwrap();
        let reached = dir.path().join("link/attach.js");
        let ungated = Ungated { user_dir: fs::canonicalize(dir.path()).unwrap(), module };
        let options = format!("--trace-warnings --require=\"{}\"", reached.display());
        let mut gated = like_node_red(dir.path(), Some(&options));
        let mut elsewhere = like_node_red(other.path(), None);
        let mut bare = like_node_red(dir.path(), None);
        assert!(!ungated.is_one(Pid::from_child(&gated)));
        assert!(!ungated.is_one(Pid::from_child(&elsewhere)));
        let deadline = Instant::now() + Duration::from_secs(30);
        while !ungated.kill(Pid::from_child(&bare)) {
            assert!(Instant::now() < deadline, "{:?} is not known for a Node-RED without the module", bare.id());
            thread::yield_now();
        }
        assert!(!bare.wait().unwrap().success());
        for child in [&mut gated, &mut elsewhere] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
