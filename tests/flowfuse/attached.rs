//! A hot spare for FlowFuse: `hotspare launcher --attach` beside unchanged nr-launchers, with our module in their
//! Node-REDs by `NODE_OPTIONS` in the instance's environment.

use std::time::Duration;

use hotspare_test_support::fault;
use hotspare_test_support::flows::WHO;
use hotspare_test_support::http;
use hotspare_test_support::wait::{holds_for, wait_until};
use serde_json::json;

use crate::attached_pair::AttachedPair;
use crate::launched::PATIENCE;
use crate::platform_stand_in::Mode;

/// A member's Node-RED is there again as another process, with its flows stopped, although its launcher was never asked.
fn wait_until_back_and_stopped(pair: &AttachedPair, name: &str, first: fault::Pid) {
    wait_until(PATIENCE, &format!("another Node-RED of {name}, stopped"), || {
        let status = pair.launcher_status(name);
        let pid = status["pid"].as_u64().and_then(fault::Pid::new);
        let stopped = status["status"]["flows"] == "stopped";
        if pid.is_some_and(|pid| pid != first) && stopped { Ok(()) } else { Err(status.to_string()) }
    });
    let answer = http::get(pair.member(name).node_red, WHO).send().unwrap();
    assert_eq!(answer.status, 503, "its flows are stopped: {answer:?}");
}

#[test]
fn a_crash_and_a_hang_of_node_red_are_hot_failovers_and_nr_launcher_brings_it_back_stopped() {
    let pair = AttachedPair::start();
    let before = pair.wait_until_steady();
    let first = pair.member(&before.member).node_red_pid();
    fault::kill(first);
    let after = pair.wait_for_takeover(&before);
    assert_ne!(after.member, before.member);
    wait_until_back_and_stopped(&pair, &before.member, first);

    let before = pair.wait_until_steady();
    let first = pair.member(&before.member).node_red_pid();
    // No answer is to be expected, and the connection ends when it is killed.
    let _ = http::get(pair.member(&before.member).node_red, "/hang").within(Duration::from_millis(200)).send();
    let after = pair.wait_for_takeover(&before);
    assert_ne!(after.member, before.member);
    wait_until_back_and_stopped(&pair, &before.member, first);
    pair.wait_until_steady();
    pair.assert_clean();
}

#[test]
fn frozen_and_thawed_delivers_nothing() {
    let pair = AttachedPair::start();
    let before = pair.wait_until_steady();
    let frozen = pair.member(&before.member).node_red_pid();
    fault::freeze(frozen);
    let after = pair.wait_for_takeover(&before);
    assert_ne!(after.member, before.member);
    pair.sink.must_be_silent(&before.member, before.epoch, "it was frozen and another took over");
    // It was killed while it was frozen; if it was not, it now shows.
    fault::thaw(frozen);
    wait_until_back_and_stopped(&pair, &before.member, frozen);
    pair.assert_clean();
}

#[test]
fn a_planned_switch_and_a_rolling_restart_go_through_its_launcher() {
    let pair = AttachedPair::start();
    let before = pair.wait_until_steady();
    let answer = pair.order("switchover", &json!({}));
    assert_eq!(answer.status, 200, "{answer:?}");
    let after = pair.wait_for_takeover(&before);
    pair.wait_until_steady();
    for member in &pair.members {
        // In its first seconds it takes a restart for none.
        member.wait_for_state("running");
    }
    let starts = |name: &str| pair.member(name).log().matches("Loading project settings").count();
    let loads = ["a", "b"].map(starts);
    let answer = pair.order("restart", &json!({}));
    assert!(answer.status == 200 || answer.status == 202, "{answer:?}");
    pair.wait_for_takeover(&after);
    wait_until(PATIENCE, "both have fetched their settings anew", || {
        let now = ["a", "b"].map(starts);
        if now[0] > loads[0] && now[1] > loads[1] { Ok(()) } else { Err(format!("{loads:?} then {now:?}")) }
    });
    pair.wait_until_steady();
    pair.assert_clean();
}

