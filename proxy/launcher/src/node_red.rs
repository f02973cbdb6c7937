//! One Node-RED process, from its start to its reaping.
//!
//! Owns: the process group, the module's socket, the pipes of its output, and the certainty that it is gone. Never
//! decides to start or to kill. What happens arrives as [`Happening`]s with the number of the process, so that a late
//! word of a dead one is told apart. Next: `module` for what is said on the socket, `shell` for who listens.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process_group, pidfd_send_signal, test_kill_process_group, waitpgid,
};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio::sync::mpsc::Sender;

use crate::attach::{Caller, end_started_by, is_gone_within};
use crate::child;
use crate::logs::{Logs, MAX_LINE_BYTES};
use crate::module::{Order, Report};
use crate::output::Output;

/// Longest line taken from the module; its own lines are below 1 KiB but for long lists of node types.
const MAX_REPORT_BYTES: u64 = 64 * 1024;

/// What a process did. `run` is the number given to [`NodeRed::start`].
#[derive(Debug)]
pub(crate) struct Happening {
    pub(crate) run: u64,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    Report(Report),
    /// The process was reaped: it is gone, and so is all its group.
    Gone(Ending),
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
}

impl From<ExitStatus> for Ending {
    fn from(status: ExitStatus) -> Self {
        Self { code: status.code(), signal: status.signal() }
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "exit code {code}"),
            (None, Some(signal)) => write!(f, "signal {signal}"),
            (None, None) => f.write_str("how is for its own launcher to say"),
        }
    }
}

/// How to start Node-RED.
#[derive(Debug)]
pub(crate) struct How<'a> {
    /// Program and arguments.
    pub(crate) command: &'a [OsString],
    /// The file that it holds locked as long as it lives.
    pub(crate) lock: &'a Path,
    pub(crate) nice: i32,
    /// The module's variables.
    pub(crate) environment: BTreeMap<&'static str, String>,
}

/// A process that was started, or taken on, and is not known to be gone.
#[derive(Debug)]
pub(crate) struct NodeRed {
    pid: Pid,
    orders: OwnedWriteHalf,
    /// Of one that another launcher started: it leads no process group.
    pidfd: Option<Arc<OwnedFd>>,
}

impl NodeRed {
    /// Starts Node-RED as leader of a new process group.
    ///
    /// Must be called on the main thread: the process dies with the *thread* that started it.
    pub(crate) fn start(
        run: u64,
        how: How<'_>,
        logs: &Arc<Mutex<Logs>>,
        output: &Output,
        happenings: &Sender<Happening>,
    ) -> io::Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let (reports, orders) = UnixStream::from_std(ours)?.into_split();
        let mut child = Command::new("/proc/self/exe")
            .arg0("hotspare")
            .arg(child::SUBCOMMAND)
            .arg(getpid().as_raw_nonzero().to_string())
            .arg(how.lock)
            .arg(how.nice.to_string())
            .args(how.command)
            .envs(how.environment)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let pid = child
            .id()
            .and_then(|pid| Pid::from_raw(pid.cast_signed()))
            .ok_or_else(|| io::Error::other("the process ended before it had a number"))?;
        if let Some(out) = child.stdout.take() {
            tokio::spawn(keep_output(out, Arc::clone(logs), output.clone()));
        }
        if let Some(err) = child.stderr.take() {
            tokio::spawn(keep_output(err, Arc::clone(logs), output.clone()));
        }
        tokio::spawn(read_reports(run, reports, happenings.clone()));
        tokio::spawn(reap(run, pid, child, happenings.clone()));
        Ok(Self { pid, orders, pidfd: None })
    }

    /// Takes on a process that another launcher has started.
    pub(crate) fn attach(run: u64, caller: Caller, happenings: &Sender<Happening>) -> io::Result<Self> {
        let Caller { stream, pid, pidfd } = caller;
        let pidfd = Arc::new(pidfd);
        let (reports, orders) = stream.into_split();
        let (watched, to) = (Arc::clone(&pidfd), happenings.clone());
        std::thread::Builder::new().name("attached".to_owned()).spawn(move || see_off(run, pid, &watched, &to))?;
        tokio::spawn(read_reports(run, reports, happenings.clone()));
        Ok(Self { pid, orders, pidfd: Some(pidfd) })
    }

    /// Whether another launcher started it.
    pub(crate) fn is_attached(&self) -> bool {
        self.pidfd.is_some()
    }

    /// The process, which leads the group of the same number unless another launcher started it.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends an order without waiting. An error means that the process does not read: it must be killed.
    pub(crate) fn order(&self, order: &Order) -> io::Result<()> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        match self.orders.try_write(&line) {
            Ok(written) if written == line.len() => Ok(()),
            Ok(_) => Err(io::Error::other("the module's socket is full")),
            Err(error) => Err(error),
        }
    }

    /// SIGKILLs the whole group. That it is gone is said by [`What::Gone`] only.
    pub(crate) fn kill(&self) {
        match &self.pidfd {
            Some(pidfd) => drop(pidfd_send_signal(pidfd, Signal::KILL)),
            None => kill_group(self.pid),
        }
    }

    /// SIGTERM to Node-RED itself, which then stops its flows, saves its context and exits.
    pub(crate) fn terminate(&self) {
        match &self.pidfd {
            Some(pidfd) => drop(pidfd_send_signal(pidfd, Signal::TERM)),
            None => drop(rustix::process::kill_process(self.pid, Signal::TERM)),
        }
    }

    /// Resident memory in bytes and processor time in seconds so far, of Node-RED itself.
    pub(crate) fn usage(&self) -> Option<(u64, f64)> {
        crate::resources::usage(Path::new(&self.proc()))
    }

    /// How long its event loop has waited for a processor so far; nothing where the kernel doesn't say.
    pub(crate) fn waited(&self) -> Duration {
        crate::resources::waited(Path::new(&self.proc())).unwrap_or_default()
    }

    fn proc(&self) -> String {
        format!("/proc/{}", self.pid.as_raw_nonzero())
    }
}

