//! The module inside real Node-REDs, with the test in the launcher's place at the other end of its socket.
//!
//! What is pinned here is what the gate leans on in Node-RED beyond its documented API. When a new Node-RED breaks
//! one of these, the module must be looked at before that version is called supported.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{LIMIT, Version, get, red_args, request, sample_flows, send_request, until, user_dir};

for_each_node_red!(
    boots_stopped_whatever_was_stored,
    no_deploy_and_no_click_starts_a_standby,
    runs_under_a_lease_and_shows_its_epoch,
    a_deploy_on_the_active_is_no_stop,
    a_stop_answers_when_all_is_closed,
    a_stop_that_a_node_does_not_follow_ends_the_process,
    the_end_of_the_lease_kills_a_hung_event_loop,
    frozen_and_thawed_delivers_nothing,
    missing_types_make_it_not_ready,
    safe_mode_is_not_ready,
    children_of_flows_inherit_nothing,
    dies_with_its_launcher,
    without_an_internal_no_flow_runs,
);

/// A Node-RED with the module, and the launcher's end of its socket.
struct Red {
    child: Child,
    orders: UnixStream,
    said: Arc<(Mutex<VecDeque<Value>>, Condvar)>,
    _module: tempfile::TempDir,
}

impl Red {
    fn start(version: Version, dir: &Path) -> Self {
        Self::start_with(version, dir, &[], "")
    }

    /// `before` is a script that is loaded before the module.
    fn start_with(version: Version, dir: &Path, args: &[&str], before: &str) -> Self {
        let module = tempfile::tempdir().unwrap();
        let here = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("module");
        for name in ["hotspare.js", "worker.js", "clock.js"] {
            std::fs::copy(here.join(name), module.path().join(name)).unwrap();
        }
        let first = module.path().join("first.js");
        std::fs::write(&first, before).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let restore = json!({"NODE_OPTIONS": null, "NODE_RED_ENABLE_SAFE_MODE": null, "HOTSPARE_MODULE": null, "HOTSPARE_FD": null});
        let options =
            format!("--require={} --require={}", first.display(), module.path().join("hotspare.js").display());
        let child = Command::new(version.node())
            .arg(version.red_js())
            .args(red_args(dir))
            .args(args)
            .env("NODE_OPTIONS", options)
            .env("NODE_RED_ENABLE_SAFE_MODE", "true")
            .env("HOTSPARE_MODULE", json!({"member": "a", "grace_ms": 50, "restore_env": restore}).to_string())
            .env("HOTSPARE_FD", "0")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(std::fs::File::create(dir.join("log")).unwrap())
            .stderr(std::fs::File::options().append(true).create(true).open(dir.join("log")).unwrap())
            .spawn()
            .unwrap();
        let said: Arc<(Mutex<VecDeque<Value>>, Condvar)> = Arc::default();
        let (reports, heard) = (ours.try_clone().unwrap(), Arc::clone(&said));
        std::thread::spawn(move || {
            for line in BufReader::new(reports).lines().map_while(Result::ok) {
                heard.0.lock().unwrap().push_back(serde_json::from_str(&line).unwrap());
                heard.1.notify_all();
            }
        });
        Self { child, orders: ours, said, _module: module }
    }

    /// Waits for a report for which `wanted` holds, said before or after now.
    fn hears(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + LIMIT;
        let mut said = self.said.0.lock().unwrap();
        loop {
            if let Some(found) = said.iter().find(|m| wanted(m)) {
                return found.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "{what}: not within {LIMIT:?}; heard last: {:?}",
                said.iter().rev().take(8).collect::<Vec<_>>()
            );
            said = self.said.1.wait_timeout(said, left).unwrap().0;
        }
    }

    fn hears_type(&self, kind: &str) -> Value {
        self.hears(kind, |m| m["type"] == kind)
    }

    /// Waits for a beat that comes after now.
    fn hears_beat(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let after = self.beat();
        self.hears(what, |m| m["type"] == "beat" && m["seq"].as_u64().unwrap() > after && wanted(m))
    }

    fn beat(&self) -> u64 {
        self.said.0.lock().unwrap().iter().filter_map(|m| m["seq"].as_u64()).max().unwrap_or(0)
    }

