//! What must stay inside: tokens and secrets are in no log, metric, status, page, event or dump, however much is logged;
//! and who did what is on record. A fault of the program itself is seen.
#![allow(clippy::unwrap_used, reason = "a test that can't go on should stop")]

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use hotspare_test_support::fault::{self, Signal};
use hotspare_test_support::http;
use hotspare_test_support::pair::{PATIENCE, Pair, Setup};
use hotspare_test_support::process::Process;
use hotspare_test_support::site::{ADMIN, READ, SOON, Site};
use hotspare_test_support::wait::wait_until;
use serde_json::{Value, json};

/// Every file in the proxy's store.
fn kept_by_the_proxy(pair: &Pair) -> Vec<(String, String)> {
    let entries = fs::read_dir(pair.folder().join("store")).unwrap();
    let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
    let files = entries.map(|entry| entry.unwrap()).filter(|entry| entry.file_type().unwrap().is_file());
    files.map(|entry| entry.path()).map(|path| (path.display().to_string(), read(&path))).collect()
}

#[test]
fn no_secret_comes_out_at_the_highest_log_level() {
    let config = format!("{}[log]\nlevel = \"trace\"\n", Setup::default().config);
    let env = vec![("RUST_LOG", "trace".to_owned())];
    let mut pair = Setup { config, env, ..Setup::default() }.start();
    let before = pair.wait_until_steady();
    let secrets = pair.secrets();
    assert!(secrets.len() >= 4, "the admin token, two of members and the pair's: {}", secrets.len());

    let mut shown = Vec::new();
    for path in ["/", "/page/app.js", "/status", "/metrics", "/v1/events", "/v1/instances/line-1/explain", "/livez"] {
        let answer = pair.get(path).send().unwrap_or_else(|error| panic!("{path}: {error}"));
        shown.push((path.to_owned(), answer.head + &answer.body));
    }
    for member in &pair.members {
        let wrong = http::get(member.admin, "/hotspare/v1/status").token("a-wrong-token-of-this-test").send();
        shown.extend(wrong.map(|answer| (format!("launcher {}", member.name), answer.head + &answer.body)));
    }
    let wrong = http::get(pair.admin(), "/status").token("a-wrong-token-of-this-test").send().unwrap();
    assert_eq!(wrong.status, 401);
    shown.push(("a refusal".to_owned(), wrong.head + &wrong.body));
    assert_eq!(pair.order("switchover", &json!({"reason": "a test"})).status, 200);
    pair.wait_for_takeover(&before);
    let active = pair.wait_until_steady();
    fault::kill(pair.node_red_pid(&active.member));
    pair.wait_for_takeover(&active);

    shown.extend(kept_by_the_proxy(&pair));
    shown.push(("the proxy's log".to_owned(), pair.proxy().output()));
    for name in ["a", "b"] {
        shown.push((format!("launcher {name}'s log"), pair.launcher(name).output()));
    }
    for log in shown.iter().filter(|(place, _)| place.ends_with("log")) {
        assert!(log.1.contains("TRACE"), "{} is not at trace level: {:.1000}", log.0, log.1);
    }
    for (place, text) in &shown {
        for (what, secret) in &secrets {
            let at = text.find(secret.as_str());
            let around =
                at.map(|at| String::from_utf8_lossy(&text.as_bytes()[at.saturating_sub(200)..at]).into_owned());
            assert!(at.is_none(), "{what} is in {place}, after {around:?}");
        }
    }
}

#[test]
fn each_order_is_on_record_with_who_what_when_why_and_what_came_of_it() {
    let site = Site::start("");
    let active = site.active();
    site.says(&["switchover", "line-1", "--reason", "moving a switch"]);
    let refused = site.run(&["switchover", "line-1", "--to", "nobody", "--reason", "a slip"]);
    assert!(!refused.status.success());
    let forged = json!({"reason": "x\nINFO nothing happened"});
    let path = "/v1/instances/line-1/pause";
    assert_eq!(http::post(site.proxy(9480), path, &forged).token(ADMIN).send().unwrap().status, 400);
    assert_eq!(http::post(site.proxy(9480), path, &json!({})).token(READ).send().unwrap().status, 403);
    assert_eq!(http::post(site.proxy(9480), path, &json!({})).send().unwrap().status, 401);

    let events = site.says(&["events", "line-1", "--json", "--last", "1000"]);
    let entries = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let audited: Vec<Value> = entries.filter(|entry| entry["event"]["event"] == "audit").collect();
    let [done, not_done] = &audited[..] else { panic!("two orders were let through: {audited:?}") };
    assert!(done["at_ms"].as_u64().unwrap() > 1_700_000_000_000, "{done}");
    assert!(done["event"]["by"].as_str().unwrap().starts_with("tester (admin) at 127."), "{done}");
    assert_eq!((&done["event"]["what"], &done["event"]["why"]), (&json!("switchover"), &json!("moving a switch")));
    assert!(!done["event"]["result"].as_str().unwrap().starts_with("refused"), "{done}");
    assert!(not_done["event"]["result"].as_str().unwrap().starts_with("refused"), "{not_done}");
    assert_ne!(site.active(), active);
    let kept = fs::read_to_string(site.folder().join("store/events.jsonl")).unwrap();
    assert!(kept.contains("moving a switch"), "the record must outlive the process");
}

