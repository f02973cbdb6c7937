//! What a standby must never do, whatever is asked of it; and what becomes of a pair that lost both.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use serde_json::json;

use hotspare_test_support::client::{Who, who};
use hotspare_test_support::environment::NodeRed;
use hotspare_test_support::fault;
use hotspare_test_support::flows::{Flows, TICK};
use hotspare_test_support::http;
use hotspare_test_support::node_red;
use hotspare_test_support::pair::{PATIENCE, Pair, Setup};
use hotspare_test_support::wait::{holds_for, wait_until};
use hotspare_test_support::witness::judge;

/// Longer than a lease and a few heartbeats.
const WHILE: Duration = Duration::from_secs(2);

/// Nobody but the active acts, and the standby's endpoints aren't there.
fn standby_stays_quiet(pair: &Pair, active: &Who) {
    let standby = pair.other(&active.member);
    holds_for(WHILE, &format!("{} runs no flows", standby.name), || {
        if let Some(act) = pair.sink.last_act(standby.name) {
            return Err(format!("{act:?}"));
        }
        match who(standby.node_red, Duration::from_secs(5)) {
            Ok(who) => Err(format!("{who:?} answers")),
            Err(_) => Ok(()),
        }
    });
}

fn a_click_on_start_in_the_standbys_editor_starts_nothing(version: NodeRed) {
    let pair = Setup { node_red: version, ..Setup::default() }.start();
    let active = pair.wait_until_steady();
    let standby = pair.other(&active.member).node_red;
    let answer = http::post(standby, "/flows/state", &json!({"state": "start"})).send().unwrap();
    assert!(answer.json()["state"] != "start", "the editor must not be told that flows run: {answer:?}");
    standby_stays_quiet(&pair, &active);
    judge(&pair.sink.history(), TICK).assert_clean();
}

/// Whoever stops the active's flows in its editor wants them stopped: no other member starts them, and everyone is told.
fn a_click_on_stop_in_the_actives_editor_is_said_and_moves_nothing(version: NodeRed) {
    let pair = Setup { node_red: version, ..Setup::default() }.start();
    let active = pair.wait_until_steady();
    let editor = pair.member(&active.member).node_red;
    let click = |state: &str| http::post(editor, "/flows/state", &json!({"state": state})).send().unwrap();
    assert_eq!(click("stop").json()["state"], "stop");
    wait_until(PATIENCE, "the status and an alarm say that its flows stand still", || {
        let (status, member) = (pair.status()?, pair.member_status(&active.member)?);
        let events = pair.get("/v1/events").send().map_err(|error| error.to_string())?.json();
        let alarm = |event: &serde_json::Value| event["level"] == "alarm" && event["event"]["event"] == "halted";
        let said = events.as_array().into_iter().flatten().any(alarm);
        let detail = status["detail"].as_str().unwrap_or_default();
        if said && member["flows"] == "stopped" && detail.contains("stopped in the editor") {
            Ok(())
        } else {
            Err(format!("{status}; {events}"))
        }
    });
    holds_for(WHILE, "it stays active, and nobody runs flows", || {
        let status = pair.status()?;
        let quiet = pair.who().is_err();
        if status["active"] == active.member.as_str() && status["epoch"] == active.epoch && quiet {
            Ok(())
        } else {
            Err(status.to_string())
        }
    });
    assert_eq!(click("start").json()["state"], "start");
    assert_eq!(pair.wait_until_steady(), active, "the same tenure goes on");
    pair.wait_for_act(&active);
    wait_until(PATIENCE, "the status says that its flows run", || {
        let member = pair.member_status(&active.member)?;
        if member["flows"] == "running" { Ok(()) } else { Err(member.to_string()) }
    });
    judge(&pair.sink.history(), TICK).assert_clean();
}

#[test]
fn stop_in_the_actives_editor_is_said() {
    a_click_on_stop_in_the_actives_editor_is_said_and_moves_nothing(NodeRed::V4);
}

#[test]
fn stop_in_the_actives_editor_is_said_5() {
    a_click_on_stop_in_the_actives_editor_is_said_and_moves_nothing(NodeRed::V5);
}

