//! The command line by itself: what needs no running proxy. Exit codes are a promise to scripts.
#![allow(clippy::unwrap_used, reason = "a test that can't go on should stop")]

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn hotspare(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hotspare"));
    for variable in ["HOTSPARE_ADMIN", "HOTSPARE_CONFIG", "HOTSPARE_ADMIN_TOKEN", "HOTSPARE_ADMIN_TOKEN_FILE"] {
        command.env_remove(variable);
    }
    command.args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

const COMMANDS: [&str; 19] = [
    "run",
    "check",
    "launcher",
    "demo",
    "status",
    "watch",
    "events",
    "explain",
    "switchover",
    "restart",
    "failover",
    "pause",
    "resume",
    "unfreeze",
    "fence",
    "release",
    "drill",
    "config",
    "completions",
];

#[test]
fn every_command_has_help() {
    let all = stdout(&hotspare(&["--help"]));
    for command in COMMANDS {
        assert!(all.contains(&format!("  {command}")), "{command} is not in:\n{all}");
        let help = hotspare(&[command, "--help"]);
        assert!(help.status.success(), "{command} --help: {}", stderr(&help));
        assert!(stdout(&help).contains("Usage: hotspare"), "{command} --help:\n{}", stdout(&help));
    }
}

#[test]
fn a_wrong_configuration_ends_with_64_and_starts_nothing() {
    let wrong = file("tests/config/wrong-keys.toml");
    for command in ["check", "run"] {
        let output = hotspare(&[command, "--config", wrong.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(64), "{command}: {}", stderr(&output));
        assert!(stderr(&output).contains("did you mean listen?"), "{command}: {}", stderr(&output));
    }
    let output = hotspare(&["check", "--config", "/no/such/file.toml"]);
    assert_eq!(output.status.code(), Some(64), "{}", stderr(&output));
    assert!(stderr(&output).contains("No such file"), "{}", stderr(&output));
}

#[test]
fn a_good_configuration_is_summed_up() {
    let config = file("config/two-boxes.toml");
    let output = hotspare(&["check", "--without-secrets", "--config", config.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stdout(&output).contains("line-1: 0.0.0.0:1880, 0.0.0.0:4001 -> a (10.0.0.11:1880)"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn a_proxy_that_is_not_there_ends_with_69() {
    // A port that nothing listens on: taken, and given back.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let admin = format!("http://{address}");
    for arguments in [
        vec!["status"],
        vec!["status", "line-1", "--json"],
        vec!["watch"],
        vec!["events", "--follow"],
        vec!["explain", "line-1"],
        vec!["switchover", "line-1"],
        vec!["restart", "line-1"],
        vec!["failover", "line-1", "--force", "--yes"],
        vec!["pause", "line-1", "--reason", "x"],
        vec!["resume", "line-1"],
        vec!["unfreeze", "line-1"],
        vec!["fence", "line-1", "--member", "a"],
        vec!["release", "line-1", "--member", "a"],
        vec!["drill", "line-1"],
    ] {
        let output = hotspare(&[&arguments[..], &["--admin", &admin]].concat());
        assert_eq!(output.status.code(), Some(69), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("can't be reached: connection refused"), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn a_command_line_that_cannot_be_meant_ends_with_2() {
    for arguments in [
        &["failover", "line-1"][..],
        &["pause", "line-1", "--for", "30", "--reason", "x"],
        &["pause", "line-1"],
        &["fence", "line-1"],
        &["status", "--admin", "ftp://127.0.0.1"],
        &["status", "--token-file", "/no/such/file"],
        &["drill", "line-1", "--fault", "flood"],
        &["statsu"],
        &[],
    ] {
        let output = hotspare(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(!stderr(&output).is_empty(), "{arguments:?} says nothing");
    }
}

#[test]
fn completions_are_a_script_that_bash_takes() {
    let script = hotspare(&["completions", "bash"]);
    assert!(script.status.success());
    let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    bash.stdin.take().unwrap().write_all(&script.stdout).unwrap();
    let output = bash.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hotspare"))
        .args(["config", "reference"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{:?}: {}", output.status, stderr(&output));
}
