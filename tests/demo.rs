//! `hotspare demo` as a new user runs it, and what it says when something is missing.

#![allow(clippy::unwrap_used)]

use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use tempfile::TempDir;

use hotspare_test_support::environment::hotspare;
use hotspare_test_support::fault::{self, Signal};
use hotspare_test_support::process::Process;
use hotspare_test_support::wait::wait_until;

const PATIENCE: Duration = Duration::from_secs(180);

/// `hotspare demo` with a cache and a folder for temporary files of its own, and the Node-RED of the tests in the cache.
fn demo(home: &Path, arguments: &[&str]) -> Process {
    let cache = home.join("cache/hotspare/demo");
    let temporary = home.join("tmp");
    fs::create_dir_all(&cache).unwrap();
    fs::create_dir_all(&temporary).unwrap();
    for (release, variable) in [("4", "HOTSPARE_NR4"), ("5", "HOTSPARE_NR5")] {
        let folder = env::var_os(variable).unwrap_or_else(|| panic!("{variable} is not set: run ./tests/run"));
        let _ = symlink(folder, cache.join(format!("node-red-{release}")));
    }
    let mut command = Command::new(hotspare());
    command.arg("demo").args(arguments).env("XDG_CACHE_HOME", home.join("cache")).env("TMPDIR", temporary);
    Process::start("demo", command)
}

fn nothing_is_left(home: &TempDir, below: Vec<fault::Pid>) {
    wait_until(PATIENCE, "every process of the demo to be gone", || {
        let alive: Vec<_> = below.iter().filter(|pid| fault::is_alive(**pid)).collect();
        if alive.is_empty() { Ok(()) } else { Err(format!("{alive:?}")) }
    });
    let left: Vec<_> = fs::read_dir(home.path().join("tmp")).unwrap().collect();
    assert!(left.is_empty(), "left over: {left:?}");
}

#[test]
fn shows_two_failovers_and_leaves_nothing_behind() {
    let home = tempfile::tempdir().unwrap();
    let mut demo = demo(home.path(), &["--once"]);
    demo.wait_for_line(PATIENCE, "Now: kill -9");
    let below = fault::descendants(demo.pid());
    assert!(below.len() >= 5, "two launchers, two Node-REDs, the proxy: {below:?}");
    let status = demo.wait(PATIENCE);
    let told = demo.output();
    assert!(status.success(), "{status}:\n{told}");
    let last = told.lines().last().unwrap_or_default();
    assert!(last.starts_with("Service went on."), "{told}");
    assert!(told.contains("Now: an endless loop"), "{told}");
    nothing_is_left(&home, below);
}

#[test]
fn ctrl_c_ends_everything() {
    let home = tempfile::tempdir().unwrap();
    let mut demo = demo(home.path(), &["--keep"]);
    demo.wait_for_line(PATIENCE, "is active");
    let below = fault::descendants(demo.pid());
    demo.signal(Signal::INT);
    assert_eq!(demo.wait(PATIENCE).code(), Some(130), "{}", demo.output());
    nothing_is_left(&home, below);
}

#[test]
fn a_taken_port_is_said_and_nothing_starts() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let home = tempfile::tempdir().unwrap();
    let mut demo = demo(home.path(), &["--port", &port]);
    assert_eq!(demo.wait(PATIENCE).code(), Some(1));
    assert!(demo.output().contains(&format!("port {port} is taken")), "{}", demo.output());
}

/// What the demo says where only the given programs are in the PATH.
fn said_with_only(programs: &[(&str, &str)]) -> String {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("path");
    fs::create_dir(&path).unwrap();
    for (name, script) in programs {
        fs::write(path.join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(path.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new(hotspare());
    command.arg("demo").env("PATH", path).env("XDG_CACHE_HOME", home.path().join("cache"));
    let mut demo = Process::start("demo", command);
    assert_eq!(demo.wait(PATIENCE).code(), Some(1));
    let cache = home.path().join("cache/hotspare/demo");
    let left = fs::read_dir(cache).map_or(0, Iterator::count);
    assert_eq!(left, 0, "an unfinished download is removed");
    demo.output()
}

#[test]
fn what_is_missing_is_said_in_a_sentence() {
    let said = said_with_only(&[]);
    assert!(said.contains("Node.js is missing: install"), "{said}");
    // Stand-ins for programs that can't be had here: an old Node.js, a machine without npm, npm without a network.
    let said = said_with_only(&[("node", "echo v16.20.2")]);
    assert!(said.contains("Node.js 16.20.2 is too old"), "{said}");
    let said = said_with_only(&[("node", "echo v20.1.0")]);
    assert!(said.contains("npm is missing: install"), "{said}");
    let said = said_with_only(&[("node", "echo v20.1.0"), ("npm", "echo 'network is down' >&2; exit 1")]);
    assert!(said.contains("npm could not install node-red@4") && said.contains("network is down"), "{said}");
}