fn a_deploy_on_the_standby_starts_nothing(version: NodeRed) {
    let pair = Setup { node_red: version, ..Setup::default() }.start();
    let active = pair.wait_until_steady();
    let standby = pair.other(&active.member).node_red;
    let flows = http::get(standby, "/flows").send().unwrap().json();
    for _ in 0..3 {
        let answer = http::post(standby, "/flows", &flows).send().unwrap();
        assert!((200..300).contains(&answer.status), "{answer:?}");
        standby_stays_quiet(&pair, &active);
    }
    judge(&pair.sink.history(), TICK).assert_clean();
}

#[test]
fn start_in_its_editor_starts_nothing() {
    a_click_on_start_in_the_standbys_editor_starts_nothing(NodeRed::V4);
}

#[test]
fn start_in_its_editor_starts_nothing_5() {
    a_click_on_start_in_the_standbys_editor_starts_nothing(NodeRed::V5);
}

#[test]
fn deploys_start_nothing() {
    a_deploy_on_the_standby_starts_nothing(NodeRed::V4);
}

#[test]
fn deploys_start_nothing_5() {
    a_deploy_on_the_standby_starts_nothing(NodeRed::V5);
}

#[test]
fn node_red_starts_stopped_whatever_was_stored_before() {
    let mut pair = Setup::default().prepare();
    for member in &pair.members {
        std::fs::write(member.user_dir.join(".config.runtime.json"), r#"{"runtimeFlowState":"start"}"#).unwrap();
    }
    // Without a proxy nobody gives permission.
    pair.start_launcher("a");
    pair.start_launcher("b");
    for member in &pair.members {
        wait_until(PATIENCE, &format!("the Node-RED of {}", member.name), || {
            http::get(member.node_red, "/flows/state").send().map_err(|error| error.to_string())
        });
    }
    holds_for(WHILE, "no flow runs", || match pair.sink.history().acts().next() {
        Some(act) => Err(act.clone()),
        None => Ok(()),
    });
    pair.start_proxy();
    pair.wait_until_steady();
}

#[test]
fn a_spare_that_misses_node_types_is_not_ready() {
    let mut pair = Setup::default().prepare();
    let flows = Flows::new().missing_type();
    node_red::write_flows(&pair.member("b").user_dir, &flows);
    pair.start_launcher("a");
    pair.start_launcher("b");
    pair.start_proxy();
    wait_until(PATIENCE, "a serves and b isn't ready for its missing node type", || {
        let (serving, b) = (pair.who()?, pair.member_status("b")?);
        let why = b["why_not"].as_str().unwrap_or_default();
        if serving.member == "a" && b["ready"] == false && why.contains("not-installed-anywhere") {
            Ok(())
        } else {
            Err(format!("{serving:?} serves; {b}"))
        }
    });
}

#[test]
fn both_die_and_the_one_that_returns_becomes_active() {
    let mut pair = Setup::default().start();
    let before = pair.wait_until_steady();
    let standby = pair.other(&before.member).name;
    for name in ["a", "b"] {
        let node_red = pair.node_red_pid(name);
        pair.launcher(name).kill();
        fault::kill(node_red);
    }
    pair.start_launcher(standby);
    let after = pair.wait_for_takeover(&before);
    assert_eq!(after.member, standby);
    pair.wait_for_act(&after);
    pair.start_launcher(&before.member);
    assert_eq!(pair.wait_until_steady(), after, "the one that comes later is the standby");
    judge(&pair.sink.history(), TICK).assert_clean();
}

#[test]
fn a_dead_standby_is_an_alarm_at_once() {
    let mut pair = Setup::default().start();
    let active = pair.wait_until_steady();
    let standby = pair.other(&active.member).name;
    pair.launcher(standby).kill();
    wait_until(PATIENCE, "an alarm in the events", || {
        let events = pair.get("/v1/events").send().map_err(|error| error.to_string())?.json();
        let alarm = events.as_array().into_iter().flatten().any(|event| event["level"] == "alarm");
        if alarm { Ok(()) } else { Err(events.to_string()) }
    });
    assert_eq!(pair.who().as_ref(), Ok(&active));
}
