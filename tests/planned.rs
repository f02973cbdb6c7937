//! Planned changes under load, with real Node-REDs and a real nginx: they cost waiting, and not one request. How long
//! the waiting is, `benches/planned` measures.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use serde_json::json;

use hotspare_test_support::environment::NodeRed;
use hotspare_test_support::fault::{self, Signal};
use hotspare_test_support::flows::{ALIVE, Flows, TICK};
use hotspare_test_support::load::{Load, Outcome, Plan};
use hotspare_test_support::nginx::Nginx;
use hotspare_test_support::pair::{INSTANCE, PATIENCE, Pair, Setup};
use hotspare_test_support::wait::wait_until;
use hotspare_test_support::witness::judge;

/// For each of two loads at once, one directly and one through nginx, on a machine that may be busy.
const MODEST: Plan = Plan { new_per_second: 40, kept: 8, pause: Duration::from_millis(20) };

/// Nothing here may depend on how fast a busy machine is: whoever waits may wait long, and busy is not hung.
const PATIENT: &str = "wait_for_preferred = \"1m\"\n[instance.health]\nhang_after = \"20s\"\n\
                       [instance.timeouts]\ndrain = \"20s\"\npark = \"30s\"\n";

fn setup(flows: Flows, timeouts: &str) -> Setup {
    let defaults = Setup::default();
    let config = format!("{}{PATIENT}{timeouts}", defaults.config);
    Setup { flows: flows.echo(), http: true, config, ..defaults }
}

/// `timeouts` goes on in the table of that name.
fn http_pair(flows: Flows, timeouts: &str) -> Pair {
    setup(flows, timeouts).start()
}

/// A load on the pair itself and one through an nginx before it.
struct Loads {
    direct: Load,
    through_nginx: Load,
    nginx: Nginx,
}

impl Loads {
    fn start(pair: &Pair) -> Self {
        let nginx = Nginx::start(pair.spare_address(8080), pair.front());
        let (direct, through_nginx) = (Load::start(pair.front(), MODEST), Load::start(nginx.address, MODEST));
        let loads = Loads { direct, through_nginx, nginx };
        loads.go_on();
        loads
    }

    /// Waits until each client will have asked about once more.
    fn go_on(&self) {
        for load in [&self.direct, &self.through_nginx] {
            let before = load.count();
            wait_until(PATIENCE, "a hundred more answers", || match load.count() - before {
                more if more >= 100 => Ok(()),
                more => Err(more),
            });
        }
    }

    /// Nothing was lost, and both members served each of the two.
    fn finish(self) -> [Outcome; 2] {
        self.go_on();
        let outcomes = [self.direct.finish(), self.through_nginx.finish()];
        for outcome in &outcomes {
            outcome.assert_nothing_lost();
        }
        assert_eq!(self.nginx.complaints(), "", "nginx had to hide something");
        outcomes
    }
}

fn both_served(outcomes: &[Outcome; 2]) {
    for outcome in outcomes {
        let mut members = outcome.members.clone();
        members.sort();
        assert_eq!(members, ["a", "b"]);
    }
}

#[test]
fn switchovers_under_load_lose_no_request() {
    let pair = http_pair(Flows::new(), "");
    let loads = Loads::start(&pair);
    for _ in 0..3 {
        let answer = pair.order("switchover", &json!({}));
        assert_eq!(answer.status, 200, "{answer:?}");
        loads.go_on();
        pair.wait_until_steady();
    }
    both_served(&loads.finish());
    judge(&pair.sink.history(), TICK).assert_clean();
}

