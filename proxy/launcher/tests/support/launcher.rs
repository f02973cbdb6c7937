//! A launcher under test: its process, its admin API, its log.

use std::ffi::OsString;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{Answer, Version, red_args, request, until};

/// Ends, with its Node-RED, when dropped.
pub struct Launcher {
    child: Child,
    pub admin: u16,
    log: PathBuf,
}

impl Launcher {
    pub fn start(version: Version, dir: &Path, args: &[&str]) -> Self {
        let mut command: Vec<OsString> = vec![version.node().into(), version.red_js().into()];
        command.extend(red_args(dir).into_iter().map(OsString::from));
        Self::start_command(dir, args, &command)
    }

    /// Starts it with its state below `dir`.
    pub fn start_command(dir: &Path, args: &[&str], command: &[OsString]) -> Self {
        // The launcher does not say which port it was given for port 0 anywhere but in its log; so it is asked for one
        // that was free a moment ago.
        let admin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = dir.join(format!("launcher-{admin}.log"));
        let output = File::create(&log).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_hotspare-launcher"))
            .args(["--admin", &format!("127.0.0.1:{admin}")])
            .arg("--state-dir")
            .arg(dir.join(".hotspare"))
            .args(args)
            .arg("--")
            .args(command)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Self { child, admin, log }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn admin_answers(&self) {
        let status = || request(self.admin, "GET", "/hotspare/v1/status", &[], "").ok();
        until("the admin API answers", status, || self.log());
    }

    pub fn get(&self, path: &str) -> Answer {
        self.admin_answers();
        request(self.admin, "GET", path, &[], "").unwrap()
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        request(self.admin, "POST", path, &[], &body.to_string()).unwrap()
    }

    pub fn status(&self) -> Value {
        self.get("/hotspare/v1/status").json()
    }

    /// Waits until it could be started, and returns Node-RED's port.
    pub fn standby(&self) -> u16 {
        let ready = || {
            let status = self.status();
            let stopped = status["status"]["flows"] == "stopped" && status["not_ready"].is_null();
            status["port"].as_u64().filter(|_| stopped)
        };
        let port = until("a standby that is ready", ready, || format!("{}\n{}", self.status(), self.log()));
        u16::try_from(port).unwrap()
    }

    pub fn start_flows(&self, epoch: u64) -> Answer {
        self.post("/hotspare/v1/start", &json!({"epoch": epoch}))
    }

    pub fn pid_if_any(&self) -> Option<i32> {
        self.status()["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok())
    }

    pub fn node_red_pid(&self) -> i32 {
        self.pid_if_any().expect("a Node-RED process")
    }

    pub fn signal_node_red(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.node_red_pid()).unwrap(), signal).unwrap();
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Resident KiB of the launcher itself, and how long its threads have been on a processor.
    pub fn usage(&self) -> (u64, Duration) {
        let read = |path: String| std::fs::read_to_string(path).unwrap();
        let pid = self.child.id();
        let stat = read(format!("/proc/{pid}/stat"));
        let pages: u64 = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(21).unwrap().parse().unwrap();
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let nanoseconds = tasks.map(|task| {
            let schedstat = read(format!("{}/schedstat", task.unwrap().path().display()));
            schedstat.split_whitespace().next().unwrap().parse::<u64>().unwrap()
        });
        (pages * 4, Duration::from_nanos(nanoseconds.sum()))
    }

    pub fn ends(&mut self) -> ExitStatus {
        let log = self.log.clone();
        let child = Mutex::new(&mut self.child);
        until(
            "the launcher ends",
            || child.lock().unwrap().try_wait().unwrap(),
            || std::fs::read_to_string(&log).unwrap_or_default(),
        )
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
