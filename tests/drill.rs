//! Drills: a fault on purpose, a report of what clients saw, and a refusal where the pair isn't fit for one.

use hotspare_test_support::pair::Setup;
use hotspare_test_support::site::{SOON, Site};
use hotspare_test_support::wait::wait_until;
use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Answers one HTTP request.
fn http(_: &str, stream: TcpStream) {
    let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
    if lines.by_ref().any(|line| line.is_empty()) {
        let _ = write!(&stream, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    }
}

const CHECK: &str = "[[instance.health.check]]\nkind = \"http\"\npath = \"/\"\n";

#[test]
fn a_planned_drill_reports_what_clients_saw() {
    let site = Site::serving(CHECK, http);
    let before = site.active();
    // Whether it passed is not asked here: this site drains for no time at all, so a request in flight may be cut.
    let output = site.run(&["drill", "line-1", "--reason", "a test"]);
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(said.contains("drill switchover ") && said.contains("clients: "), "{said}");
    assert_ne!(site.active(), before);
    let events = site.says(&["events", "line-1", "--json", "--last", "1000"]);
    assert!(events.contains("\"event\":\"drill\""), "{events}");
    let metrics = site.metrics();
    assert!(metrics.contains("hotspare_drill_age_seconds{instance=\"line-1\"}"), "{metrics}");
}

#[test]
fn a_drill_that_is_due_comes_by_itself() {
    let mut site = Site::serving(&format!("[instance.drill]\nevery = \"30d\"\n{CHECK}"), http);
    let never = "hotspare_drill_age_seconds{instance=\"line-1\"} inf";
    assert!(site.metrics().contains(never), "{}", site.metrics());
    site.run(&["drill", "line-1"]);
    let before = site.active();
    let drills = |site: &Site| site.says(&["events", "line-1", "--json", "--last", "1000"]);
    assert!(!drills(&site).contains("the schedule"), "it came long before its time: {}", drills(&site));
    site.restart_proxy_later(Duration::from_hours(24 * 31));
    wait_until(SOON * 2, "a drill by the schedule", || match drills(&site) {
        said if said.contains("the schedule") && site.active() != before => Ok(()),
        said => Err(said),
    });
}

#[test]
fn a_drill_is_refused_where_it_could_only_do_harm() {
    let site = Site::serving(CHECK, http);
    let refused = |arguments: &[&str], words: &str| {
        let output = site.run(&[&["drill", "line-1"], arguments].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    };
    refused(&["--fault", "crash"], "launcher.kind");
    let active = site.active();
    let spare = if active == "a" { "b" } else { "a" };
    site.says(&["fence", "line-1", "--member", spare]);
    refused(&[], "could not take over");
    site.says(&["release", "line-1", "--member", spare]);
    site.says(&["pause", "line-1", "--for", "5m", "--reason", "a test"]);
    refused(&[], "paused");
    assert_eq!(site.active(), active, "a refused drill changed something");
}

#[test]
fn a_crash_and_a_hang_on_purpose_are_met_like_real_ones() {
    let pair = Setup::default().start();
    for fault in ["crash", "hang"] {
        let before = pair.wait_until_steady();
        // How many requests a crash may cost is for the benches to say; here, that the report tells of it.
        let report = pair.order("drill", &json!({"fault": fault})).json().to_string();
        assert!(report.contains(&format!("drill {fault} ")) && report.contains("the spare took over"), "{report}");
        let after = pair.wait_until_steady();
        assert!(after.epoch > before.epoch && after.member != before.member, "{fault}: {before:?}, then {after:?}");
    }
}