    fn order(&self, order: &Value) {
        (&self.orders).write_all(format!("{order}\n").as_bytes()).unwrap();
    }

    /// Boots until it is a standby that could start, and returns its port.
    fn standby(&self) -> u16 {
        let port = self.hears_type("listening")["port"].as_u64().unwrap();
        self.hears("a standby that is ready", |m| m["flows"] == "stopped" && m["ready"].is_null());
        u16::try_from(port).unwrap()
    }

    fn start_flows(&self, epoch: u64, ttl_ms: u64) -> Value {
        let id = 1000 + epoch;
        self.order(&json!({"type": "lease", "beat": self.beat(), "left_ms": ttl_ms}));
        self.order(&json!({"type": "start", "id": id, "epoch": epoch}));
        self.hears("the answer to a start", |m| m["type"] == "started" && m["id"] == id)
    }

    fn stop_flows(&self, id: u64) {
        self.order(&json!({"type": "stop", "id": id}));
        self.hears("the answer to a stop", |m| m["type"] == "stopped" && m["id"] == id);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    fn ends(&mut self) -> ExitStatus {
        let child = Mutex::new(&mut self.child);
        until("the process ends", || child.lock().unwrap().try_wait().unwrap(), || "it still runs".to_owned())
    }
}

impl Drop for Red {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn sink() -> (UdpSocket, u16) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

fn receive(sink: &UdpSocket) -> String {
    let mut buffer = [0; 100];
    let n = sink.recv(&mut buffer).expect("a datagram from the flow");
    String::from_utf8_lossy(&buffer[..n]).into_owned()
}

/// Datagrams that are there now, without waiting.
fn drained(sink: &UdpSocket) -> usize {
    sink.set_nonblocking(true).unwrap();
    let mut buffer = [0; 100];
    let mut count = 0;
    while sink.recv(&mut buffer).is_ok() {
        count += 1;
    }
    sink.set_nonblocking(false).unwrap();
    count
}

fn flows_state(port: u16) -> String {
    get(port, "/flows/state").unwrap().json()["state"].as_str().unwrap().to_owned()
}

fn assert_standby(port: u16, sink: &UdpSocket, when: &str) {
    let hello = get(port, "/hello").unwrap();
    assert_eq!((hello.status, flows_state(port).as_str()), (503, "stop"), "{when}: {hello:?}");
    assert!(
        hello.head.contains("x-hotspare: standby") && hello.head.contains("connection: close"),
        "{when}: {hello:?}"
    );
    assert_eq!(drained(sink), 0, "{when}: the flow's timer ran");
}

fn boots_stopped_whatever_was_stored(version: Version) {
    let (sink, sink_port) = sink();
    let dir = user_dir(&sample_flows(sink_port), "runtimeFlowState: 'start',");
    std::fs::write(dir.path().join(".config.runtime.json"), r#"{"runtimeFlowState":"start"}"#).unwrap();
    let red = Red::start_with(version, dir.path(), &["-D", "runtimeFlowState=start"], "");
    let port = red.standby();
    assert_standby(port, &sink, "after boot");
    let editor = get(port, "/").unwrap();
    assert_eq!(editor.status, 200, "the editor of a standby answers");
}

fn no_deploy_and_no_click_starts_a_standby(version: Version) {
    let (sink, sink_port) = sink();
    let flows = sample_flows(sink_port);
    let dir = user_dir(&flows, "");
    let red = Red::start(version, dir.path());
    let port = red.standby();
    let (mut editor, _) = tokio_tungstenite::tungstenite::connect(format!("ws://127.0.0.1:{port}/comms")).unwrap();
    editor.send(r#"{"subscribe":"notification/#"}"#.into()).unwrap();
    let notice = editor.read().unwrap().to_string();
    assert!(
        notice.contains("notification/hotspare") && notice.contains("Standby member a"),
        "the editor sees {notice}"
    );
    for kind in ["full", "nodes", "flows", "reload"] {
        let headers = [("Node-RED-API-Version", "v2"), ("Node-RED-Deployment-Type", kind)];
        let answer = request(port, "POST", "/flows", &headers, &json!({"flows": flows}).to_string()).unwrap();
        assert_eq!(answer.status, 200, "deploy {kind}: {answer:?}");
        red.hears_beat("still stopped", |m| m["flows"] == "stopped");
        assert_standby(port, &sink, kind);
    }
    let click = request(port, "POST", "/flows/state", &[], r#"{"state":"start"}"#).unwrap();
    assert_eq!(click.json()["state"], "stop", "a click on start");
    red.hears_beat("still stopped", |m| m["flows"] == "stopped");
    assert_standby(port, &sink, "a click on start");
    let stored = std::fs::read_to_string(dir.path().join(".config.runtime.json")).unwrap_or_default();
    assert!(!stored.contains("runtimeFlowState"), "nothing of it is stored: {stored}");
}

fn runs_under_a_lease_and_shows_its_epoch(version: Version) {
    let (sink, sink_port) = sink();
    let dir = user_dir(&sample_flows(sink_port), "");
    let red = Red::start(version, dir.path());
    let port = red.standby();
    assert_eq!(red.start_flows(7, 60_000)["ok"], true);
    assert_eq!(get(port, "/hello").unwrap().body, "a 7");
    assert_eq!(receive(&sink), "a 7");
    assert_eq!(flows_state(port), "start");
    red.stop_flows(1);
    drained(&sink);
    assert_standby(port, &sink, "after the stop");
    assert_eq!(red.start_flows(8, 60_000)["ok"], true);
    assert_eq!(get(port, "/hello").unwrap().body, "a 8");
    let late = red.start_flows(9, 0);
    assert_eq!((&late["ok"], &late["kind"]), (&json!(true), &Value::Null), "a longer lease is there already: {late}");
}

fn a_deploy_on_the_active_is_no_stop(version: Version) {
    let (_sink, sink_port) = sink();
    let flows = sample_flows(sink_port);
    let dir = user_dir(&flows, "");
    let red = Red::start(version, dir.path());
    let port = red.standby();
    red.start_flows(3, 60_000);
    // A beat that was on its way may still say what was before.
    red.hears_beat("running", |m| m["flows"] == "running");
    let from = red.beat();
    for kind in ["full", "nodes", "flows", "reload"] {
        let headers = [("Node-RED-API-Version", "v2"), ("Node-RED-Deployment-Type", kind)];
        let mut changed = flows.clone();
        changed[0]["label"] = json!(kind);
        let answer = request(port, "POST", "/flows", &headers, &json!({"flows": changed}).to_string()).unwrap();
        assert_eq!(answer.status, 200, "deploy {kind}: {answer:?}");
        if kind != "reload" {
            red.hears("word of the deploy", |m| m["type"] == "deploy" && m["revision"] == answer.json()["rev"]);
        }
    }
    red.hears_beat("running", |m| m["flows"] == "running");
    let said = red.said.0.lock().unwrap();
    let states: Vec<&Value> = said.iter().filter(|m| m["seq"].as_u64() > Some(from)).map(|m| &m["flows"]).collect();
    assert!(states.iter().all(|s| *s == "running"), "states during the deploys: {states:?}");
}

/// The sample flows and a node whose `close` handler is the given function.
fn dir_with_closing_node(sink: u16, close: &str, settings: &str) -> tempfile::TempDir {
    let mut flows = sample_flows(sink);
    flows.as_array_mut().unwrap().push(json!({"id": "closes", "type": "closing", "z": "tab", "wires": []}));
    let dir = user_dir(&flows, settings);
    let nodes = dir.path().join("nodes");
    std::fs::create_dir(&nodes).unwrap();
    let code = format!(
        "module.exports = (RED) => RED.nodes.registerType('closing', function (config) {{
           RED.nodes.createNode(this, config); this.on('close', {close}) }})"
    );
    std::fs::write(nodes.join("closing.js"), code).unwrap();
    std::fs::write(nodes.join("closing.html"), "<script>RED.nodes.registerType('closing', {})</script>").unwrap();
    dir
}

fn a_stop_answers_when_all_is_closed(version: Version) {
    let (_sink, sink_port) = sink();
    let mark = tempfile::tempdir().unwrap();
    let mark = mark.path().join("closed");
    let close = format!("(done) => setTimeout(() => {{ require('fs').writeFileSync({mark:?}, ''); done() }}, 300)");
    let dir = dir_with_closing_node(sink_port, &close, "");
    let red = Red::start(version, dir.path());
    let port = red.standby();
    red.start_flows(1, 60_000);
    let mut hanging = send_request(port, "GET", "/never", &[], "").unwrap();
    until("the request is in a flow", || get(port, "/hello").ok(), String::new);
    red.stop_flows(5);
    assert!(mark.exists(), "the stop was confirmed before the slow node had closed");
    let mut answer = Vec::new();
    let end = hanging.read_to_end(&mut answer);
    assert!(answer.is_empty(), "a request that no flow will answer is cut, not answered: {end:?} {answer:?}");
}

fn a_stop_that_a_node_does_not_follow_ends_the_process(version: Version) {
    let (_sink, sink_port) = sink();
    let dir = dir_with_closing_node(sink_port, "(done) => {}", "nodeCloseTimeout: 300,");
    let mut red = Red::start(version, dir.path());
    red.standby();
    red.start_flows(1, 60_000);
    red.order(&json!({"type": "stop", "id": 1}));
    assert_eq!(red.ends().signal(), Some(9));
    assert!(
        !red.said.0.lock().unwrap().iter().any(|m| m["type"] == "stopped"),
        "a stop that did not stop was confirmed"
    );
}

fn the_end_of_the_lease_kills_a_hung_event_loop(version: Version) {
    let (_sink, sink_port) = sink();
    let dir = user_dir(&sample_flows(sink_port), "");
    let mut red = Red::start(version, dir.path());
    let port = red.standby();
    red.start_flows(1, 1_500);
    let _hung = send_request(port, "GET", "/hang?ms=100000000", &[], "").unwrap();
    red.hears_beat("the lag of a hung event loop", |m| m["lag_ms"].as_u64() > Some(300));
    assert_eq!(red.ends().signal(), Some(9), "killed while the event loop hung");
}

fn frozen_and_thawed_delivers_nothing(version: Version) {
    use rustix::process::Signal;
    let ttl = Duration::from_millis(1000);
    let (sink, sink_port) = sink();
    let dir = user_dir(&sample_flows(sink_port), "");
    let mut red = Red::start(version, dir.path());
    let port = red.standby();
    red.start_flows(1, 1000);
    receive(&sink);
    let beat = red.beat();
    red.signal(Signal::STOP);
    // A request waits in the socket of the frozen process, and a renewal of a beat from before the freeze.
    let _queued = send_request(port, "GET", "/hello", &[], "").unwrap();
    let until_end = Instant::now() + 3 * ttl;
    while let Some(left) = until_end.checked_duration_since(Instant::now()) {
        std::thread::sleep(left.min(Duration::from_millis(100)));
        red.order(&json!({"type": "lease", "beat": beat, "left_ms": 1000}));
    }
    drained(&sink);
    red.signal(Signal::CONT);
    assert_eq!(red.ends().signal(), Some(9), "a late renewal re-armed a dead lease");
    assert_eq!(drained(&sink), 0, "messages delivered after the thaw");
}

fn missing_types_make_it_not_ready(version: Version) {
    let (_sink, sink_port) = sink();
    let flows = sample_flows(sink_port);
    let mut unknown = flows.clone();
    unknown.as_array_mut().unwrap().push(json!({"id": "u", "type": "no such type", "z": "tab", "wires": []}));
    let dir = user_dir(&unknown, "");
    let red = Red::start(version, dir.path());
    let why = |m: &Value| m["ready"].as_str().is_some_and(|why| why.contains("no such type"));
    let port = u16::try_from(red.hears_type("listening")["port"].as_u64().unwrap()).unwrap();
    red.hears("why it is not ready", why);
    let answer = red.start_flows(1, 60_000);
    assert_eq!((&answer["ok"], &answer["kind"]), (&json!(false), &json!("not_ready")), "{answer}");
    assert_eq!(get(port, "/hello").unwrap().status, 503);
    until("an honest state", || (flows_state(port) == "stop").then_some(()), || flows_state(port));
    let deploy = |flows: &Value| {
        request(port, "POST", "/flows", &[("Node-RED-API-Version", "v2")], &json!({"flows": flows}).to_string())
            .unwrap()
    };
    deploy(&flows);
    red.hears_beat("ready after a deploy", |m| m["ready"].is_null());
    deploy(&unknown);
    red.hears_beat("not ready after a deploy", why);
}

fn safe_mode_is_not_ready(version: Version) {
    let (sink, sink_port) = sink();
    let dir = user_dir(&sample_flows(sink_port), "");
    let red = Red::start_with(version, dir.path(), &["--safe"], "");
    red.hears("why it is not ready", |m| m["ready"].as_str().is_some_and(|why| why.contains("safe mode")));
    assert_eq!(red.start_flows(1, 60_000)["kind"], "not_ready");
    assert_eq!(drained(&sink), 0);
}

fn children_of_flows_inherit_nothing(version: Version) {
    let (_sink, sink_port) = sink();
    let mut flows = sample_flows(sink_port);
    let nodes = flows.as_array_mut().unwrap();
    nodes.push(json!({"id": "in4", "type": "http in", "z": "tab", "url": "/env", "method": "get", "wires": [["run"]]}));
    nodes.push(json!({"id": "run", "type": "exec", "z": "tab", "command": "env; ls -l /proc/self/fd", "addpay": "",
        "append": "", "useSpawn": "false", "wires": [["out"], [], []]}));
    let dir = user_dir(&flows, "");
    let red = Red::start(version, dir.path());
    let port = red.standby();
    red.start_flows(4, 60_000);
    let seen = get(port, "/env")
        .map(|a| a.body)
        .unwrap_or_else(|e| panic!("{e}: {}", std::fs::read_to_string(dir.path().join("log")).unwrap()));
    assert!(seen.contains("HOTSPARE_EPOCH=4") && seen.contains("HOTSPARE_MEMBER=a"), "epoch and member: {seen}");
    for name in ["NODE_OPTIONS", "HOTSPARE_MODULE", "HOTSPARE_FD", "NODE_RED_ENABLE_SAFE_MODE"] {
        assert!(!seen.contains(name), "{name} is inherited: {seen}");
    }
}

fn dies_with_its_launcher(version: Version) {
    let (_sink, sink_port) = sink();
    let dir = user_dir(&sample_flows(sink_port), "");
    let mut red = Red::start(version, dir.path());
    red.standby();
    red.orders.shutdown(std::net::Shutdown::Both).unwrap();
    assert_eq!(red.ends().signal(), Some(9));
}

/// Each internal is taken away before the module looks for it.
fn without_an_internal_no_flow_runs(version: Version) {
    let removals = [
        ("runtime.init", "delete api.init"),
        ("flows.startFlows", "delete api._.flows.startFlows"),
        ("flows.stopFlows", "delete api._.flows.stopFlows"),
        ("flows.getFlows", "delete api._.flows.getFlows"),
        ("flows.started", "Object.defineProperty(api._.flows, 'started', { value: undefined })"),
        ("flows.state", "delete api._.flows.state"),
        ("settings.get", "api._.settings.get = undefined"),
        ("nodes.getType", "delete api._.nodes.getType"),
        ("hooks.add", "api._.hooks.add = undefined"),
        ("runtime.version", "delete api._.version"),
        ("a hook that halts a message", "api._.hooks.trigger = (id, event, done) => done()"),
        (
            "runtimeFlowState from the settings",
            "const get = api._.settings.get; api._.settings.get = (k) => k === 'runtimeFlowState' ? 'start' : get(k)",
        ),
    ];
    let (sink, sink_port) = sink();
    for (name, removal) in removals {
        let dir = user_dir(&sample_flows(sink_port), "");
        let before = format!(
            "const M = require('module'); const load = M._load; let done = false
             M._load = function (request) {{ const api = load.apply(this, arguments)
               if (request === '@node-red/runtime' && !done) {{ done = true; {removal} }} return api }}"
        );
        let mut red = Red::start_with(version, dir.path(), &[], &before);
        let status = red.ends();
        let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
        assert_eq!(status.code(), Some(70), "without {name}: {status:?}\n{log}");
        assert!(log.contains("no flow may run here") && log.contains(name), "without {name} the log says: {log}");
    }
    assert_eq!(drained(&sink), 0, "a flow ran");
}
