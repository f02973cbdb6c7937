//! The driver `flowfuse` (`proxy/driver/flowfuse.rs`) against the real launcher. A test is named for what it shows.

use std::time::{Duration, Instant};

use hotspare::driver::{Certain, Driver, Flows as Seen, Seen as Look};
use hotspare_test_support::address::LoopbackBlock;
use hotspare_test_support::authority::Authority;
use hotspare_test_support::fault;
use hotspare_test_support::flows::Flows;
use hotspare_test_support::nginx::Nginx;
use hotspare_test_support::wait::{holds_for, wait_until};
use hotspare_tls::stream::Expected;
use hotspare_tls::{ClientFiles, Keeper};
use serde_json::json;
use tempfile::TempDir;

use crate::launched::{Launched, PATIENCE};
use crate::platform_stand_in::{Mode, PlatformStandIn};

fn flows() -> Flows {
    Flows::new().hang()
}

fn is_unknown(seen: &Look) -> bool {
    matches!(seen.flows, Seen::Unknown(_))
}

/// Looks until `good`, and returns that look.
async fn until(what: &str, driver: &dyn Driver, mut good: impl FnMut(&Look) -> bool) -> Look {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = driver.observe().await;
        if good(&seen) {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited for: {what}; last seen: {seen:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_spare_is_started_seen_to_run_and_stopped() {
    let platform = PlatformStandIn::start();
    let launched = Launched::start(&platform, "a", &flows(), "stopped");
    let driver = launched.driver(|_| {});
    assert_eq!(launched.state(), "loading", "its word for idle, until its first start");
    until("idle", &driver, |seen| seen.flows == Seen::Stopped && seen.ready.is_ok()).await;
    assert_eq!(driver.fence().await.expect("fence"), Certain::ProcessGone);
    driver.start().await.expect("start");
    launched.wait_until_serving();
    let seen = driver.observe().await;
    assert_eq!(seen.flows, Seen::Running, "{seen:?}");
    assert_eq!(driver.fence().await.expect("fence"), Certain::ProcessGone);
    assert!(!launched.port_is_open());
    let seen = driver.observe().await;
    assert!(seen.flows == Seen::Stopped && seen.ready.is_ok(), "{seen:?}");
    driver.start().await.expect("start again");
    launched.wait_until_serving();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_api_behind_https_is_asked_only_where_its_certificate_is_good() {
    let platform = PlatformStandIn::start();
    let launched = Launched::start(&platform, "a", &flows(), "stopped");
    let block = LoopbackBlock::take();
    let (ours, theirs) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (ours, theirs) = (Authority::new(ours.path()), Authority::new(theirs.path()));
    let front = block.socket(1, 2880);
    ours.sign("launcher", &[&front.ip().to_string()]);
    let files = (ours.file("launcher.crt"), ours.file("launcher.key"));
    let _nginx = Nginx::start_with(front, launched.launcher, Some((&files.0, &files.1)));
    let trusting = |authority: &Authority| {
        let files = ClientFiles { ca_file: Some(authority.file("ca.crt")), pair: None };
        let tls = Expected { client: Keeper::default().client(files).unwrap(), name: None };
        launched.driver(|settings| {
            settings.launcher = format!("https://{front}");
            settings.launcher_tls = Some(tls);
        })
    };
    let stranger = trusting(&theirs);
    let seen = stranger.observe().await;
    assert!(matches!(&seen.flows, Seen::Unknown(why) if why.contains("invalid peer certificate")), "{seen:?}");
    stranger.fence().await.expect_err("an order to a stranger");
    let driver = trusting(&ours);
    driver.start().await.expect("start");
    assert_eq!(driver.observe().await.flows, Seen::Running);
    assert_eq!(driver.fence().await.expect("fence"), Certain::ProcessGone);
}

#[tokio::test(flavor = "multi_thread")]
async fn boots_with_its_flows_on_and_is_seen_to() {
    let platform = PlatformStandIn::start();
    let launched = Launched::start(&platform, "a", &flows(), "running");
    assert_eq!(launched.driver(|_| {}).observe().await.flows, Seen::Running);
    let without_probe = launched.driver(|settings| settings.probe = None);
    assert_eq!(without_probe.observe().await.flows, Seen::Running, "by Node-RED's log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_answered_before_the_process_is_gone() {
    let platform = PlatformStandIn::start();
    let launched = Launched::start(&platform, "a", &flows(), "running");
    let driver = launched.driver(|_| {});
    fault::freeze(launched.node_red_pid());
    assert_eq!(launched.command(&json!({"cmd": "stop"})).unwrap(), 200);
    assert_eq!(launched.state(), "stopped", "it says so at once");
    assert_eq!(launched.health(), 200, "while the process is there");
    let seen = driver.observe().await;
    assert!(is_unknown(&seen), "{seen:?}");
    // Ten seconds later the launcher kills it.
    assert_eq!(driver.fence().await.expect("fence"), Certain::ProcessGone);
    assert!(!launched.port_is_open());
}

#[tokio::test(flavor = "multi_thread")]
async fn running_while_hung_is_unknown() {
    let platform = PlatformStandIn::start();
    let launched = Launched::start(&platform, "a", &flows(), "running");
    launched.wait_for_state("running");
    let driver = launched.driver(|settings| settings.look_timeout = Duration::from_millis(300));
    fault::freeze(launched.node_red_pid());
    let seen = driver.observe().await;
    assert_eq!(launched.state(), "running");
    assert_eq!(launched.health(), 200);
    assert!(is_unknown(&seen) && !seen.up, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_active_is_fenced_once_its_launcher_has_killed_it() {
    let platform = PlatformStandIn::start();
    let launched = Launched::start(&platform, "a", &flows(), "running");
    let driver = launched.driver(|settings| settings.look_timeout = Duration::from_millis(300));
    fault::freeze(launched.node_red_pid());
    assert_eq!(driver.fence().await.expect("fence"), Certain::ProcessGone);
    assert_eq!(launched.state(), "crashed", "its word after it had to kill");
    assert_eq!(driver.observe().await.flows, Seen::Stopped);
    holds_for(Duration::from_secs(3), "it stays down", || if launched.port_is_open() { Err("open") } else { Ok(()) });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_the_launcher_restarts_a_hung_node_red_is_given_again() {
    let platform = PlatformStandIn::start();
    let launched = Launched::start(&platform, "a", &flows(), "running");
    launched.wait_for_state("running");
    let driver = launched.driver(|settings| {
        settings.look_timeout = Duration::from_millis(300);
        settings.stop_timeout = Duration::from_secs(30);
    });
    let frozen = launched.node_red_pid();
    fault::freeze(frozen);
    launched.wait_for_log("Node-RED hang detected.");
    assert_eq!(launched.command(&json!({"cmd": "stop"})).unwrap(), 200, "a stop that will be forgotten");
    assert_eq!(driver.fence().await.expect("fence"), Certain::ProcessGone);
    assert!(launched.log().matches("Starting Node-RED").count() >= 2, "it had started again: {}", launched.log());
    holds_for(Duration::from_secs(3), "it stays down", || if launched.port_is_open() { Err("open") } else { Ok(()) });
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_found_hung_and_ended_well_looks_stopped_and_is_not_fenced() {
    let platform = PlatformStandIn::start();
    let launched = Launched::start(&platform, "a", &flows(), "running");
    launched.wait_for_state("running");
    let driver = launched.driver(|settings| settings.stop_timeout = Duration::from_secs(2));
    let slow = launched.node_red_pid();
    let [found, ended] = ["Node-RED hang detected.", "Node-RED exited rc=0"];
    // On a busy machine its start may have been taken for a hang too.
    let [found_before, ended_before] = [found, ended].map(|text| launched.log_count(text));
    fault::freeze(slow);
    launched.wait_for_more_log(found, found_before);
    // It ends as it was told, and its launcher first reports that to a platform that hangs.
    platform.set_mode(Mode::Hung);
    fault::thaw(slow);
    launched.wait_for_more_log(ended, ended_before);
    assert_eq!(launched.command(&json!({"cmd": "stop"})).unwrap(), 200, "a stop that will be forgotten");
    assert_eq!((launched.state().as_str(), launched.health(), launched.port_is_open()), ("stopped", 500, false));
    let error = driver.fence().await.expect_err("it will be started again");
    assert!(error.0.contains("found it hung"), "{error}");
    assert!(is_unknown(&driver.observe().await));
    platform.set_mode(Mode::Up);
    launched.wait_until_serving();
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = driver.fence().await {
        assert!(Instant::now() < deadline, "{error}");
    }
    holds_for(Duration::from_secs(3), "it stays down", || if launched.port_is_open() { Err("open") } else { Ok(()) });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_is_restarted_with_flows_on_and_seen_to_be() {
    let platform = PlatformStandIn::start();
    let launched = Launched::start(&platform, "a", &flows(), "running");
    let driver = launched.driver(|_| {});
    let first = launched.node_red_pid();
    fault::kill(first);
    let seen = until("not running", &driver, |seen| seen.flows != Seen::Running).await;
    assert!(is_unknown(&seen), "a crash is no stop: {seen:?}");
    until("running again without an order", &driver, |seen| seen.flows == Seen::Running).await;
    assert_ne!(launched.node_red_pid(), first);
    assert_eq!(driver.fence().await.expect("fence"), Certain::ProcessGone);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashed_active_is_fenced_before_its_launcher_has_started_it_again() {
    let platform = PlatformStandIn::start();
    let launched = Launched::start(&platform, "a", &flows(), "running");
    let driver = launched.driver(|_| {});
    // A hung platform holds the launcher in 'crashed': it reports the crash before it restarts.
    platform.set_mode(Mode::Hung);
    fault::kill(launched.node_red_pid());
    wait_until(PATIENCE, "port closed", || if launched.port_is_open() { Err("open") } else { Ok(()) });
    assert_eq!(launched.health(), 200, "its health-check never notices a SIGKILL");
    assert!(is_unknown(&driver.observe().await));
    let fence = tokio::time::timeout(Duration::from_secs(1), driver.fence()).await;
    assert!(!matches!(fence, Ok(Ok(_))), "the launcher has not confirmed: {fence:?}");
    platform.set_mode(Mode::Up);
    assert_eq!(driver.fence().await.expect("fence"), Certain::ProcessGone);
    holds_for(Duration::from_secs(3), "it stays down", || if launched.port_is_open() { Err("open") } else { Ok(()) });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_red_that_ended_by_itself_is_not_ordered_to_stop_which_would_wedge_the_launcher() {
    let platform = PlatformStandIn::start();
    let launched = Launched::start(&platform, "a", &flows(), "running");
    let driver = launched.driver(|_| {});
    // SIGTERM makes Node-RED exit with code 0, which the launcher takes for a wanted end.
    fault::signal(launched.node_red_pid(), fault::Signal::TERM);
    launched.wait_for_state("stopped");
    assert_eq!(driver.fence().await.expect("fence"), Certain::ProcessGone);
    driver.start().await.expect("the launcher is not wedged");
    launched.wait_until_serving();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_by_the_platform_looks_like_a_stop_and_is_not_believed() {
    let platform = PlatformStandIn::start();
    let launched = Launched::start(&platform, "a", &flows(), "running");
    launched.wait_for_state("running");
    let driver = launched.driver(|_| {});
    let mut gaps = 0;
    std::thread::scope(|scope| {
        let restart = scope.spawn(|| launched.command(&json!({"cmd": "restart"})).unwrap());
        launched.wait_for_state("stopped");
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(until("running again", &driver, |seen| {
                assert_ne!(seen.flows, Seen::Stopped, "{seen:?}");
                gaps += 1;
                seen.flows == Seen::Running
            }))
        });
        assert_eq!(restart.join().unwrap(), 200);
    });
    assert!(gaps > 1, "the gap was looked at");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_of_a_killed_launcher_still_serves_and_is_not_fenced() {
    let platform = PlatformStandIn::start();
    let mut launched = Launched::start(&platform, "a", &flows(), "running");
    let driver = launched.driver(|settings| settings.stop_timeout = Duration::from_secs(2));
    launched.kill_launcher();
    let seen = driver.observe().await;
    assert_eq!(seen.flows, Seen::Running, "its port says so, its launcher nothing: {seen:?}");
    assert!(seen.ready.is_err(), "{seen:?}");
    driver.fence().await.expect_err("nobody is left to confirm a stop");

    // The launcher's supervisor brings it back; its own Node-RED can't have the port, again and again.
    launched.run();
    launched.wait_for_log("Node-RED exited rc=1");
    let error = driver.fence().await.expect_err("its launcher can't stop it");
    assert!(error.0.contains("orphan"), "{error}");
    let seen = driver.observe().await;
    assert!(seen.flows == Seen::Running && seen.ready.is_err(), "the orphan serves: {seen:?}");
    let error = driver.start().await.expect_err("an orphan is not taken for a start that worked");
    assert!(error.0.contains("orphan"), "{error}");

    launched.end_orphan();
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = driver.fence().await {
        assert!(Instant::now() < deadline, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_orphan_is_not_gone() {
    let platform = PlatformStandIn::start();
    let mut launched = Launched::start(&platform, "a", &flows(), "running");
    let orphan = launched.node_red_pid();
    launched.kill_launcher();
    fault::freeze(orphan);
    launched.run();
    launched.wait_for_log("Node-RED exited rc=1");
    let driver = launched.driver(|settings| {
        settings.look_timeout = Duration::from_millis(300);
        settings.stop_timeout = Duration::from_secs(4);
    });
    let error = driver.fence().await.expect_err("its port still accepts connections");
    assert!(error.0.contains("does not answer"), "{error}");
    assert_eq!((launched.state().as_str(), launched.health()), ("stopped", 500), "its launcher knows of nothing");
    assert!(is_unknown(&driver.observe().await));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_the_platform_is_answered_and_starts_nothing() {
    let platform = PlatformStandIn::start();
    let launched = Launched::start(&platform, "a", &flows(), "running");
    let driver = launched.driver(|_| {});
    driver.fence().await.expect("fence");
    platform.set_mode(Mode::Down);
    let error = driver.start().await.expect_err("an empty answer is no start");
    assert!(error.0.contains("platform"), "{error}");
    assert!(!launched.port_is_open());
    platform.set_mode(Mode::Up);
    driver.start().await.expect("start with the platform back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_a_hung_platform_holds_up_is_not_forgotten_by_the_fence() {
    let platform = PlatformStandIn::start();
    let launched = Launched::start(&platform, "a", &flows(), "running");
    let driver = launched.driver(|settings| {
        settings.start_timeout = Duration::from_secs(1);
        settings.stop_timeout = Duration::from_secs(3);
    });
    driver.fence().await.expect("fence");
    platform.set_mode(Mode::Hung);
    driver.start().await.expect_err("no answer");
    assert!(is_unknown(&driver.observe().await), "it may start at any time");
    driver.fence().await.expect_err("a stop now would be overridden");
    platform.set_mode(Mode::Up);
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = driver.fence().await {
        assert!(Instant::now() < deadline, "{error}");
    }
    holds_for(Duration::from_secs(3), "it stays down", || if launched.port_is_open() { Err("open") } else { Ok(()) });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_launcher_wedged_by_an_outage_of_the_platform_is_an_error_not_a_hang() {
    let platform = PlatformStandIn::start();
    let mut launched = Launched::start(&platform, "a", &flows(), "running");
    let driver = launched.driver(|settings| settings.start_timeout = Duration::from_secs(3));
    platform.set_mode(Mode::Down);
    fault::kill(launched.node_red_pid());
    // It restarts Node-RED, which can't load its flows and ends with code 0.
    launched.wait_for_state("stopped");
    // The last it does about that end is to report it, in vain.
    launched.launcher_process().wait_for_line(PATIENCE, "} stopped");
    // Anyone's stop now makes the launcher wait for an end that has been.
    assert_eq!(launched.command(&json!({"cmd": "stop"})).unwrap(), 200);
    platform.set_mode(Mode::Up);
    let error = driver.start().await.expect_err("no start comes of it");
    assert!(error.0.contains("wedged"), "{error}");
    // SIGTERM is ignored too: only SIGKILL helps.
    launched.launcher_process().kill();
    launched.run();
    until("back, flows on", &launched.driver(|_| {}), |seen| seen.flows == Seen::Running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_launcher_that_has_given_up_says_crashed_and_is_fenced_without_an_order() {
    let platform = PlatformStandIn::start();
    let mut launched = Launched::start(&platform, "a", &flows(), "running");
    let driver = launched.driver(|_| {});
    // A process on Node-RED's port makes it crash again and again, in safe mode too.
    launched.kill_launcher();
    launched.run();
    launched.wait_for_log("whilst in safe mode. Stopping.");
    launched.end_orphan();
    assert_eq!(launched.state(), "crashed");
    let orders = launched.log().matches("Stopping Node-RED").count();
    assert_eq!(driver.fence().await.expect("fence"), Certain::ProcessGone);
    assert_eq!(launched.log().matches("Stopping Node-RED").count(), orders, "a stop would wedge it");
    driver.start().await.expect("start");
    launched.wait_until_serving();
}

#[tokio::test(flavor = "multi_thread")]
async fn safe_mode_says_running_and_runs_nothing() {
    let platform = PlatformStandIn::start();
    let launched = Launched::start(&platform, "a", &flows(), "stopped");
    assert_eq!(launched.command(&json!({"cmd": "start", "safe": true})).unwrap(), 200);
    launched.wait_for_state("running");
    assert_eq!(launched.health(), 200);
    for driver in [launched.driver(|_| {}), launched.driver(|settings| settings.probe = None)] {
        let seen = driver.observe().await;
        assert!(is_unknown(&seen) && seen.ready.as_ref().is_err_and(|why| why.contains("safe mode")), "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_stopped_on_the_platform_make_a_start_that_runs_nothing() {
    let platform = PlatformStandIn::start();
    let launched = Launched::start(&platform, "a", &flows(), "stopped");
    platform.store("a", "settings", json!({"runtimeFlowState": "stop"}));
    let driver = launched.driver(|settings| settings.start_timeout = Duration::from_secs(12));
    let error = driver.start().await.expect_err("the process starts, its flows do not");
    assert!(error.0.contains("its flows are stopped"), "{error}");
    let seen = driver.observe().await;
    assert!(is_unknown(&seen), "anyone may start them in the editor: {seen:?}");
    assert_eq!(driver.fence().await.expect("fence"), Certain::ProcessGone);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_admin_api_has_no_call_that_starts_flows_alone() {
    let platform = PlatformStandIn::start();
    let launched = Launched::start(&platform, "a", &flows(), "running");
    let answer = hotspare_test_support::http::post(launched.node_red, "/flows/state", &json!({"state": "stop"}))
        .token("token")
        .send()
        .unwrap();
    assert_eq!(answer.status, 401, "its project's own token is refused: {answer:?}");
    assert_eq!(launched.command(&json!({"cmd": "suspend"})).unwrap(), 404);
}