#[test]
fn a_rolling_restart_under_load_loses_no_request_and_tells_how_it_goes() {
    let pair = http_pair(Flows::new(), "");
    let before = pair.wait_until_steady();
    let processes = ["a", "b"].map(|name| pair.node_red_pid(name));
    let loads = Loads::start(&pair);
    let output = pair.cli(&["restart", INSTANCE, "--reason", "new nodes"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let after = pair.wait_until_steady();
    assert_ne!(after.member, before.member);
    for (name, old) in ["a", "b"].into_iter().zip(processes) {
        assert_ne!(pair.node_red_pid(name), old, "the Node-RED of {name} was not restarted");
    }
    let steps = ["restarts", "is ready", "switching over", "restarts", "both members were restarted"];
    let mut rest = &*said;
    for step in steps {
        let at = rest.find(step).unwrap_or_else(|| panic!("no {step:?} in its place in\n{said}"));
        rest = &rest[at + step.len()..];
    }
    both_served(&loads.finish());
    judge(&pair.sink.history(), TICK).assert_clean();
}

#[test]
fn a_new_active_that_does_not_serve_gives_way_to_the_old_and_clients_only_wait() {
    let check = format!(
        "verify = \"500ms\"\n[[instance.health.check]]\nkind = \"http\"\npath = \"{ALIVE}\"\nactive_only = true\n"
    );
    let pair = http_pair(Flows::new().alive_except("b"), &check);
    let before = pair.wait_until_steady();
    assert_eq!(before.member, "a");
    let loads = Loads::start(&pair);
    let answer = pair.order("switchover", &json!({}));
    assert!(answer.status != 200 && answer.body.contains("does not serve"), "{answer:?}");
    let after = pair.wait_until_steady();
    assert!(after.member == "a" && after.epoch > before.epoch, "{after:?}");
    loads.finish();
    judge(&pair.sink.history(), TICK).assert_clean();
}

#[test]
fn a_new_active_that_does_not_start_gives_way_to_the_old_and_clients_only_wait() {
    let pair = http_pair(Flows::new(), "start = \"3s\"\n");
    let before = pair.wait_until_steady();
    let spare = pair.node_red_pid(pair.other(&before.member).name);
    let loads = Loads::start(&pair);
    // It stands still, and its launcher has not noticed yet.
    fault::signal(spare, Signal::STOP);
    let answer = pair.order("switchover", &json!({}));
    assert!(answer.status != 200 && answer.body.contains("did not start"), "{answer:?}");
    let after = pair.wait_until_steady();
    assert!(after.member == before.member && after.epoch > before.epoch, "{after:?}");
    loads.finish();
    judge(&pair.sink.history(), TICK).assert_clean();
}

#[test]
fn a_rolling_restart_stops_at_its_first_failure_with_the_service_where_it_was() {
    let pair = http_pair(Flows::new(), "restart = \"15s\"\n");
    let before = pair.wait_until_steady();
    let spare = pair.other(&before.member);
    let active = pair.node_red_pid(&before.member);
    // The new settings of the spare can't be loaded.
    std::fs::write(spare.user_dir.join("settings.js"), "throw new Error('a mistake in the new settings')").unwrap();
    let loads = Loads::start(&pair);
    let output = pair.cli(&["restart", INSTANCE]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(&format!("member {}", spare.name)), "{said}");
    assert_eq!(pair.who().as_ref(), Ok(&before));
    assert_eq!(pair.node_red_pid(&before.member), active);
    loads.finish();
}

#[test]
fn a_check_says_whether_a_switchover_would_work_and_does_nothing() {
    let mut pair = http_pair(Flows::new(), "");
    let before = pair.wait_until_steady();
    let spare = pair.other(&before.member).name;
    let output = pair.cli(&["switchover", INSTANCE, "--check"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    pair.launcher(spare).kill();
    let said = wait_until(PATIENCE, "the check to find the spare missing", || {
        let output = pair.cli(&["switchover", INSTANCE, "--check"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Err(output) } else { Ok(said) }
    });
    assert!(said.contains(&format!("member {spare}: ")), "{said}");
    assert_eq!(pair.who(), Ok(before));
}

#[test]
fn a_rolling_restart_brings_a_new_node_red_to_both() {
    let mut pair = setup(Flows::new(), "").prepare();
    // What a package manager replaces.
    let program = pair.folder().join("node-red");
    let write = |version: NodeRed| {
        let command = version.command().join("' '");
        let new = program.with_extension("new");
        std::fs::write(&new, format!("#!/bin/sh\nexec '{command}' \"$@\"\n")).unwrap();
        std::fs::set_permissions(&new, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::rename(new, &program).unwrap();
    };
    write(NodeRed::V4);
    for member in &pair.members {
        let command = [program.display().to_string(), "-u".to_owned(), member.user_dir.display().to_string()];
        std::fs::write(pair.folder().join(member.name).join("command"), command.join("\n")).unwrap();
    }
    pair.start_launcher("a");
    pair.start_launcher("b");
    pair.start_proxy();
    pair.wait_until_steady();
    write(NodeRed::V5);
    let loads = Loads::start(&pair);
    let answer = pair.order("restart", &json!({}));
    assert_eq!(answer.status, 200, "{answer:?}");
    for name in ["a", "b"] {
        wait_until(PATIENCE, &format!("Node-RED 5 on {name}"), || match pair.member_status(name)? {
            status if status["node_red"].as_str().is_some_and(|version| version.starts_with("5.")) => Ok(()),
            status => Err(status.to_string()),
        });
    }
    both_served(&loads.finish());
}
