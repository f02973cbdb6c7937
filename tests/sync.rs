//! What is deployed or installed on the active reaches the spare, with real Node-REDs and a real npm.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use hotspare_test_support::fault;
use hotspare_test_support::flows::{Flows, TICK};
use hotspare_test_support::http;
use hotspare_test_support::pair::{PATIENCE, Pair, Setup};
use hotspare_test_support::process::run;
use hotspare_test_support::wait::wait_until;
use hotspare_test_support::witness::judge;

/// npm and a restart of Node-RED, on a busy machine.
const INSTALLED_WITHIN: Duration = Duration::from_secs(120);

fn wait_for_sync(pair: &Pair, synced: bool) {
    wait_until(INSTALLED_WITHIN, &format!("in_sync is {synced}"), || match pair.status()? {
        status if status["in_sync"] == synced => Ok(()),
        status => Err(status.to_string()),
    });
}

/// What a deploy in the editor of the active sends: the flows with `more`, through the front.
fn deploy(pair: &Pair, more: &[Value]) {
    let mut flows = http::get(pair.front(), "/flows").send().unwrap().json().as_array().unwrap().clone();
    flows.extend_from_slice(more);
    let answer = http::post(pair.front(), "/flows", &Value::Array(flows)).send().unwrap();
    assert!((200..300).contains(&answer.status), "{answer:?}");
}

/// The flows in a member's file, which must be whole whenever it is looked at.
fn stored(pair: &Pair, name: &str) -> Value {
    serde_json::from_slice(&fs::read(pair.member(name).user_dir.join("flows.json")).unwrap()).unwrap()
}

/// An endpoint that says `word`, and with it the user that a node with credentials knows.
fn endpoint(path: &str, word: &str) -> Vec<Value> {
    vec![
        json!({"id": "new-in", "type": "http in", "z": "tab", "name": "", "url": path, "method": "get",
               "upload": false, "swaggerDoc": "", "wires": [["new-do"]]}),
        json!({"id": "new-do", "type": "template", "z": "tab", "name": "", "field": "payload", "fieldType": "msg",
               "format": "handlebars", "syntax": "plain", "template": word, "output": "str", "wires": [["new-out"]]}),
        json!({"id": "new-out", "type": "http response", "z": "tab", "name": "", "statusCode": "", "headers": {},
               "wires": []}),
    ]
}

#[test]
fn a_deploy_is_there_when_the_active_dies_a_second_later_with_credentials_that_work() {
    let pair = Setup::default().start();
    let before = pair.wait_until_steady();
    // A flow that asks a service with a password.
    let mut nodes = endpoint("/private", "let in");
    nodes[0]["wires"] = json!([["ask"]]);
    nodes.push(json!({"id": "ask", "type": "http request", "z": "tab", "name": "", "method": "GET", "ret": "txt",
        "paytoqs": "ignore", "url": format!("http://{}/", guarded_service()), "tls": "", "persist": false, "proxy": "",
        "authType": "basic", "headers": [], "wires": [["new-out"]],
        "credentials": {"user": "line", "password": "one"}}));
    deploy(&pair, &nodes);
    std::thread::sleep(Duration::from_secs(1));
    fault::kill(pair.node_red_pid(&before.member));
    pair.wait_for_takeover(&before);
    let answer = http::get(pair.front(), "/private").send().unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "let in: line:one"), "{answer:?}");
    judge(&pair.sink.history(), TICK).assert_clean();
}

/// Answers with who asked, by name and password; lives as long as the test.
fn guarded_service() -> std::net::SocketAddr {
    use std::io::{BufRead, BufReader, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let lines: Vec<String> =
                BufReader::new(&stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
            // "line:one" in base64.
            let known = lines.iter().any(|line| line.eq_ignore_ascii_case("authorization: Basic bGluZTpvbmU="));
            let body = if known { "let in: line:one" } else { "nobody I know" };
            let _ =
                write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        }
    });
    address
}