/// SIGKILLs every process of the group; none left is no error.
pub(crate) fn kill_group(leader: Pid) {
    let _ = kill_process_group(leader, Signal::KILL);
}

/// Whether any process of the group still runs. One that has ended and waits for its parent to notice does not: whose
/// launcher was killed gets a new parent, which may take seconds over it.
pub(crate) fn group_lives(leader: Pid) -> bool {
    if test_kill_process_group(leader).is_err() {
        return false;
    }
    let Ok(processes) = std::fs::read_dir("/proc") else { return true };
    processes.filter_map(Result::ok).any(|process| {
        let Ok(stat) = std::fs::read_to_string(process.path().join("stat")) else { return false };
        // `pid (name) state ppid pgrp …`, see proc_pid_stat(5).
        let mut fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
        let (state, group) = (fields.next(), fields.nth(1).and_then(|group| group.parse().ok()));
        !matches!(state, Some("Z" | "X")) && group == Some(leader.as_raw_nonzero().get())
    })
}

async fn reap(run: u64, pid: Pid, mut child: Child, happenings: Sender<Happening>) {
    let ending = match child.wait().await {
        Ok(status) => Ending::from(status),
        Err(_) => Ending { code: None, signal: None },
    };
    // Programs that its flows had started are of its group: they go with it. Where the launcher is their next parent
    // (the first process of a container) it must reap them as well.
    let mut pause = Duration::from_millis(1);
    kill_group(pid);
    while group_lives(pid) {
        while let Ok(Some(_)) = waitpgid(pid, WaitOptions::NOHANG) {}
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
        kill_group(pid);
    }
    let _ = happenings.send(Happening { run, what: What::Gone(ending) }).await;
}

/// Waits for the end of a process that another launcher started, and ends what its flows had started.
fn see_off(run: u64, pid: Pid, pidfd: &OwnedFd, happenings: &Sender<Happening>) {
    // A wait that failed is no end.
    while !is_gone_within(pidfd, None) {
        std::thread::sleep(Duration::from_millis(50));
    }
    end_started_by(pid);
    let ending = Ending { code: None, signal: None };
    let _ = happenings.blocking_send(Happening { run, what: What::Gone(ending) });
}

async fn read_reports(run: u64, reports: OwnedReadHalf, happenings: Sender<Happening>) {
    let mut reports = BufReader::new(reports);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reports).take(MAX_REPORT_BYTES).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        match serde_json::from_slice(&line) {
            Ok(report) => {
                if happenings.send(Happening { run, what: What::Report(report) }).await.is_err() {
                    return;
                }
            }
            Err(error) => tracing::warn!(%error, "the module sent what is no report"),
        }
    }
}

/// Passes each line on to our own output and keeps it for the log.
async fn keep_output(from: impl AsyncRead + Unpin, logs: Arc<Mutex<Logs>>, output: Output) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut from).take(MAX_LINE_BYTES as u64).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        output.line(text);
        if !text.is_empty() {
            logs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).node_red(text);
        }
    }
}
