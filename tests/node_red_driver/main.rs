//! The driver for bare Node-RED against the real one: every way in which its answers and the truth differ.
//!
//! A test is named for what it shows. What the driver itself looks like: `proxy/driver/node_red.rs`.
#![allow(clippy::unwrap_used)]

mod pair;
mod rig;

use std::time::{Duration, Instant};

use hotspare::driver::{Certain, Driver, Flows as Seen, ServeProbe};
use hotspare_test_support::authority::Authority;
use hotspare_test_support::environment::NodeRed;
use hotspare_test_support::flows::{Flows, SLOW_CLOSE, WHO};
use hotspare_test_support::wait::holds_for;
use hotspare_tls::stream::Expected;
use hotspare_tls::{ClientFiles, Keeper};
use rig::{Boot, PATIENCE, Rig, SETTLE, is_unknown, until};
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread")]
async fn flows_are_started_and_stopped_and_seen_to_be_on_node_red_4() {
    started_and_stopped(NodeRed::V4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_are_started_and_stopped_and_seen_to_be_on_node_red_5() {
    started_and_stopped(NodeRed::V5).await;
}

async fn started_and_stopped(version: NodeRed) {
    let rig = Rig::of(version, &Flows::new(), Boot::Stopped);
    let driver = rig.driver(|settings| settings.probe = Some(ServeProbe { path: WHO.to_owned(), status: None }));
    let seen = until("a stop that lasts is believed", &driver, |seen| seen.flows == Seen::Stopped).await;
    assert!(seen.up && seen.ready.is_ok(), "{seen:?}");
    assert!(seen.revision.is_some() && seen.node_red.is_some(), "{seen:?}");

    driver.start().await.expect("start");
    assert_eq!(rig.get(WHO), 200);
    assert_eq!(driver.observe().await.flows, Seen::Running);

    assert_eq!(driver.fence().await.expect("fence"), Certain::FlowsStopped);
    assert_eq!(rig.get(WHO), 404);
    assert_eq!(driver.observe().await.flows, Seen::Stopped, "its own confirmed stop is believed at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_with_missing_node_types_says_start_and_is_none() {
    let mut rig = Rig::prepare(NodeRed::V4, &Flows::new().missing_type());
    rig.run(&[]);
    rig.wait_for_line("Waiting for missing types");
    let driver = rig.driver(|_| {});
    driver.fence().await.expect("a stop, as for a spare");
    let seen = driver.observe().await;
    assert!(seen.ready.as_ref().is_err_and(|why| why.contains("not-installed-anywhere")), "{seen:?}");
    let error = driver.start().await.expect_err("a start that runs nothing");
    assert!(error.0.contains("not-installed-anywhere"), "{error}");
    assert_eq!(rig.state(), "start", "Node-RED itself says so");
    let seen = driver.observe().await;
    assert!(is_unknown(&seen.flows), "it would run as soon as the type is installed: {seen:?}");
    assert_eq!(driver.fence().await.expect("fence"), Certain::FlowsStopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_pinned_by_settings_answers_200_and_stop() {
    let mut rig = Rig::prepare(NodeRed::V4, &Flows::new());
    rig.run(&["-D", "runtimeFlowState=stop"]);
    let error = rig.driver(|_| {}).start().await.expect_err("a start that is refused silently");
    assert!(error.0.contains("'stop'"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_says_start_but_serves_nothing_is_none() {
    let rig = Rig::start(&Flows::new(), Boot::Running);
    let driver = rig.driver(|settings| {
        settings.probe = Some(ServeProbe { path: "/nothing-here".to_owned(), status: None });
        settings.start_timeout = Duration::from_secs(1);
    });
    let error = driver.start().await.expect_err("a start whose probe is not answered");
    assert!(error.0.contains("/nothing-here") && error.0.contains("404"), "{error}");
    assert!(is_unknown(&driver.observe().await.flows));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nodes_close_node_red_says_stop_and_the_driver_does_not() {
    let closing = Duration::from_secs(2);
    let mut rig = Rig::start(&Flows::new().slow_close(closing), Boot::Running);
    rig.wait_for_line(SLOW_CLOSE);
    let driver = rig.driver(|_| {});
    let began = Instant::now();
    let fence = async { (driver.fence().await, began.elapsed()) };
    let watch = async {
        until_state(&rig, "stop").await;
        driver.observe().await
    };
    let ((fenced, took), seen) = tokio::join!(fence, watch);
    assert_eq!(fenced.expect("fence"), Certain::FlowsStopped);
    assert!(is_unknown(&seen.flows), "seen while its nodes closed: {seen:?}");
    assert!(took >= closing, "confirmed after {took:?}, while a node closes for {closing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_stop_waits_for_the_first_although_node_red_answers_it_at_once() {
    let closing = Duration::from_secs(2);
    let mut rig = Rig::start(&Flows::new().slow_close(closing), Boot::Running);
    rig.wait_for_line(SLOW_CLOSE);
    let driver = rig.driver(|_| {});
    let began = Instant::now();
    let gave_up = tokio::time::timeout(Duration::from_millis(300), driver.fence()).await;
    assert!(gave_up.is_err(), "the caller of the first fence gives up");
    assert_eq!(rig.state(), "stop");
    assert!(is_unknown(&driver.observe().await.flows), "the first stop is still under way");
    assert_eq!(driver.fence().await.expect("fence"), Certain::FlowsStopped);
    assert!(began.elapsed() >= closing, "confirmed after {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_by_somebody_else_is_not_believed_while_nodes_may_close() {
    let closing = Duration::from_secs(1);
    let mut rig = Rig::start(&Flows::new().slow_close(closing), Boot::Running);
    rig.wait_for_line(SLOW_CLOSE);
    let began = Instant::now();
    let _somebody = rig.post_state_in_background("stop");
    until_state(&rig, "stop").await;
    let driver = rig.driver(|_| {});
    assert!(is_unknown(&driver.observe().await.flows));
    assert_eq!(driver.fence().await.expect("fence"), Certain::FlowsStopped);
    assert!(began.elapsed() >= SETTLE.min(closing), "confirmed after {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_node_red_is_unknown_and_not_fenced() {
    let rig = Rig::start(&Flows::new(), Boot::Running);
    let driver = rig.driver(|settings| {
        settings.look_timeout = Duration::from_millis(300);
        settings.stop_timeout = Duration::from_millis(600);
    });
    rig.freeze();
    let seen = driver.observe().await;
    assert!(is_unknown(&seen.flows) && !seen.up, "its port still accepts connections: {seen:?}");
    let error = driver.fence().await.expect_err("nothing is confirmed");
    assert!(error.0.contains("not answered"), "{error}");
    rig.thaw();
    fence_again(&driver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_left_in_the_queue_of_a_frozen_node_red_is_waited_for_before_a_stop_counts() {
    let rig = Rig::start(&Flows::new(), Boot::Stopped);
    let driver = rig.driver(|settings| {
        settings.start_timeout = Duration::from_millis(300);
        settings.stop_timeout = Duration::from_millis(600);
    });
    rig.freeze();
    driver.start().await.expect_err("no answer to the start");
    let error = driver.fence().await.expect_err("the start is still in its queue");
    assert!(error.0.contains("still under way"), "{error}");
    rig.thaw();
    fence_again(&driver).await;
    holds_for(Duration::from_secs(1), "the flows stay stopped", || match rig.state().as_str() {
        "stop" => Ok(()),
        other => Err(other.to_owned()),
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_red_on_this_host_is_gone() {
    let mut rig = Rig::start(&Flows::new(), Boot::Running);
    let driver = rig.driver(|_| {});
    assert_eq!(driver.observe().await.flows, Seen::Running);
    rig.kill();
    let seen = until("gone", &driver, |seen| seen.flows == Seen::Stopped).await;
    assert!(!seen.up && seen.ready.is_err(), "{seen:?}");
    assert_eq!(driver.fence().await.expect("fence"), Certain::ProcessGone);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashed_active_that_its_supervisor_brings_back_runs_and_is_seen_to() {
    let mut rig = Rig::start(&Flows::new(), Boot::Stopped);
    let driver = rig.driver(|_| {});
    driver.start().await.expect("start");
    rig.wait_until_stored("start");
    rig.kill();
    until("gone", &driver, |seen| seen.flows == Seen::Stopped).await;
    rig.run(&[]);
    let seen = until("running again without an order", &driver, |seen| seen.flows == Seen::Running).await;
    assert!(seen.up, "{seen:?}");
    assert_eq!(driver.fence().await.expect("fence"), Certain::FlowsStopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn safe_mode_is_neither_running_nor_stopped() {
    let mut rig = Rig::prepare(NodeRed::V4, &Flows::new());
    rig.run(&["--safe"]);
    let driver = rig.driver(|_| {});
    let seen = until("safe mode", &driver, |seen| format!("{seen:?}").contains("safe mode")).await;
    assert!(is_unknown(&seen.flows) && seen.ready.is_err(), "any deploy would start its flows: {seen:?}");
    assert_eq!(driver.fence().await.expect("fence"), Certain::FlowsStopped);
    assert_eq!(rig.state(), "stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_admin_auth_only_the_right_token_tells_the_state() {
    let mut rig = Rig::prepare(NodeRed::V4, &Flows::new());
    rig.add_settings(
        "module.exports.adminAuth = { type: 'credentials', users: [], tokens: async token => token === 'right'
            ? { username: 'hotspare', permissions: ['flows.read', 'flows.write'] } : null };",
    );
    rig.run(&[]);
    let wrong = rig.driver(|settings| settings.token = Some(rig::secret("wrong")));
    let seen = until("401", &wrong, |seen| format!("{:?}", seen.flows).contains("401")).await;
    assert!(is_unknown(&seen.flows) && seen.ready.is_err(), "{seen:?}");
    wrong.fence().await.expect_err("a refused stop is no fence");

    let right = rig.driver(|settings| settings.token = Some(rig::secret("right")));
    until("running", &right, |seen| seen.flows == Seen::Running).await;
    assert_eq!(right.fence().await.expect("fence"), Certain::FlowsStopped);
    right.start().await.expect("start");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_red_behind_a_certificate_of_nobodys_is_unknown_and_the_right_one_is_ordered_about() {
    let mut rig = Rig::prepare(NodeRed::V4, &Flows::new());
    let (ours, theirs) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (ours, theirs) = (Authority::new(ours.path()), Authority::new(theirs.path()));
    ours.sign("member", &["member.example"]);
    let read = |name: &str| format!("require('fs').readFileSync({:?})", ours.file(name));
    rig.add_settings(&format!(
        "module.exports.https = {{ cert: {}, key: {} }};",
        read("member.crt"),
        read("member.key")
    ));
    rig.spawn(&[]);
    rig.wait_for_line("Started flows");
    let trusting = |authority: &Authority, name: &str| {
        let files = ClientFiles { ca_file: Some(authority.file("ca.crt")), pair: None };
        let tls = Expected { client: Keeper::default().client(files).unwrap(), name: Some(name.to_owned()) };
        rig.driver(|settings| {
            settings.api = settings.api.replace("http://", "https://");
            settings.probe = Some(ServeProbe { path: WHO.to_owned(), status: None });
            (settings.api_tls, settings.tls) = (Some(tls.clone()), Some(tls));
        })
    };
    for (driver, why) in [
        (trusting(&theirs, "member.example"), "invalid peer certificate"),
        (trusting(&ours, "other.example"), "not valid for name"),
    ] {
        let seen = driver.observe().await;
        assert!(matches!(&seen.flows, Seen::Unknown(said) if said.contains(why)), "{why}: {seen:?}");
        driver.fence().await.expect_err("an order to a stranger");
    }
    let driver = trusting(&ours, "member.example");
    until("running", &driver, |seen| seen.flows == Seen::Running && seen.revision.is_some()).await;
    assert_eq!(driver.fence().await.expect("fence"), Certain::FlowsStopped);
    driver.start().await.expect("start");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_runtime_state_enabled_no_order_is_taken_for_done() {
    let mut rig = Rig::prepare(NodeRed::V4, &Flows::new());
    rig.add_settings("module.exports.runtimeState = { enabled: false };");
    rig.run(&[]);
    let driver = rig.driver(|_| {});
    until("running", &driver, |seen| seen.flows == Seen::Running).await;
    let error = driver.fence().await.expect_err("404");
    assert!(error.0.contains("404") && error.0.contains("runtimeState"), "{error}");
}

/// As the engine does: a fence that failed is given again.
async fn fence_again(driver: &dyn Driver) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = driver.fence().await {
        assert!(Instant::now() < deadline, "{error}");
    }
}

async fn until_state(rig: &Rig, state: &str) {
    let deadline = Instant::now() + PATIENCE;
    while rig.state() != state {
        assert!(Instant::now() < deadline, "waited for '{state}', last seen '{}'", rig.state());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
