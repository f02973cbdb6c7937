//! How long after a failover the live page shows it, in a real Chromium on this machine.
//!
//!     cargo bench --bench page [-- --runs 20]
//!
//! From the time in the event log at which the new active was decided to the moment at which the card on the page has
//! changed, both by this machine's clock. The servers behind the proxy are plain ones: Node-RED is not what is measured.

use std::env::args;

use hotspare_test_support::browser::Browser;
use hotspare_test_support::site::{ADMIN, Site};
use serde_json::Value;

/// Notes when the card last changed who is active.
const WATCH: &str =
    "window.active = () => document.querySelector('#cards .card').innerText.match(/(\\w+) active/)?.[1];
    window.shown = [window.active(), 0];
    new MutationObserver(() => { const now = window.active();
        if (now && now !== window.shown[0]) window.shown = [now, Date.now()];
    }).observe(document.querySelector('#cards'), {subtree: true, childList: true, characterData: true}); true";

fn main() {
    let runs = args().skip_while(|arg| arg != "--runs").nth(1).and_then(|runs| runs.parse().ok()).unwrap_or(20);
    let site = Site::start("");
    let mut browser = Browser::start();
    browser.open(&format!("http://{}/", site.proxy(9480)));
    browser.wait_for("the question for a token", "document.querySelector('#login')?.open === true");
    browser.type_text(ADMIN);
    browser.press("Enter");
    browser.wait_for("a card", "document.querySelector('#cards .card')?.innerText.includes('ready')");
    browser.eval(WATCH);
    let mut times: Vec<u64> = (0..runs).map(|_| once(&site, &mut browser)).collect();
    times.sort_unstable();
    println!(
        "a failover is on the page after (ms): median {}, worst {}; {runs} runs",
        times[times.len() / 2],
        times[times.len() - 1]
    );
}

/// One failover: from the decision to the card, in milliseconds.
fn once(site: &Site, browser: &mut Browser) -> u64 {
    site.says(&["failover", "line-1", "--force", "--yes"]);
    let new = site.active();
    browser.wait_for("the failover", &format!("window.shown[0] === '{new}'"));
    let shown = browser.eval("window.shown[1]").as_f64().expect("a time") as u64;
    let events = site.says(&["events", "line-1", "--json", "--last", "1000"]);
    let mut events = events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let decided = events.rfind(|event| event["event"]["event"] == "active");
    shown.saturating_sub(decided.expect("the event of it")["at_ms"].as_u64().expect("a time"))
}
