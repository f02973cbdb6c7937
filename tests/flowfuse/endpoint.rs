//! The calls that FlowFuse's platform and its Kubernetes driver make of a launcher, played against a real nr-launcher and
//! against our endpoint that means a pair of them: the answers must have the same shapes.
//!
//! The calls: `GET info` (its state and versions, within a second), `POST command` (start, stop, restart, logout, and
//! words it does not know), `GET logs` and `logs/entries` by cursor, `GET resources` and its websocket, and the
//! kubelet's `health-check`, `ready` and `startup`.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use hotspare_test_support::address::LoopbackBlock;
use hotspare_test_support::environment::{NodeRed, hotspare};
use hotspare_test_support::flows::Flows;
use hotspare_test_support::http::{self, Response};
use hotspare_test_support::node_red;
use hotspare_test_support::process::Process;
use hotspare_test_support::wait::{holds_for, wait_until};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::{self, WebSocket};

use crate::launched::{Launched, PATIENCE};
use crate::pair::Pair;
use crate::platform_stand_in::PlatformStandIn;

fn get(to: SocketAddr, path: &str) -> Response {
    http::get(to, path).within(Duration::from_secs(5)).send().unwrap_or_else(|e| panic!("GET {to}{path}: {e}"))
}

fn command(to: SocketAddr, body: &Value) -> Response {
    let answer = http::post(to, "/flowforge/command", body).within(PATIENCE).send();
    answer.unwrap_or_else(|e| panic!("POST {to} {body}: {e}"))
}

fn resource_stream(to: SocketAddr) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    tungstenite::client(format!("ws://{to}/flowforge/resources"), stream).unwrap().0
}

/// A launcher takes one in ten seconds.
fn next_sample(stream: &mut WebSocket<TcpStream>) -> Value {
    let message = stream.read().expect("a sample");
    serde_json::from_str(message.to_text().unwrap()).unwrap()
}

fn state(pair: &Pair) -> String {
    get(pair.endpoint(), "/flowforge/info").json()["state"].as_str().unwrap_or_default().to_owned()
}

fn wait_for_state(pair: &Pair, word: &str) {
    wait_until(PATIENCE, &format!("the pair is '{word}'"), || match state(pair) {
        state if state == word => Ok(()),
        other => Err(format!("{other}: {}", pair.status())),
    });
}

/// The shape of a value: its keys and the types below them, not what they hold. Lists by their first item.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), shape(value))).collect(),
        Value::Array(items) => items.first().map_or(json!([]), |first| json!([shape(first)])),
        Value::String(_) => json!("text"),
        Value::Number(_) => json!("number"),
        Value::Bool(_) => json!("bool"),
        Value::Null => json!("null"),
    }
}

/// Keys that only some entries or samples have.
fn without(mut value: Value, list: &str, keys: &[&str]) -> Value {
    if let Some(first) = value[list].as_array_mut().and_then(|items| items.first_mut()).and_then(Value::as_object_mut) {
        first.retain(|key, _| !keys.contains(&key.as_str()));
    }
    value
}

