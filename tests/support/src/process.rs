//! A child process that can't outlive its test: its whole process group is killed when the guard is dropped.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::fault::{self, Pid, Signal};
use crate::wait::wait_until;

/// Lines of output that are kept; older ones are dropped.
const KEPT_LINES: usize = 50_000;
/// How long the output of a process that has ended may take to be read, and how long those below it to be gone.
const LAST_WORDS: Duration = Duration::from_secs(5);

type Lines = Arc<Mutex<VecDeque<String>>>;

/// A running (or ended) process and what it wrote.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    lines: Lines,
    readers: Vec<JoinHandle<()>>,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` in a process group of its own, with its output captured. `name` is for messages.
    ///
    /// # Panics
    /// If it can't be started.
    pub fn start(name: &str, command: Command) -> Self {
        Self::start_with(name, command, Stdio::null())
    }

    /// The same with something to read from, or whatever else is to be its descriptor 0.
    ///
    /// # Panics
    /// As [`Process::start`].
    pub fn start_with(name: &str, mut command: Command, stdin: Stdio) -> Self {
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("can't start {name} ({command:?}): {error}"));
        let lines = Lines::default();
        let readers = vec![collect(child.stdout.take(), &lines), collect(child.stderr.take(), &lines)];
        Process { name: name.to_owned(), child, lines, readers, ended: None }
    }

    /// The process id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends a signal to this process alone.
    pub fn signal(&self, signal: Signal) {
        fault::signal(self.pid(), signal);
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        self.poll().is_none()
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// If it is still running after `deadline`, with what it wrote.
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let (name, lines) = (self.name.clone(), Arc::clone(&self.lines));
        let status =
            wait_until(deadline, &format!("end of {name}"), || self.poll().ok_or_else(|| Tail(tail(&lines, 20))));
        // What it wrote last may still be on its way; a child that lives on may hold the pipe open for ever.
        let began = Instant::now();
        while began.elapsed() < LAST_WORDS && !self.readers.iter().all(JoinHandle::is_finished) {
            std::thread::sleep(Duration::from_millis(1));
        }
        status
    }

    /// Kills it with SIGKILL and waits for its end. Its children are left alone, as they are when a program crashes.
    pub fn kill(&mut self) {
        if self.poll().is_none() {
            self.signal(Signal::KILL);
            self.wait(Duration::from_secs(10));
        }
    }

    /// Asks it to end with SIGTERM and waits.
    pub fn terminate(&mut self, deadline: Duration) -> ExitStatus {
        if self.poll().is_none() {
            self.signal(Signal::TERM);
        }
        self.wait(deadline)
    }

    /// Everything it wrote to stdout and stderr, in order of arrival (the last lines if there were very many).
    pub fn output(&self) -> String {
        tail(&self.lines, KEPT_LINES)
    }

    /// Waits for a line that contains `text` and returns it.
    ///
    /// # Panics
    /// If none has come by `deadline`, or the process has ended without it.
    pub fn wait_for_line(&mut self, deadline: Duration, text: &str) -> String {
        let what = format!("a line with {text:?} from {}", self.name);
        wait_until(deadline, &what, || {
            let ended = self.poll();
            if let Some(line) = lock(&self.lines).iter().find(|line| line.contains(text)) {
                return Ok(line.clone());
            }
            if let Some(status) = ended {
                panic!("{} ended ({status}) without a line with {text:?}:\n{}", self.name, self.output());
            }
            Err(Tail(tail(&self.lines, 20)))
        })
    }

    fn poll(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().unwrap_or_else(|error| panic!("can't wait for {}: {error}", self.name));
        }
        self.ended
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing below may stay behind, not even what has made itself a group of its own.
        let below = if self.ended.is_none() { fault::descendants(self.pid()) } else { Vec::new() };
        fault::signal_group(self.pid(), Signal::KILL);
        below.iter().copied().for_each(fault::kill);
        if self.ended.is_none() {
            let _ = self.child.wait();
        }
        // What they listened on is free for the next test only once they are gone.
        let began = Instant::now();
        while began.elapsed() < LAST_WORDS && below.iter().any(|pid| fault::is_alive(*pid)) {
            std::thread::sleep(Duration::from_millis(1));
        }
        if std::thread::panicking() {
            eprintln!("--- last lines of {}:\n{}", self.name, tail(&self.lines, 60));
        }
    }
}

/// Runs a short command to its end and returns what it wrote to stdout.
///
/// # Panics
/// If it can't be started or fails, with what it wrote to stderr.
pub fn run(program: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let output = command.output().unwrap_or_else(|error| panic!("can't start {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {} {}",
        output.status.code().map_or_else(|| format!("signal {:?}", output.status.signal()), |code| code.to_string()),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Debug output that keeps its line breaks.
struct Tail(String);

impl std::fmt::Debug for Tail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "its last lines:\n{}", self.0)
    }
}

fn collect(stream: Option<impl Read + Send + 'static>, lines: &Lines) -> JoinHandle<()> {
    let stream = stream.expect("stream was piped");
    let lines = Arc::clone(lines);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let mut lines = lock(&lines);
            if lines.len() == KEPT_LINES {
                lines.pop_front();
            }
            lines.push_back(String::from_utf8_lossy(&line).into_owned());
        }
    })
}

fn tail(lines: &Lines, count: usize) -> String {
    let lines = lock(lines);
    let skipped = lines.len().saturating_sub(count);
    lines.iter().skip(skipped).cloned().collect::<Vec<_>>().join("\n")
}

fn lock(lines: &Lines) -> std::sync::MutexGuard<'_, VecDeque<String>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}
