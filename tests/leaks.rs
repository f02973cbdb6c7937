//! Two hundred failovers in a row leave nothing behind in the proxy: no descriptor, no memory.

use std::time::Duration;

use hotspare_test_support::fault::Pid;
use hotspare_test_support::site::{READ, SOON, Site};
use hotspare_test_support::{http, wait::wait_until};

const FAILOVERS: usize = 200;
/// Failovers before the first count: by then everything that is kept for use has been made.
const WARM: usize = 20;
/// The event log keeps its newest entries in memory: some KiB a failover until it is full.
const SLACK_KIB: u64 = 8 << 10;

#[test]
fn two_hundred_failovers_leave_nothing() {
    let mut site = Site::start("");
    let mut active = site.active();
    let mut warm = (0, 0);
    for failover in 1..=FAILOVERS {
        site.stop_server(&active);
        let other = wait_until(SOON, "the other server to answer", || {
            // A connection each time: the first to be refused is what starts the failover, and it waits.
            match site.answer(1880, b"") {
                name if name.is_empty() || name == active => Err(name),
                name => Ok(name),
            }
        });
        site.start_server(&active);
        ready_spare(&site);
        active = other;
        if failover == WARM {
            warm = (descriptors(site.proxy_pid()), resident_kib(site.proxy_pid()));
        }
    }
    let status = status(&site);
    let counted: u64 = status["failovers"].as_object().into_iter().flatten().filter_map(|(_, n)| n.as_u64()).sum();
    assert_eq!(counted, FAILOVERS as u64, "{status}");
    wait_until(SOON, "its descriptors to be as few as after the first failovers", || {
        let now = descriptors(site.proxy_pid());
        // A check may be under way.
        if now <= warm.0 + 4 { Ok(()) } else { Err(format!("{now}, {} before", warm.0)) }
    });
    let now = resident_kib(site.proxy_pid());
    assert!(now < warm.1 + SLACK_KIB, "{now} KiB, {} after {WARM} failovers", warm.1);
}

fn status(site: &Site) -> serde_json::Value {
    let page = http::get(site.proxy(9480), "/status").token(READ).within(Duration::from_secs(5)).send();
    page.expect("a status").json()["instances"][0].clone()
}

fn ready_spare(site: &Site) {
    wait_until(SOON, "an active and a ready spare", || {
        let seen = status(site);
        let members = seen["members"].as_array().map_or(&[][..], Vec::as_slice);
        let ready = members.iter().all(|member| member["ready"] == true || member["role"] == "active");
        if seen["state"] == "active" && ready { Ok(()) } else { Err(seen.to_string()) }
    });
}

fn descriptors(of: Pid) -> usize {
    std::fs::read_dir(format!("/proc/{of}/fd")).expect("its descriptors").count()
}

fn resident_kib(of: Pid) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{of}/status")).expect("its status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its memory");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number of KiB")
}
