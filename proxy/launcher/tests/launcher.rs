//! The whole launcher beside real Node-REDs, by hand: no controller, only its admin API, signals and faults.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::UdpSocket;

use rustix::process::Signal;
use serde_json::{Value, json};
use support::launcher::Launcher;
use support::{Version, get, request, sample_flows, send_request, until, user_dir};

for_each_node_red!(
    comes_up_stopped_and_is_started_under_an_epoch,
    kill_dash_nine_brings_it_back_stopped,
    a_standby_that_could_not_start_says_why,
    a_killed_launcher_leaves_nothing_behind,
    a_hung_event_loop_is_killed,
    commands_answer_when_they_have_become_true,
    sigterm_ends_everything_in_order,
);

fn sink() -> (UdpSocket, u16) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

fn comes_up_stopped_and_is_started_under_an_epoch(version: Version) {
    let (_sink, sink) = sink();
    let dir = user_dir(&sample_flows(sink), "");
    std::fs::write(dir.path().join(".config.runtime.json"), r#"{"runtimeFlowState":"start"}"#).unwrap();
    let launcher = Launcher::start(version, dir.path(), &[]);
    let port = launcher.standby();
    assert_eq!(get(port, "/hello").unwrap().status, 503);
    assert_eq!(launcher.start_flows(5).status, 200);
    assert_eq!(get(port, "/hello").unwrap().body, "a 5");
    let info = launcher.get("/flowforge/info").json();
    assert_eq!((&info["state"], &info["flows"], &info["epoch"]), (&json!("running"), &json!("running"), &json!(5)));
    let again = launcher.start_flows(5);
    assert_eq!(again.status, 409, "a lower or equal epoch is refused: {again:?}");
    let fenced = launcher.post("/hotspare/v1/fence", &json!({"epoch": 9}));
    assert_eq!((fenced.status, &fenced.json()["flows"]), (200, &json!("stopped")), "{fenced:?}");
    assert_eq!(get(port, "/hello").unwrap().status, 503);
    assert_eq!(launcher.start_flows(9).status, 409, "what was fenced stays fenced");
    assert_eq!(launcher.start_flows(10).status, 200);
}

fn a_standby_that_could_not_start_says_why(version: Version) {
    let (_sink, sink) = sink();
    let mut flows = sample_flows(sink);
    flows.as_array_mut().unwrap().push(json!({"id": "u", "type": "no such type", "z": "tab", "wires": []}));
    let dir = user_dir(&flows, "");
    let launcher = Launcher::start(version, dir.path(), &[]);
    let says = |what: &str| {
        let why = || launcher.status()["not_ready"].as_str().is_some_and(|why| why.contains(what)).then_some(());
        until(what, why, || launcher.status().to_string());
        assert_eq!(launcher.get("/flowforge/ready").status, 503);
        assert_eq!(launcher.get("/flowforge/health-check").status, 200);
    };
    says("no such type");
    assert_eq!(launcher.start_flows(1).status, 409);
    let port = u16::try_from(launcher.status()["port"].as_u64().unwrap()).unwrap();
    let deploy = json!({"flows": sample_flows(sink)}).to_string();
    assert_eq!(request(port, "POST", "/flows", &[("Node-RED-API-Version", "v2")], &deploy).unwrap().status, 200);
    launcher.standby();
    assert_eq!(launcher.post("/flowforge/command", &json!({"cmd": "restart", "safe": true})).status, 200);
    says("safe mode");
    assert_eq!(launcher.get("/flowforge/info").json()["state"], "safe");
    assert_eq!(launcher.post("/flowforge/command", &json!({"cmd": "restart"})).status, 200);
    launcher.standby();
}

fn kill_dash_nine_brings_it_back_stopped(version: Version) {
    let (_sink, sink) = sink();
    let dir = user_dir(&sample_flows(sink), "");
    let launcher = Launcher::start(version, dir.path(), &[]);
    let port = launcher.standby();
    launcher.start_flows(1);
    assert_eq!(get(port, "/hello").unwrap().status, 200);
    let first = launcher.node_red_pid();
    launcher.signal_node_red(Signal::KILL);
    until("another process", || launcher.pid_if_any().filter(|pid| *pid != first), || launcher.status().to_string());
    let port = launcher.standby();
    assert_eq!(get(port, "/hello").unwrap().status, 503, "it comes back as a standby");
    let status = launcher.status();
    assert_eq!((&status["status"]["tenure"], &status["status"]["restarts"]), (&Value::Null, &json!(1)), "{status}");
    assert_eq!(launcher.start_flows(1).status, 409, "its epoch is used up");
}

fn a_killed_launcher_leaves_nothing_behind(version: Version) {
    let (_sink, sink) = sink();
    let mut flows = sample_flows(sink);
    // A program that a flow starts and that outlives its message.
    flows.as_array_mut().unwrap().push(json!({"id": "long", "type": "exec", "z": "tab", "command": "sleep 1000",
        "addpay": "", "append": "", "useSpawn": "true", "wires": [[], [], []]}));
    flows.as_array_mut().unwrap().push(json!({"id": "once", "type": "inject", "z": "tab", "props": [], "once": true,
        "onceDelay": "0", "repeat": "", "wires": [["long"]]}));
    let dir = user_dir(&flows, "");
    let mut launcher = Launcher::start(version, dir.path(), &[]);
    launcher.standby();
    launcher.start_flows(1);
    let group = launcher.node_red_pid();
    until(
        "the flow's program",
        || (support::group_size(group) >= 2).then_some(()),
        || support::group_size(group).to_string(),
    );
    launcher.signal(Signal::KILL);
    launcher.ends();
    until(
        "all of the group is gone",
        || (support::group_size(group) == 0).then_some(()),
        || format!("{} processes left", support::group_size(group)),
    );
    let again = Launcher::start(version, dir.path(), &[]);
    again.standby();
    assert_eq!(again.start_flows(1).status, 409, "the epoch of the killed launcher is still used up");
    assert_eq!(again.start_flows(2).status, 200);
}

fn a_hung_event_loop_is_killed(version: Version) {
    let (_sink, sink) = sink();
    let dir = user_dir(&sample_flows(sink), "");
    let launcher = Launcher::start(version, dir.path(), &[]);
    let port = launcher.standby();
    launcher.start_flows(1);
    // Busy for less than the limit of 2 s is no hang.
    let busy = get(port, "/hang?ms=1000").unwrap();
    assert_eq!((busy.status, launcher.status()["status"]["tenure"].clone()), (200, json!(1)));
    let first = launcher.node_red_pid();
    let _hung = send_request(port, "GET", "/hang?ms=100000000", &[], "").unwrap();
    until("another process", || launcher.pid_if_any().filter(|pid| *pid != first), || launcher.status().to_string());
    let log = launcher.log();
    assert!(log.contains(r#""cause":"hung""#), "the log says why: {log}");
}

fn commands_answer_when_they_have_become_true(version: Version) {
    let (_sink, sink) = sink();
    let dir = user_dir(&sample_flows(sink), "");
    let launcher = Launcher::start(version, dir.path(), &[]);
    let port = launcher.standby();
    launcher.start_flows(1);
    let command = |cmd: &str| launcher.post("/flowforge/command", &json!({"cmd": cmd}));
    assert_eq!(command("start").status, 409);
    let pid = launcher.node_red_pid();
    assert_eq!(command("stop").status, 200);
    assert_eq!(support::group_size(pid), 0, "a stop answers when the process is gone");
    assert_eq!(launcher.get("/flowforge/info").json()["state"], "stopped");
    assert_eq!(launcher.get("/flowforge/health-check").status, 500);
    assert_eq!(launcher.get("/flowforge/ready").status, 503);
    assert!(get(port, "/").is_err(), "Node-RED is gone");
    assert_eq!(command("start").status, 200);
    let port = launcher.standby();
    assert_eq!(get(port, "/hello").unwrap().status, 503);
    let pid = launcher.node_red_pid();
    assert_eq!(command("restart").status, 200);
    assert_ne!(launcher.node_red_pid(), pid);
    assert_eq!(command("nonsense").status, 404);
    let logs = launcher.get("/flowforge/logs").json();
    assert!(
        logs.as_array().unwrap().iter().any(|l| l["msg"].as_str().unwrap().contains("Server now running")),
        "{logs}"
    );
    // A browser's page must not be able to command it.
    let page = request(launcher.admin, "POST", "/flowforge/command", &[("Origin", "http://evil")], r#"{"cmd":"stop"}"#);
    assert_eq!(page.unwrap().status, 403);
    let websocket = [("Origin", "http://evil"), ("Connection", "Upgrade"), ("Upgrade", "websocket")];
    let page = request(launcher.admin, "GET", "/flowforge/resources", &websocket, "");
    assert_eq!(page.unwrap().status, 403);
}

fn sigterm_ends_everything_in_order(version: Version) {
    let (_sink, sink) = sink();
    let dir = user_dir(&sample_flows(sink), "");
    let mut launcher = Launcher::start(version, dir.path(), &[]);
    launcher.standby();
    launcher.start_flows(1);
    let pid = launcher.node_red_pid();
    launcher.signal(Signal::TERM);
    assert_eq!(launcher.ends().code(), Some(0));
    assert_eq!(support::group_size(pid), 0);
    let log = launcher.log();
    let order = ["tenure_ended", "Node-RED is gone: exit code 0", "launcher ended"].map(|what| log.find(what));
    assert!(order.is_sorted() && order[0].is_some(), "flows, Node-RED, launcher, in this order: {log}");
}

#[test]
fn a_command_that_cannot_be_run_is_a_crash_loop_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let launcher = Launcher::start_command(dir.path(), &[], &["/nonexistent/node-red".into()]);
    // The child says the one, the launcher the other.
    let reasons = ["cannot run /nonexistent/node-red", "it could not be started"];
    let said = || {
        let log = launcher.log();
        reasons.iter().all(|reason| log.contains(reason)).then_some(())
    };
    until("both reasons in the log", said, || launcher.log());
    assert_ne!(launcher.get("/flowforge/ready").status, 200);
}

#[test]
fn a_damaged_record_or_a_second_launcher_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Launcher::start_command(dir.path(), &[], &["sleep".into(), "1000".into()]);
    first.admin_answers();
    let mut second = Launcher::start_command(dir.path(), &[], &["sleep".into(), "1000".into()]);
    assert_eq!(second.ends().code(), Some(64));
    assert!(second.log().contains("another launcher uses this state folder"), "{}", second.log());
    first.signal(Signal::TERM);
    first.ends();
    std::fs::write(dir.path().join(".hotspare/guard.record"), "{").unwrap();
    let mut third = Launcher::start_command(dir.path(), &[], &["sleep".into(), "1000".into()]);
    assert_eq!(third.ends().code(), Some(64));
    assert!(third.log().contains("damaged"), "{}", third.log());
}
