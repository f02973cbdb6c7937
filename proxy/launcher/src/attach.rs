//! A Node-RED that another launcher starts, such as FlowFuse's nr-launcher: taken on when its module calls.
//!
//! Owns: the socket beside the module's files and the file that tells the module of it; that only a process whose end can
//! be seen is taken on; and that one which an earlier launcher had taken on is gone before this one speaks for its member.
//! Never starts a process. Next: `ungated` for a Node-RED that lacks the module, `node_red` for what is done with one.
//!
//! Whoever runs as the same user can call: so can a flow, and flows are programs anyway.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, getuid, pidfd_open, pidfd_send_signal};
use rustix::time::Timespec;
use serde::{Deserialize, Serialize};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc::Sender;

use crate::module;
use crate::record::StateDir;
use crate::shell::Input;

const SOCKET: &str = "node-red.sock";
const TAKEN_ON: &str = "attached.json";

/// A process whose module has called, and that can be killed and seen to be gone.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) stream: UnixStream,
    pub(crate) pid: Pid,
    pub(crate) pidfd: OwnedFd,
}

/// Which process was taken on last: so that a later launcher knows it, whatever has become of its number.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct TakenOn {
    pid: i32,
    /// When it started, in clock ticks since the machine did.
    started: u64,
    /// Of the machine.
    boot: String,
}

