//! A dashboard in a real browser: FlowFuse's, whose page speaks Socket.IO with the Node-RED it came from. It is never
//! served by a member that is not active, and goes on by itself at the next one.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::os::unix::fs::symlink;

use hotspare_test_support::browser::Browser;
use hotspare_test_support::client::Who;
use hotspare_test_support::environment::dashboard_nodes;
use hotspare_test_support::fault;
use hotspare_test_support::flows::{DASHBOARD, Flows};
use hotspare_test_support::pair::{Pair, Setup};
use serde_json::json;

const PACKAGE: &str = r#"{"name": "node-red-project", "version": "0.0.1", "private": true,
"dependencies": {"@flowfuse/node-red-dashboard": "~1.31.0"}}"#;

/// Notes each text that the page shows, in the order in which it shows them.
const WATCH: &str = "window.shown = [];
new MutationObserver(() => {
    const text = document.body.innerText.match(/[ab]\\/\\d+\\/\\d+/)?.[0];
    if (text && text !== window.shown.at(-1)) window.shown.push(text);
}).observe(document.body, { subtree: true, childList: true, characterData: true });
true";

fn start() -> Pair {
    let mut pair = Setup { flows: Flows::new().dashboard(), http: true, ..Setup::default() }.prepare();
    for member in &pair.members {
        std::fs::write(member.user_dir.join("package.json"), PACKAGE).unwrap();
        symlink(dashboard_nodes(), member.user_dir.join("node_modules")).unwrap();
    }
    pair.start_launcher("a");
    pair.start_launcher("b");
    pair.start_proxy();
    pair
}

#[test]
fn a_page_shows_the_active_alone_and_its_buttons_reach_it_before_and_after_a_change() {
    let pair = start();
    let mut active = pair.wait_until_steady();
    let mut browser = Browser::start();
    browser.open(&format!("http://{}{DASHBOARD}/page", pair.front()));
    browser.wait_for("the page", "document.querySelector('button') !== null");
    browser.eval(WATCH);
    let shows = |browser: &mut Browser, who: &Who, pressed: u32| {
        let text = format!("{}/{}/{pressed}", who.member, who.epoch);
        browser.wait_for(&format!("{text} on the page"), &format!("window.shown.at(-1) === '{text}'"));
    };
    // Each Node-RED keeps its own count, in memory, while its flows are stopped too.
    let mut pressed = HashMap::from([("a".to_owned(), 0), ("b".to_owned(), 0)]);
    let mut press_at = |browser: &mut Browser, active: &Who| {
        let pressed = pressed.get_mut(&active.member).unwrap();
        shows(browser, active, *pressed);
        press(browser);
        *pressed += 1;
        shows(browser, active, *pressed);
    };
    press_at(&mut browser, &active);

    for planned in [true, false] {
        if planned {
            let answer = pair.order("switchover", &json!({}));
            assert_eq!(answer.status, 200, "{answer:?}");
        } else {
            fault::kill(pair.node_red_pid(&active.member));
        }
        active = pair.wait_for_takeover(&active);
        press_at(&mut browser, &active);
        pair.wait_until_steady();
    }

    let shown = browser.eval("window.shown");
    let epochs: Vec<u64> = shown
        .as_array()
        .unwrap()
        .iter()
        .map(|text| text.as_str().unwrap().split('/').nth(1).unwrap().parse().unwrap())
        .collect();
    assert!(epochs.is_sorted(), "an earlier active came back on the page: {shown}");
}

fn press(browser: &mut Browser) {
    let button = "[...document.querySelectorAll('button')].find(button => button.innerText.match(/press/i))";
    browser.wait_for("the button", &format!("{button} && ({button}.id = 'press')"));
    browser.click("#press");
}
