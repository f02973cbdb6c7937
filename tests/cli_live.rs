//! The command line against a running proxy, with two plain servers behind it: what each command shows and changes.
#![allow(clippy::unwrap_used, reason = "a test that can't go on should stop")]

use hotspare_test_support::process::Process;
use hotspare_test_support::site::{ADMIN, READ, SOON, Site};
use hotspare_test_support::wait::wait_until;
use serde_json::Value;

#[test]
fn what_is_shown_and_what_is_changed() {
    let site = Site::start("");
    let (old, new) = if site.active() == "a" { ("a", "b") } else { ("b", "a") };

    let all = site.says(&["status"]);
    assert!(all.starts_with("INSTANCE") && all.contains("line-1") && all.contains(&format!("{new} ready")), "{all}");
    assert!(!all.contains('\u{1b}'), "colours without a terminal: {all:?}");
    let one = site.says(&["status", "line-1"]);
    assert!(one.contains("MEMBER") && one.contains("listener") && one.contains("healthy"), "{one}");

    assert!(site.says(&["switchover", "line-1", "--check"]).contains("would work"));
    assert_eq!(site.active(), old, "a check changed something");
    let told = site.says(&["switchover", "line-1", "--reason", "a test"]);
    assert!(told.contains("a test") && told.lines().count() > 1, "no progress shown: {told}");
    assert_eq!((site.active(), site.answer(1880, b"")), (new.to_owned(), new.to_owned()));

    let events = site.says(&["events", "line-1", "--json", "--last", "1000"]);
    let ids: Vec<u64> =
        events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_u64().unwrap()).collect();
    assert!(ids.len() > 3 && ids.is_sorted(), "{ids:?}");
    let story = site.says(&["explain", "line-1"]);
    assert!(story.contains("The last change") && story.contains("a test"), "{story}");

    site.says(&["pause", "line-1", "--for", "30m", "--reason", "moving a switch"]);
    let paused = site.says(&["status", "line-1"]);
    assert!(paused.contains("paused") && paused.contains("moving a switch; ends in 29 min"), "{paused}");
    site.says(&["resume", "line-1"]);
    assert!(!site.says(&["status", "line-1"]).contains("paused"));

    site.says(&["fence", "line-1", "--member", old]);
    assert!(site.says(&["status"]).contains(&format!("{old} not ready")));
    site.says(&["release", "line-1", "--member", old]);
    site.says(&["failover", "line-1", "--force", "--yes"]);
    assert_eq!(site.active(), old);
}

#[test]
fn what_is_refused_says_why_and_with_which_code() {
    let site = Site::start("");
    let active = site.active();
    for (token, arguments, code, words) in [
        (ADMIN, &["status", "line-9"][..], 1, "there are: line-1"),
        (ADMIN, &["switchover", "line-1", "--to", &active], 1, "refused"),
        (ADMIN, &["switchover", "line-1", "--to", "nobody"], 1, "refused"),
        (ADMIN, &["switchover", "line-9"], 1, "refused"),
        (ADMIN, &["failover", "line-1", "--force"], 2, "both run"),
        (ADMIN, &["fence", "line-1", "--member", &active], 2, "fails over"),
        (READ, &["switchover", "line-1"], 77, "role"),
        ("wrong", &["status"], 77, "token"),
        ("", &["events", "--follow"], 77, "token"),
    ] {
        let output = site.command(token, arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
        assert!(!said.contains(READ) && !said.contains(ADMIN), "a token is shown: {said}");
    }
    assert_eq!(site.active(), active, "a refused order changed something");
    assert!(site.command(READ, &["status"]).output().unwrap().status.success());
}

#[test]
fn events_are_followed_as_they_happen() {
    let site = Site::start("");
    let mut follow =
        Process::start("events --follow", site.command(READ, &["events", "line-1", "--follow", "--last", "0"]));
    // The stream is open once an event that was made for it comes through; which one it is doesn't matter.
    wait_until(SOON, "an event through the stream", || {
        site.says(&["pause", "line-1", "--for", "1m", "--reason", "hello stream"]);
        site.says(&["resume", "line-1"]);
        let seen = follow.output();
        if seen.contains("hello stream") { Ok(()) } else { Err(seen) }
    });
    site.says(&["switchover", "line-1", "--reason", "for the stream"]);
    follow.wait_for_line(SOON, "for the stream");
    assert!(follow.is_running(), "{}", follow.output());

    let mut watch = Process::start("watch", site.command(READ, &["watch", "--every", "100ms"]));
    watch.wait_for_line(SOON, "line-1");
    let active = site.active();
    site.says(&["fence", "line-1", "--member", if active == "a" { "b" } else { "a" }]);
    watch.wait_for_line(SOON, "not ready");
}
