//! The command line against a running proxy, with two plain servers behind it: what each command shows and changes.
#![allow(clippy::unwrap_used, reason = "a test that can't go on should stop")]

use std::fs::Permissions;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hotspare_test_support::address::LoopbackBlock;
use hotspare_test_support::process::Process;
use hotspare_test_support::wait::wait_until;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(30);
const READ: &str = "read-token-of-a-test";
const ADMIN: &str = "admin-token-of-a-test";

/// A proxy in front of two plain servers that say who they are.
struct Site {
    _servers: [Server; 2],
    block: LoopbackBlock,
    _folder: tempfile::TempDir,
    _proxy: Process,
}

impl Site {
    fn start() -> Site {
        let block = LoopbackBlock::take();
        let folder = tempfile::tempdir().unwrap();
        let address = |host, port| block.socket(host, port);
        let servers = [Server::start(address(2, 1880), "a"), Server::start(address(3, 1880), "b")];
        secret(&folder.path().join("read.token"), READ);
        secret(&folder.path().join("admin.token"), ADMIN);
        let config = format!(
            "[admin]\nlisten = \"{}\"\n\
             [[admin.token]]\nname = \"viewer\"\nrole = \"read\"\ntoken_file = \"read.token\"\n\
             [[admin.token]]\nname = \"tester\"\nrole = \"admin\"\ntoken_file = \"admin.token\"\n\
             [store]\ndir = \"store\"\n\
             [[instance]]\nname = \"line-1\"\nlisten = \"{}\"\n\
             [[instance.member]]\nname = \"a\"\naddress = \"{}\"\nlauncher = {{ kind = \"none\" }}\n\
             [[instance.member]]\nname = \"b\"\naddress = \"{}\"\nlauncher = {{ kind = \"none\" }}\n\
             [instance.health]\ninterval = \"100ms\"\ntimeout = \"100ms\"\n\
             [instance.failover]\nhold_down = \"0s\"\n[instance.timeouts]\ndrain = \"0s\"\n",
            address(1, 9480),
            address(1, 1880),
            address(2, 1880),
            address(3, 1880),
        );
        let file = folder.path().join("hotspare.toml");
        std::fs::write(&file, config).unwrap();
        std::fs::create_dir(folder.path().join("store")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_hotspare"));
        command.arg("run").arg("--config").arg(&file);
        let proxy = Process::start("the proxy", command);
        let site = Site { _servers: servers, block, _folder: folder, _proxy: proxy };
        wait_until(SOON, "an active and a ready spare", || {
            let seen = site.json(&["status", "line-1", "--json"])?;
            let ready = seen["members"]
                .as_array()
                .unwrap()
                .iter()
                .all(|member| member["ready"] == true || member["role"] == "active");
            if seen["state"] == "active" && ready { Ok(()) } else { Err(seen.to_string()) }
        });
        site
    }

    fn command(&self, token: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hotspare"));
        command.args(arguments).stdin(Stdio::null()).env_remove("HOTSPARE_ADMIN_TOKEN_FILE");
        command
            .env("HOTSPARE_ADMIN", format!("http://{}", self.block.socket(1, 9480)))
            .env("HOTSPARE_ADMIN_TOKEN", token);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(ADMIN, arguments).output().unwrap()
    }

    /// What a command that must succeed writes.
    fn says(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {}{said}", String::from_utf8_lossy(&output.stderr));
        said
    }

    fn json(&self, arguments: &[&str]) -> Result<Value, String> {
        let output = self.run(arguments);
        serde_json::from_slice(&output.stdout).map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn active(&self) -> String {
        let status = self.json(&["status", "line-1", "--json"]).unwrap();
        status["active"].as_str().unwrap_or("none").to_owned()
    }

    /// Who answers a client of the proxy.
    fn answers(&self) -> String {
        let mut stream = TcpStream::connect(self.block.socket(1, 1880)).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        said
    }
}

/// A plain server: says its name to whoever connects.
struct Server {
    address: SocketAddr,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(address: SocketAddr, name: &'static str) -> Server {
        let listener = TcpListener::bind(address).unwrap();
        let ending = Arc::new(AtomicBool::new(false));
        let end = ending.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                let _ = (&stream).write_all(name.as_bytes());
            }
        });
        Server { address, ending, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        // The connection that lets it see that it has ended.
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn secret(path: &Path, token: &str) {
    std::fs::write(path, token).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn what_is_shown_and_what_is_changed() {
    let site = Site::start();
    let (old, new) = if site.active() == "a" { ("a", "b") } else { ("b", "a") };

    let all = site.says(&["status"]);
    assert!(all.starts_with("INSTANCE") && all.contains("line-1") && all.contains(&format!("{new} ready")), "{all}");
    assert!(!all.contains('\u{1b}'), "colours without a terminal: {all:?}");
    let one = site.says(&["status", "line-1"]);
    assert!(one.contains("MEMBER") && one.contains("listener") && one.contains("healthy"), "{one}");

    assert!(site.says(&["switchover", "line-1", "--check"]).contains("would work"));
    assert_eq!(site.active(), old, "a check changed something");
    let told = site.says(&["switchover", "line-1", "--reason", "a test"]);
    assert!(told.contains("a test") && told.lines().count() > 1, "no progress shown: {told}");
    assert_eq!((site.active(), site.answers()), (new.to_owned(), new.to_owned()));

    let events = site.says(&["events", "line-1", "--json", "--last", "1000"]);
    let ids: Vec<u64> =
        events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_u64().unwrap()).collect();
    assert!(ids.len() > 3 && ids.is_sorted(), "{ids:?}");
    let story = site.says(&["explain", "line-1"]);
    assert!(story.contains("The last change") && story.contains("a test"), "{story}");

    site.says(&["pause", "line-1", "--for", "30m", "--reason", "moving a switch"]);
    let paused = site.says(&["status", "line-1"]);
    assert!(paused.contains("paused") && paused.contains("moving a switch; ends in 29 min"), "{paused}");
    site.says(&["resume", "line-1"]);
    assert!(!site.says(&["status", "line-1"]).contains("paused"));

    site.says(&["fence", "line-1", "--member", old]);
    assert!(site.says(&["status"]).contains(&format!("{old} not ready")));
    site.says(&["release", "line-1", "--member", old]);
    site.says(&["failover", "line-1", "--force", "--yes"]);
    assert_eq!(site.active(), old);
}

#[test]
fn what_is_refused_says_why_and_with_which_code() {
    let site = Site::start();
    let active = site.active();
    for (token, arguments, code, words) in [
        (ADMIN, &["status", "line-9"][..], 1, "there are: line-1"),
        (ADMIN, &["switchover", "line-1", "--to", &active], 1, "refused"),
        (ADMIN, &["switchover", "line-1", "--to", "nobody"], 1, "refused"),
        (ADMIN, &["switchover", "line-9"], 1, "refused"),
        (ADMIN, &["failover", "line-1", "--force"], 2, "both run"),
        (ADMIN, &["fence", "line-1", "--member", &active], 2, "fails over"),
        (READ, &["switchover", "line-1"], 77, "role"),
        ("wrong", &["status"], 77, "token"),
        ("", &["events", "--follow"], 77, "token"),
    ] {
        let output = site.command(token, arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
        assert!(!said.contains(READ) && !said.contains(ADMIN), "a token is shown: {said}");
    }
    assert_eq!(site.active(), active, "a refused order changed something");
    assert!(site.command(READ, &["status"]).output().unwrap().status.success());
}

#[test]
fn events_are_followed_as_they_happen() {
    let site = Site::start();
    let mut follow =
        Process::start("events --follow", site.command(READ, &["events", "line-1", "--follow", "--last", "0"]));
    // The stream is open once an event that was made for it comes through; which one it is doesn't matter.
    wait_until(SOON, "an event through the stream", || {
        site.says(&["pause", "line-1", "--for", "1m", "--reason", "hello stream"]);
        site.says(&["resume", "line-1"]);
        let seen = follow.output();
        if seen.contains("hello stream") { Ok(()) } else { Err(seen) }
    });
    site.says(&["switchover", "line-1", "--reason", "for the stream"]);
    follow.wait_for_line(SOON, "for the stream");
    assert!(follow.is_running(), "{}", follow.output());

    let mut watch = Process::start("watch", site.command(READ, &["watch", "--every", "100ms"]));
    watch.wait_for_line(SOON, "line-1");
    let active = site.active();
    site.says(&["fence", "line-1", "--member", if active == "a" { "b" } else { "a" }]);
    watch.wait_for_line(SOON, "not ready");
}