#[test]
fn every_question_is_answered_in_the_shape_of_a_real_launcher() {
    let pair = Pair::start("");
    let (real, ours) = (pair.member("a").launcher, pair.endpoint());
    pair.member("a").wait_for_state("running");

    let (expected, answer) = (get(real, "/flowforge/info"), get(ours, "/flowforge/info"));
    assert_eq!(shape(&answer.json()), shape(&expected.json()));
    assert_eq!((&answer.json()["state"], &answer.json()["id"]), (&json!("running"), &json!("line-1")));
    assert_eq!(answer.json()["versions"], expected.json()["versions"]);

    for path in ["/flowforge/health-check", "/flowforge/ready"] {
        let (expected, answer) = (get(real, path), get(ours, path));
        assert_eq!((answer.status, answer.body.as_str()), (expected.status, expected.body.as_str()), "{path}");
    }
    let (expected, answer) = (get(real, "/flowforge/startup"), get(ours, "/flowforge/startup"));
    assert_eq!(answer.body, expected.body);
    assert!(answer.head.contains("application/openmetrics-text"), "{}", answer.head);

    let sparse = ["type", "name", "id"];
    let (expected, answer) = (get(real, "/flowforge/logs").json(), get(ours, "/flowforge/logs").json());
    let listed = |logs: Value| without(json!({ "logs": logs }), "logs", &sparse);
    assert_eq!(shape(&listed(answer.clone())), shape(&listed(expected)));
    let times: Vec<&str> = answer.as_array().unwrap().iter().filter_map(|entry| entry["ts"].as_str()).collect();
    assert!(times.is_sorted(), "{times:?}");
    for member in ["a", "b"] {
        assert!(answer.as_array().unwrap().iter().any(|entry| entry["src"] == member), "lines of {member}");
    }

    let path = "/flowforge/logs/entries?limit=5";
    let (expected, answer) = (get(real, path).json(), get(ours, path).json());
    assert_eq!(shape(&without(answer.clone(), "logs", &sparse)), shape(&without(expected, "logs", &sparse)));
    assert!(answer["logs"].as_array().is_some_and(|logs| logs.len() >= 5), "{answer}");
    let before = answer["meta"]["previous_cursor"].as_str().unwrap().to_owned();
    let earlier = get(ours, &format!("{path}&cursor={before}")).json();
    let last = earlier["logs"].as_array().and_then(|logs| logs.last()).and_then(|entry| entry["ts"].as_str());
    assert!(last < answer["logs"][0]["ts"].as_str(), "the page before: {earlier}");
    let nonsense = "/flowforge/logs/entries?cursor=nonsense";
    assert_eq!(get(ours, nonsense).json(), get(real, nonsense).json());

    let (expected, answer) = (get(real, "/flowforge/resources").json(), get(ours, "/flowforge/resources").json());
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&answer), keys(&expected));

    // Both are opened before a sample is due: the pair's carries the launcher's, with the member's name.
    let [mut answer, mut expected] = [ours, real].map(resource_stream);
    let mut expected = next_sample(&mut expected);
    expected["src"] = json!("a");
    assert_eq!(next_sample(&mut answer), expected);

    for body in [json!({"cmd": "suspend"}), json!({"cmd": "start"}), json!({"cmd": "logout", "token": "x"})] {
        let (expected, answer) = (command(real, &body), command(ours, &body));
        assert_eq!((answer.status, answer.json()), (expected.status, expected.json()), "{body}");
    }
    assert_eq!(get(ours, "/flowforge/nothing").status, get(real, "/flowforge/nothing").status);
    let told = pair.status()["members"][0]["cannot_promise"].clone();
    assert!(told.as_str().is_some_and(|text| text.contains("its spare is cold")), "{told}");
    pair.assert_never_two();
}

/// Whether `ours` has all that `real` has, of the same types. It may have more.
fn assert_has_all_of(ours: &Value, real: &Value, what: &str) {
    match (ours, real) {
        (Value::Object(ours), Value::Object(real)) => {
            for (key, real) in real {
                let ours = ours.get(key).unwrap_or_else(|| panic!("{what}: no {key} in {ours:?}"));
                assert_has_all_of(ours, real, what);
            }
        }
        _ => assert_eq!(ours, real, "{what}"),
    }
}

#[test]
fn our_own_launcher_answers_as_the_real_one() {
    let platform = PlatformStandIn::start();
    let launched = Launched::start(&platform, "a", &Flows::new(), "running");
    let block = LoopbackBlock::take();
    let dir = TempDir::new().unwrap();
    node_red::write_user_dir(dir.path(), block.socket(1, 1880), &Flows::new());
    let (real, ours) = (launched.launcher, block.socket(1, 2880));
    let mut command_line = Command::new(hotspare());
    command_line.args(["launcher", "--name", "a", "--admin", &ours.to_string(), "--"]);
    command_line.args(node_red::command(NodeRed::V4, dir.path()));
    let _ours = Process::start("our launcher", command_line);
    let state = |to| http::get(to, "/flowforge/info").send().map(|answer| answer.json()["state"].clone());
    let wait_for = |word: &str| {
        for to in [real, ours] {
            wait_until(PATIENCE, &format!("'{word}'"), || match state(to) {
                Ok(seen) if seen == word => Ok(()),
                other => Err(format!("{other:?}")),
            });
        }
    };
    wait_for("running");

    let info = |to| get(to, "/flowforge/info").json();
    assert_has_all_of(&shape(&info(ours)), &shape(&info(real)), "info");
    for path in ["/flowforge/health-check", "/flowforge/ready"] {
        let (expected, answer) = (get(real, path), get(ours, path));
        assert_eq!((answer.status, answer.body.as_str()), (expected.status, expected.body.as_str()), "{path}");
    }
    let startup = get(ours, "/flowforge/startup");
    assert!(startup.head.contains("application/openmetrics-text"), "{}", startup.head);
    for metric in ["nr_created_timestamp ", "nr_startup_duration_ms "] {
        assert!(startup.body.contains(metric) && get(real, "/flowforge/startup").body.contains(metric), "{metric}");
    }
    let listed = |logs: Value| shape(&without(json!({ "logs": logs }), "logs", &["type", "name", "id"]));
    let logs = |to| listed(get(to, "/flowforge/logs").json());
    assert_has_all_of(&logs(ours), &logs(real), "logs");
    let entries = |to| shape(&get(to, "/flowforge/logs/entries?limit=5").json()["meta"]);
    assert_has_all_of(&entries(ours), &entries(real), "logs/entries");
    let keys =
        |to| shape(&without(get(to, "/flowforge/resources").json(), "resources", &[])).as_object().unwrap().len();
    assert_eq!(keys(ours), keys(real), "resources");

    for body in [json!({"cmd": "suspend"}), json!({"cmd": "start"})] {
        let (expected, answer) = (command(real, &body), command(ours, &body));
        assert_eq!((answer.status, answer.json()), (expected.status, expected.json()), "{body}");
    }
    for (cmd, word, health) in [("stop", "stopped", 500), ("start", "running", 200), ("restart", "running", 200)] {
        let (expected, answer) = (command(real, &json!({"cmd": cmd})), command(ours, &json!({"cmd": cmd})));
        assert_eq!((answer.status, answer.json()), (expected.status, expected.json()), "{cmd}");
        wait_for(word);
        for to in [real, ours] {
            wait_until(PATIENCE, &format!("health after {cmd}"), || match get(to, "/flowforge/health-check").status {
                seen if seen == health => Ok(()),
                other => Err(other),
            });
        }
    }
}

