//! The undertaker beside a launcher, alone.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// systemd sends SIGTERM to the whole service as soon as the launcher has died, which is when this process has its work.
#[test]
fn sigterm_does_not_keep_it_from_its_work() {
    let mut undertaker = Command::new(env!("CARGO_BIN_EXE_hotspare-launcher"))
        .arg("launcher-undertaker")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = Pid::from_child(&undertaker);
    let deadline = Instant::now() + Duration::from_secs(30);
    while !catches_sigterm(undertaker.id()) {
        assert!(Instant::now() < deadline, "after 30 s it still ends on SIGTERM");
        std::thread::yield_now();
    }
    kill_process(pid, Signal::TERM).unwrap();
    undertaker.stdin.take().unwrap().write_all(b"{\"type\":\"dismissed\"}\n").unwrap();
    let end = undertaker.wait().unwrap();
    assert!(end.success(), "it should have ended because it was dismissed, but: {end}");
}

/// Whether the kernel has SIGTERM among the signals that the process handles.
fn catches_sigterm(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() & (1 << (Signal::TERM.as_raw() - 1)) != 0
}
