//! Faults of processes: signals by process id, and finding the process to send them to.

use std::fs;
use std::process::Child;

use rustix::process::{Pid as RawPid, kill_process, kill_process_group, test_kill_process};

pub use rustix::process::Signal;

/// A process id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pid(RawPid);

impl Pid {
    /// The process id as it stands in JSON or in /proc. `None` for anything that can't be one.
    pub fn new(number: u64) -> Option<Self> {
        RawPid::from_raw(i32::try_from(number).ok()?).map(Pid)
    }

    /// The id of a child.
    pub fn from_child(child: &Child) -> Self {
        Pid(RawPid::from_child(child))
    }

    fn number(self) -> i32 {
        self.0.as_raw_nonzero().get()
    }
}

impl std::fmt::Display for Pid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.number().fmt(f)
    }
}

/// Sends a signal to one process. One that is already gone is no error: faults race with what they hit.
pub fn signal(pid: Pid, signal: Signal) {
    let _ = kill_process(pid.0, signal);
}

/// Sends a signal to a process group.
pub fn signal_group(pid: Pid, signal: Signal) {
    let _ = kill_process_group(pid.0, signal);
}

/// `kill -9`.
pub fn kill(pid: Pid) {
    signal(pid, Signal::KILL);
}

/// SIGSTOP: the process keeps its memory, its sockets and its belief that no time has passed.
pub fn freeze(pid: Pid) {
    signal(pid, Signal::STOP);
}

/// SIGCONT.
pub fn thaw(pid: Pid) {
    signal(pid, Signal::CONT);
}

/// Whether the process exists and isn't a zombie.
pub fn is_alive(pid: Pid) -> bool {
    test_kill_process(pid.0).is_ok() && stat(pid).is_some_and(|stat| stat.state != 'Z')
}

/// How many descriptors a process has open.
///
/// # Panics
/// If it is gone.
pub fn open_descriptors(pid: Pid) -> usize {
    fs::read_dir(format!("/proc/{}/fd", pid.number())).expect("the process lives").count()
}

/// What a process has in memory, in KiB.
///
/// # Panics
/// If it is gone.
pub fn resident_kib(pid: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.number())).expect("the process lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line of proc(5)");
    line.trim().trim_end_matches(" kB").parse().expect("a number of kB")
}

/// The Node-RED that runs below `ancestor` (its launcher), if there is one. Node-RED names itself `node-red`.
pub fn node_red_below(ancestor: Pid) -> Option<Pid> {
    descendants(ancestor).into_iter().find(|pid| stat(*pid).is_some_and(|stat| stat.name == "node-red"))
}

/// All processes below `ancestor`, parents first.
pub fn descendants(ancestor: Pid) -> Vec<Pid> {
    let parents: Vec<(Pid, Pid)> = fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| Pid::new(entry.ok()?.file_name().to_str()?.parse().ok()?))
        .filter_map(|pid| Some((pid, Pid::new(stat(pid)?.parent)?)))
        .collect();
    let mut found = vec![ancestor];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

struct Stat {
    name: String,
    state: char,
    parent: u64,
}

/// Reads /proc/PID/stat (proc(5)). `None` if the process is gone.
fn stat(pid: Pid) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{}/stat", pid.number())).ok()?;
    // The name stands in parentheses and may hold any character, also a closing one.
    let (before, after) = text.rsplit_once(')')?;
    let name = before.split_once('(')?.1.to_owned();
    let mut fields = after.split_whitespace();
    Some(Stat { name, state: fields.next()?.chars().next()?, parent: fields.next()?.parse().ok()? })
}