/// A package with one node type, as `npm pack` makes it.
fn package(folder: &Path, name: &str, version: &str) -> PathBuf {
    let source = folder.join(format!("{name}-{version}"));
    fs::create_dir_all(&source).unwrap();
    let manifest = json!({"name": name, "version": version, "license": "MIT",
        "node-red": {"nodes": {name: "node.js"}}});
    fs::write(source.join("package.json"), manifest.to_string()).unwrap();
    let code = format!(
        "module.exports = RED => RED.nodes.registerType('{name}', function (config) {{\n\
           RED.nodes.createNode(this, config)\n\
           this.on('input', (msg, send, done) => {{ msg.payload = '{name} {version}'; send(msg); done() }})\n\
         }})\n"
    );
    fs::write(source.join("node.js"), code).unwrap();
    let page = format!(
        "<script type=\"text/javascript\">RED.nodes.registerType('{name}', {{category: 'test', defaults: {{}}, \
         inputs: 1, outputs: 1}})</script>"
    );
    fs::write(source.join("node.html"), page).unwrap();
    let said = run("npm", ["pack", "--silent", "--pack-destination", path(folder), path(&source)]);
    folder.join(said.trim())
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What the palette of the active's editor does: npm in its user folder, and Node-RED loads the nodes.
fn install(pair: &Pair, on: &str, tarball: &Path) {
    let bytes = fs::read(tarball).unwrap();
    let answer = http::upload(pair.member(on).node_red, "/nodes", "tarball", path(tarball), &bytes, PATIENCE).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn nodes_installed_on_the_active_are_installed_on_the_spare_which_is_no_spare_until_then() {
    let pair = Setup { flows: Flows::new().echo(), ..Setup::default() }.start();
    let before = pair.wait_until_steady();
    let spare = pair.other(&before.member);
    wait_for_sync(&pair, true);
    let process = pair.node_red_pid(spare.name);

    let tarball = package(pair.folder(), "greeter", "1.0.0");
    install(&pair, &before.member, &tarball);
    wait_for_sync(&pair, false);
    let check = pair.cli(&["switchover", "line-1", "--check"]).output().unwrap();
    let said = String::from_utf8_lossy(&check.stderr);
    // Still different, or being restarted with them, or ready by now.
    assert!(check.status.success() || said.contains("nodes are installed") || said.contains(spare.name), "{said}");
    wait_for_sync(&pair, true);
    assert!(spare.user_dir.join("node_modules/greeter/package.json").is_file());
    assert_ne!(pair.node_red_pid(spare.name), process, "only a restart loads them");
    assert_eq!(pair.who().as_ref(), Ok(&before), "the active went on");

    let mut nodes = endpoint("/greet", "");
    nodes[1] = json!({"id": "new-do", "type": "greeter", "z": "tab", "name": "", "wires": [["new-out"]]});
    deploy(&pair, &nodes);
    wait_until(PATIENCE, "the new flows at the spare", || match stored(&pair, spare.name) {
        flows if flows.to_string().contains("/greet") => Ok(()),
        flows => Err(flows),
    });
    wait_for_sync(&pair, true);
    pair.wait_until_steady();
    let answer = pair.order("switchover", &json!({}));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(http::get(pair.front(), "/greet").send().unwrap().body, "greeter 1.0.0");
    judge(&pair.sink.history(), TICK).assert_clean();
}

#[test]
fn nodes_that_cannot_be_installed_on_the_spare_keep_it_from_a_planned_change_and_from_no_other() {
    let pair = Setup::default().start();
    let before = pair.wait_until_steady();
    // A module that the active has and nobody can get any more. `package.json` comes last: it makes it count.
    let home = &pair.member(&before.member).user_dir;
    fs::create_dir_all(home.join("node_modules/greeter")).unwrap();
    fs::write(home.join("node_modules/greeter/package.json"), r#"{"name":"greeter","version":"1.0.0"}"#).unwrap();
    let gone = format!("file:{}", path(&pair.folder().join("gone.tgz")));
    let manifest = json!({"name": "node-red-project", "version": "0.0.1", "dependencies": {"greeter": gone}});
    fs::write(home.join("package.json.new"), manifest.to_string()).unwrap();
    fs::rename(home.join("package.json.new"), home.join("package.json")).unwrap();

    let refusal = wait_until(INSTALLED_WITHIN, "npm's own words in the refusal", || {
        let output = pair.cli(&["switchover", "line-1", "--check"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if said.contains("npm failed") { Ok(said) } else { Err(said) }
    });
    assert!(refusal.contains("other nodes are installed"), "{refusal}");
    assert_eq!(pair.order("switchover", &json!({})).status, 409);
    wait_until(PATIENCE, "an alarm about the drift", || {
        let events = pair.get("/v1/events").send().map_err(|error| error.to_string())?.json();
        let alarm = |event: &Value| event["level"] == "alarm" && event.to_string().contains("out_of_sync");
        if events.as_array().into_iter().flatten().any(alarm) { Ok(()) } else { Err(events.to_string()) }
    });
    fault::kill(pair.node_red_pid(&before.member));
    pair.wait_for_takeover(&before);
    judge(&pair.sink.history(), TICK).assert_clean();
}

#[test]
fn files_of_context_stores_are_copied_where_that_is_configured() {
    let counting = "const count = (flow.get('count') || 0) + 1;\nflow.set('count', count);\nmsg.payload = String(count);\nreturn msg;";
    let mut pair = Setup::default().prepare();
    let edit = |file: PathBuf, from: &str, to: &str| {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(file, text.replacen(from, to, 1)).unwrap();
    };
    edit(pair.folder().join("hotspare.toml"), "name = \"line-1\"\n", "name = \"line-1\"\ncopy_context = \"1s\"\n");
    for member in &pair.members {
        let stores =
            "contextStorage: { default: { module: 'localfilesystem', config: { flushInterval: 1 } } },\n telemetry:";
        edit(member.user_dir.join("settings.js"), "telemetry:", stores);
    }
    pair.start_launcher("a");
    pair.start_launcher("b");
    pair.start_proxy();
    let before = pair.wait_until_steady();
    let mut nodes = endpoint("/count", "");
    nodes[1] = json!({"id": "new-do", "type": "function", "z": "tab", "name": "", "func": counting, "outputs": 1,
        "timeout": 0, "noerr": 0, "initialize": "", "finalize": "", "libs": [], "wires": [["new-out"]]});
    deploy(&pair, &nodes);
    let count = || http::get(pair.front(), "/count").send().unwrap().body;
    // The flows start after a deploy was answered.
    wait_until(PATIENCE, "the first count", || match count() {
        first if first == "1" => Ok(()),
        other => Err(other),
    });
    assert_eq!([count(), count()], ["2", "3"]);
    let copy = pair.other(&before.member).user_dir.join("context/tab/flow.json");
    wait_until(PATIENCE, "the count in the spare's files", || match fs::read_to_string(&copy) {
        Ok(text) => match serde_json::from_str::<Value>(&text).unwrap_or_default()["count"] == 3 {
            true => Ok(()),
            false => Err(text),
        },
        Err(error) => Err(error.to_string()),
    });
    pair.wait_until_steady();
    let answer = pair.order("switchover", &json!({}));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(count(), "4");
}

#[test]
fn a_spare_that_dies_while_flows_arrive_has_the_old_or_the_new_and_comes_back_with_the_new() {
    let mut pair = Setup::default().start();
    let before = pair.wait_until_steady();
    let spare = pair.other(&before.member).name;
    let old = stored(&pair, spare);
    // It can't store what its launcher takes for it.
    fault::freeze(pair.node_red_pid(spare));
    deploy(&pair, &endpoint("/new", "new"));
    let arrived = pair.folder().join(spare).join("state/flows-incoming.json");
    wait_until(PATIENCE, "the new flows at the spare's launcher", || fs::metadata(&arrived).map(drop));
    pair.launcher(spare).kill();
    assert_eq!(stored(&pair, spare), old, "flows that were half way");
    pair.start_launcher(spare);
    wait_for_sync(&pair, true);
    let new = stored(&pair, spare);
    assert!(new.as_array().unwrap().iter().any(|node| node["url"] == "/new"), "{new}");
    assert!(!arrived.exists(), "taken, and not taken again");
    assert_eq!(pair.who(), Ok(before));
}