#[test]
fn pages_of_others_get_nothing_done_and_nothing_framed() {
    let site = Site::start("");
    let page = http::get(site.proxy(9480), "/").send().unwrap();
    let head = page.head.to_ascii_lowercase();
    for header in [
        "content-security-policy: default-src 'none'",
        "frame-ancestors 'none'",
        "x-frame-options: deny",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "cache-control: no-store",
    ] {
        assert!(head.contains(header), "{header} is missing: {head}");
    }
    let order = |origin: &str| {
        let request = format!(
            "POST /v1/instances/line-1/pause HTTP/1.1\r\nhost: {}\r\norigin: {origin}\r\n\
             authorization: Bearer {ADMIN}\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}",
            site.proxy(9480)
        );
        site.answer(9480, request.as_bytes())
    };
    assert!(order("http://evil.example").starts_with("HTTP/1.1 403"), "a foreign page paused the instance");
    assert!(order("null").starts_with("HTTP/1.1 403"), "a sandboxed page paused the instance");
    let own = order(&format!("http://{}", site.proxy(9480)));
    assert!(own.starts_with("HTTP/1.1 200"), "{own}");
}

#[test]
fn a_token_is_changed_without_a_gap() {
    let site = Site::start("");
    let status = |token| http::get(site.proxy(9480), "/status").token(token).send().unwrap().status;
    let file = site.folder().join("read.token");
    let next = "the-next-token-of-a-test";
    let reload = || {
        let config = site.folder().join("hotspare.toml");
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, text + "# changed\n").unwrap();
    };
    fs::write(&file, format!("{READ}\n{next}\n")).unwrap();
    reload();
    wait_until(SOON, "both tokens to be valid", || if status(next) == 200 { Ok(()) } else { Err(status(next)) });
    assert_eq!(status(READ), 200);
    fs::write(&file, format!("{next}\n")).unwrap();
    reload();
    wait_until(SOON, "the old token to be invalid", || if status(READ) == 401 { Ok(()) } else { Err(status(READ)) });
    assert_eq!(status(next), 200);
}

#[test]
fn a_crash_leaves_no_memory_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let through = ["prlimit", "--core=unlimited"];
    let mut ordinary = Command::new(through[0]);
    ordinary.current_dir(folder.path()).args([through[1], "sleep", "60"]);
    let mut ordinary = Process::start("an ordinary process", ordinary);
    wait_until(SOON, "sleep to run", || {
        let name = fs::read_to_string(format!("/proc/{}/comm", ordinary.pid())).unwrap_or_default();
        if name == "sleep\n" { Ok(()) } else { Err(name) }
    });
    ordinary.signal(Signal::ABORT);
    if !ordinary.wait(SOON).core_dumped() {
        eprintln!("this machine dumps no cores at all: there is nothing to see");
        return;
    }
    let mut pair = Setup { through: through.to_vec(), ..Setup::default() }.prepare();
    pair.start_proxy();
    pair.proxy().wait_for_line(SOON, "listening");
    pair.proxy().signal(Signal::ABORT);
    let status = pair.proxy().wait(SOON);
    assert!(status.signal().is_some() && !status.core_dumped(), "the proxy's memory was dumped: {status}");
}

#[test]
fn a_panic_of_the_engine_ends_the_proxy_and_no_flow() {
    let file = tempfile::tempdir().unwrap();
    let file = file.path().join("now");
    let env = vec![("HOTSPARE_PANIC", file.display().to_string())];
    let mut pair = Setup { env, ..Setup::default() }.start();
    let before = pair.wait_until_steady();
    pair.wait_for_act(&before);
    fs::write(&file, "").unwrap();
    let _ = pair.status();
    let status = pair.proxy().wait(PATIENCE);
    assert_eq!(status.code(), Some(69), "{status}: {}", pair.proxy().output());
    let output = pair.proxy().output();
    assert!(output.contains("the engine has ended") && output.contains("a panic that a test asked for"), "{output}");
    fs::remove_file(&file).unwrap();
    pair.start_proxy();
    assert_eq!(pair.wait_until_steady(), before, "the flows must have gone on under their epoch");
}