#[test]
fn without_the_platform_a_failover_is_as_good_as_ever() {
    let pair = AttachedPair::start();
    let before = pair.wait_until_steady();
    pair.platform.set_mode(Mode::Down);
    fault::kill(pair.member(&before.member).node_red_pid());
    let after = pair.wait_for_takeover(&before);
    assert_ne!(after.member, before.member);
    // Its own launcher can't bring the other back meanwhile, and that does the active no harm.
    holds_for(Duration::from_secs(2), "it serves on", || match pair.who() {
        Ok(who) if who.epoch == after.epoch => Ok(()),
        other => Err(format!("{other:?}")),
    });
    pair.assert_clean();
}

#[test]
fn whichever_launcher_is_killed_the_flows_run_once() {
    let mut pair = AttachedPair::start();
    // Ours: it takes the Node-RED that it held a lease for with it.
    let before = pair.wait_until_steady();
    let first = pair.member(&before.member).node_red_pid();
    pair.ours(&before.member).kill();
    let after = pair.wait_for_takeover(&before);
    assert_ne!(after.member, before.member);
    wait_until(PATIENCE, "its Node-RED is ended", || if fault::is_alive(first) { Err("alive") } else { Ok(()) });
    let back = http::get(pair.member(&before.member).node_red, WHO);
    wait_until(PATIENCE, "nr-launcher brings it back, stopped", || match back.send() {
        Ok(answer) if answer.status == 503 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    pair.start_ours(&before.member);
    let before = pair.wait_until_steady();

    // FlowFuse's: its Node-RED is an orphan, and still under our lease, so that it can be stopped.
    let index = pair.members.iter().position(|member| member.project == before.member).unwrap();
    pair.members[index].kill_launcher();
    assert_eq!(pair.who().unwrap(), before, "an orphan serves on");
    let answer = pair.order("switchover", &json!({}));
    assert_eq!(answer.status, 200, "{answer:?}");
    let after = pair.wait_for_takeover(&before);
    assert_ne!(after.member, before.member);
    pair.assert_clean();
}

#[test]
fn a_launcher_of_ours_that_ends_in_order_leaves_node_red_up_and_stopped() {
    let mut pair = AttachedPair::start();
    let before = pair.wait_until_steady();
    let same = pair.member(&before.member).node_red_pid();
    pair.ours(&before.member).terminate(PATIENCE);
    pair.wait_for_takeover(&before);
    assert!(fault::is_alive(same), "it stays");
    assert_eq!(http::get(pair.member(&before.member).node_red, WHO).send().unwrap().status, 503);
    pair.start_ours(&before.member);
    pair.wait_until_steady();
    assert_eq!(pair.member(&before.member).node_red_pid(), same, "taken on as it is");
    pair.assert_clean();
}

#[test]
fn a_node_red_without_the_module_is_killed_before_its_flows_start() {
    let mut pair = AttachedPair::prepare();
    pair.platform.change_settings("a", |settings| {
        settings["env"].as_object_mut().unwrap().remove("NODE_OPTIONS");
        settings["env"]["HOTSPARE_MEMBER"] = json!("a");
    });
    pair.start_ours("a");
    pair.members[0].run();
    let line = pair.ours("a").wait_for_line(PATIENCE, "without this launcher's module");
    assert!(line.contains("NODE_OPTIONS=--require="), "{line}");
    pair.members[0].wait_for_log("Node-RED exited rc=null signal=SIGKILL");
    // Again and again, as nr-launcher starts it again and again.
    pair.ours("a").wait_for_line(PATIENCE, "without this launcher's module");
    assert!(pair.sink.last_act("a").is_none(), "no flow of it ever acted: {:?}", pair.sink.last_act("a"));
    assert_eq!(pair.launcher_status("a")["pid"], json!(null));
}