/// What the audit record says of orders: `what: result`, and by whom.
fn audit(pair: &Pair) -> Vec<(String, String)> {
    let events = get(pair.admin(), "/v1/events").json();
    let audits = events.as_array().unwrap().iter().map(|entry| &entry["event"]).filter(|e| e["event"] == "audit");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    audits.map(|e| (format!("{}: {}", text(&e["what"]), text(&e["result"])), text(&e["by"]))).collect()
}

#[test]
fn a_page_in_a_browser_gets_nothing_not_even_a_websocket() {
    let pair = Pair::start("");
    let page = ("Origin", "http://plant.example");
    for ask in [
        http::get(pair.endpoint(), "/flowforge/info"),
        http::post(pair.endpoint(), "/flowforge/command", &json!({"cmd": "stop"})),
    ] {
        assert_eq!(ask.header(page.0, page.1).send().unwrap().status, 403);
    }
    let stream = TcpStream::connect(pair.endpoint()).unwrap();
    let url = format!("ws://{}/flowforge/resources", pair.endpoint());
    let request = tungstenite::ClientRequestBuilder::new(url.parse().unwrap()).with_header(page.0, page.1);
    match tungstenite::client(request, stream) {
        Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer))) => assert_eq!(answer.status(), 403),
        other => panic!("a websocket to a page: {other:?}"),
    }
    assert!(audit(&pair).is_empty(), "nothing was ordered: {:?}", audit(&pair));
}

#[test]
fn stop_stops_both_members_and_start_brings_the_service_back() {
    let pair = Pair::start("");
    let answer = command(pair.endpoint(), &json!({"cmd": "stop"}));
    assert_eq!((answer.status, answer.json()), (200, json!({})));
    wait_for_state(&pair, "stopped");
    for member in &pair.members {
        assert!(!member.port_is_open(), "{} still serves", member.project);
    }
    assert_eq!(get(pair.endpoint(), "/flowforge/health-check").status, 500);
    assert_eq!(get(pair.endpoint(), "/flowforge/ready").status, 503);
    holds_for(Duration::from_secs(2), "nobody is started", || match state(&pair) {
        state if state == "stopped" => Ok(()),
        other => Err(other),
    });
    let answer = command(pair.endpoint(), &json!({"cmd": "start"}));
    assert_eq!((answer.status, answer.json()), (200, json!({})));
    wait_for_state(&pair, "running");
    pair.wait_until_steady();
    assert_eq!(command(pair.endpoint(), &json!({"cmd": "start"})).status, 409);
    let record = audit(&pair);
    let whats: Vec<&str> = record.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(whats, ["stop: done", "start: done", "start: it runs already"], "{record:?}");
    assert!(record.iter().all(|(_, by)| by == "the platform at 127.0.0.1"), "{record:?}");
    pair.assert_never_two();
}

#[test]
fn restart_restarts_both_one_after_the_other() {
    let pair = Pair::start("");
    let before = pair.wait_until_steady();
    let answer = command(pair.endpoint(), &json!({"cmd": "restart"}));
    assert_eq!((answer.status, answer.json()), (200, json!({})));
    wait_until(PATIENCE, "the other member serves", || match pair.who() {
        Ok(who) if who != before => Ok(()),
        other => Err(format!("{other:?} {}", pair.status())),
    });
    pair.wait_until_steady();
    pair.assert_never_two();
}