/// Ends what an earlier launcher had taken on, tells the module where to call, and listens.
///
/// # Errors
/// What cannot be made certain or set up, in words.
pub(crate) fn listen(state: &StateDir, member: &str, node_close_timeout_ms: Option<u64>) -> io::Result<UnixListener> {
    end_earlier(state.path())?;
    let socket = state.path().join(SOCKET);
    module::tell_attached(state.path(), member, &socket, node_close_timeout_ms)?;
    match fs::remove_file(&socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&socket)
        .map_err(|error| io::Error::other(format!("the socket {} cannot be made: {error}", socket.display())))?;
    fs::set_permissions(&socket, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Passes callers on to the shell, for ever.
pub(crate) async fn serve(listener: UnixListener, inputs: Sender<Input>) {
    loop {
        let caller = match listener.accept().await {
            Ok((stream, _)) => identify(stream),
            Err(error) => Err(error),
        };
        match caller {
            Ok(caller) => {
                if inputs.send(Input::Attached(caller)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a Node-RED that called cannot be taken on");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn identify(stream: UnixStream) -> io::Result<Caller> {
    let peer = stream.peer_cred()?;
    if peer.uid() != getuid().as_raw() && !getuid().is_root() {
        return Err(io::Error::other("it runs as another user"));
    }
    let pid = peer.pid().filter(|pid| *pid > 0).and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| {
        io::Error::other("its process cannot be seen from here: both must be in the same PID namespace")
    })?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    Ok(Caller { stream, pid, pidfd })
}

/// Remembers a process for a later launcher, before anything can be started in it.
pub(crate) fn remember(state_dir: &Path, pid: Pid) -> io::Result<()> {
    let path = state_dir.join(TAKEN_ON);
    let Some(process) = TakenOn::of(pid)? else { return forget(state_dir) };
    let new = path.with_extension("new");
    // No flush: should the machine end, so does the process.
    fs::write(&new, serde_json::to_vec(&process)?)?;
    fs::rename(new, path)
}

/// Nothing of the last one runs.
pub(crate) fn forget(state_dir: &Path) -> io::Result<()> {
    match fs::remove_file(state_dir.join(TAKEN_ON)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Kills what an earlier launcher had taken on, if it is still there: its flows may run.
fn end_earlier(state_dir: &Path) -> io::Result<()> {
    let path: PathBuf = state_dir.join(TAKEN_ON);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let earlier: TakenOn = serde_json::from_slice(&text)
        .map_err(|error| io::Error::other(format!("{} cannot be read: {error}", path.display())))?;
    let Some(pid) = Pid::from_raw(earlier.pid) else { return forget(state_dir) };
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return forget(state_dir) };
    // Compared after the process is held: whoever has the number now keeps it until then.
    if TakenOn::of(pid)?.as_ref() == Some(&earlier) {
        tracing::warn!(pid = earlier.pid, "a Node-RED of an earlier launcher is ended: its flows may run");
        let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        if !is_gone_within(&pidfd, Some(Timespec { tv_sec: 10, tv_nsec: 0 })) {
            return Err(io::Error::other(format!("process {pid:?}, a Node-RED of an earlier launcher, does not end")));
        }
        end_started_by(pid);
    }
    forget(state_dir)
}

/// Waits until the process has ended, for `time` if there is one.
pub(crate) fn is_gone_within(pidfd: &OwnedFd, time: Option<Timespec>) -> bool {
    matches!(poll(&mut [PollFd::new(pidfd, PollFlags::IN)], time.as_ref()), Ok(1))
}

impl TakenOn {
    /// Of a process that is there; `None` if it is gone.
    fn of(pid: Pid) -> io::Result<Option<Self>> {
        let pid = pid.as_raw_nonzero().get();
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return Ok(None) };
        // `pid (name) state ppid …`, the start is field 22: see proc_pid_stat(5).
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let started = fields.split_whitespace().nth(19).and_then(|ticks| ticks.parse().ok());
        let started = started.ok_or_else(|| io::Error::other("the start of a process cannot be read"))?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        Ok(Some(Self { pid, started, boot }))
    }
}

/// Ends the programs that flows of this Node-RED, which is gone, had started: it led no process group, but they have its
/// number in their environment. One that has taken that away is not found.
pub(crate) fn end_started_by(gone: Pid) {
    let mark = format!("HOTSPARE_PROCESS={}", gone.as_raw_nonzero());
    // Each may have started others meanwhile.
    for _ in 0..100 {
        let marked: Vec<_> =
            processes().filter(|pid| environment_has(*pid, |entry| entry == mark.as_bytes())).collect();
        if marked.is_empty() {
            return;
        }
        for pid in marked {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Every process of this machine, or container.
pub(crate) fn processes() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
}

/// Whether the environment that a process was started with has such an entry (`NAME=value`). Not of one that has ended.
pub(crate) fn environment_has(pid: Pid, is_wanted: impl Fn(&[u8]) -> bool) -> bool {
    environment(pid).split(|byte| *byte == 0).any(is_wanted)
}

/// The environment that a process was started with, each entry ended by a NUL. Empty for one that has ended or has only
/// just begun: its command line can be read a moment before its environment.
pub(crate) fn environment(pid: Pid) -> Vec<u8> {
    fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::process::{Command, Stdio};
    use std::time::Instant;

    #[test]
    fn what_an_earlier_launcher_had_taken_on_is_ended_and_another_with_its_number_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut sleeper = Command::new("sleep").arg("60").stdout(Stdio::null()).spawn().unwrap();
        let pid = Pid::from_child(&sleeper);
        let other = TakenOn { started: 1, ..TakenOn::of(pid).unwrap().unwrap() };
        fs::write(dir.path().join(TAKEN_ON), serde_json::to_vec(&other).unwrap()).unwrap();
        end_earlier(dir.path()).unwrap();
        assert!(sleeper.try_wait().unwrap().is_none(), "it only has the number");
        assert!(!dir.path().join(TAKEN_ON).exists());

        remember(dir.path(), pid).unwrap();
        end_earlier(dir.path()).unwrap();
        assert!(!sleeper.wait().unwrap().success());
        assert!(!dir.path().join(TAKEN_ON).exists());
    }

    #[test]
    fn a_program_is_found_by_its_environment() {
        let mut program = Command::new("sleep").arg("60").env("HOTSPARE_PROCESS", "1999999999").spawn().unwrap();
        let began = Instant::now();
        while environment(Pid::from_child(&program)).is_empty() {
            assert!(began.elapsed() < Duration::from_secs(20), "its environment can't be read");
        }
        end_started_by(Pid::from_raw(1_999_999_999).unwrap());
        assert!(!program.wait().unwrap().success());
    }
}
