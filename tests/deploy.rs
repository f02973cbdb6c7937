//! Everything in deploy/ is what it says: checked by the tools it is made for, and held against the real program.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use hotspare_test_support::environment::hotspare;
use hotspare_test_support::pair::{PATIENCE, Setup};
use hotspare_test_support::wait::wait_until;

/// Chart, units, rules, dashboard, container files, configurations and the commands in the docs: `deploy/check` has
/// the list, and prints one line for each.
#[test]
fn the_checks_of_the_deploy_folder_pass() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(root.join("deploy/check")).arg(hotspare()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

/// Rules and dashboard ask for metrics by name; a running pair must have them. Those marked `later` need an event that
/// does not come here.
#[test]
fn a_running_pair_has_every_metric_that_rules_and_dashboard_use() {
    let pair = Setup::default().start();
    let listed: BTreeSet<&str> = include_str!("../deploy/monitoring/metrics.txt")
        .lines()
        .filter(|line| !line.starts_with('#') && !line.contains("later"))
        .map(str::trim)
        .collect();
    assert!(listed.len() > 15, "the list is hardly read: {listed:?}");
    wait_until(PATIENCE, "every metric of deploy/monitoring/metrics.txt", || {
        let page = pair.get("/metrics").send().map_err(|error| error.to_string())?.body;
        let present: BTreeSet<&str> = page.lines().filter_map(|line| line.split([' ', '{']).next()).collect();
        let missing: Vec<&str> = listed.difference(&present).copied().collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("not there: {missing:?}")) }
    });
}
