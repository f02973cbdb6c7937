//! What the tests with real Node-RED share: where it is installed, a scratch folder with flows, waiting, plain HTTP.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

pub mod controller_stand_in;
pub mod launcher;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long anything may take before a test says that it did not happen. Generous: the machine may be busy.
pub const LIMIT: Duration = Duration::from_secs(40);

/// A supported Node-RED with a Node.js that runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V4,
    V5,
}

impl Version {
    pub fn node(self) -> PathBuf {
        match self {
            Self::V4 => PathBuf::from("node"),
            Self::V5 => var("HOTSPARE_NODE22"),
        }
    }

    pub fn red_js(self) -> PathBuf {
        let folder = match self {
            Self::V4 => var("HOTSPARE_NR4"),
            Self::V5 => var("HOTSPARE_NR5"),
        };
        folder.join("node_modules/node-red/red.js")
    }
}

fn var(name: &str) -> PathBuf {
    let value = std::env::var_os(name);
    PathBuf::from(value.unwrap_or_else(|| panic!("{name} is not set: run ./tests/run, which sets up Node-RED")))
}

/// Makes one test for each supported Node-RED of each function named.
#[macro_export]
macro_rules! for_each_node_red {
    ($($name:ident),* $(,)?) => {
        mod node_red_4 { $(#[test] fn $name() { super::$name(super::support::Version::V4) })* }
        mod node_red_5 { $(#[test] fn $name() { super::$name(super::support::Version::V5) })* }
    };
}

/// Waits until `probe` gives something. `what` says what was waited for, `seen` what there was instead.
pub fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>, seen: impl Fn() -> String) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {LIMIT:?}; seen: {}", seen());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A user folder for Node-RED with `settings.js` and flows.
pub fn user_dir(flows: &Value, settings: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("flows.json"), flows.to_string()).unwrap();
    let fixed = "uiHost: '127.0.0.1', credentialSecret: 'test', runtimeState: { enabled: true, ui: true }, \
        telemetry: { enabled: false, updateNotification: false }, editorTheme: { tours: false },";
    std::fs::write(dir.path().join("settings.js"), format!("module.exports = {{ {fixed} {settings} }}")).unwrap();
    dir
}

/// Arguments of `red.js` for that folder; the port is picked by the system.
pub fn red_args(dir: &Path) -> Vec<String> {
    let flows = dir.join("flows.json").display().to_string();
    ["-u", &dir.display().to_string(), "-p", "0", &flows].map(str::to_owned).to_vec()
}

/// A flow with `GET /hello`, which answers with member and epoch; `GET /hang`, which hangs the event loop for the
/// milliseconds in the query; `GET /never`, which answers never; and a timer that sends a datagram to `sink` every
/// 20 ms with member and epoch, through messages between nodes.
pub fn sample_flows(sink: u16) -> Value {
    let who = "env.get('HOTSPARE_MEMBER')+' '+env.get('HOTSPARE_EPOCH')";
    json!([
        {"id": "tab", "type": "tab", "label": "sample"},
        {"id": "in1", "type": "http in", "z": "tab", "url": "/hello", "method": "get", "wires": [["fn1"]]},
        {"id": "fn1", "type": "function", "z": "tab", "func": format!("msg.payload = {who}; return msg"), "wires": [["out"]]},
        {"id": "out", "type": "http response", "z": "tab", "wires": []},
        {"id": "in2", "type": "http in", "z": "tab", "url": "/hang", "method": "get", "wires": [["fn2"]]},
        {"id": "fn2", "type": "function", "z": "tab",
         "func": "const end = Date.now() + Number(msg.payload.ms); while (Date.now() < end) {} return msg", "wires": [["out"]]},
        {"id": "in3", "type": "http in", "z": "tab", "url": "/never", "method": "get", "wires": [[]]},
        {"id": "tick", "type": "inject", "z": "tab", "props": [{"p": "payload"}], "payload": "", "payloadType": "date",
         "repeat": "0.02", "once": true, "onceDelay": "0", "wires": [["fn3"]]},
        {"id": "fn3", "type": "function", "z": "tab", "func": format!("msg.payload = {who}; return msg"), "wires": [["udp"]]},
        {"id": "udp", "type": "udp out", "z": "tab", "addr": "127.0.0.1", "iface": "", "port": sink.to_string(),
         "ipv": "udp4", "outport": "", "base64": false, "multicast": "false", "wires": []},
    ])
}

/// An answer to an HTTP request.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON in {self:?}"))
    }
}

/// One request on one connection. An error is a connection that was refused, reset or gave no answer within [`LIMIT`].
pub fn request(port: u16, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> std::io::Result<Answer> {
    let mut stream = send_request(port, method, path, headers, body)?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, rest) = text.split_once("\r\n\r\n").ok_or_else(|| std::io::Error::other("no answer"))?;
    let status =
        head.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(|| std::io::Error::other("no status"))?;
    Ok(Answer { status, head: head.to_ascii_lowercase(), body: unchunk(head, rest) })
}

/// Sends a request and leaves the answer to the caller.
pub fn send_request(
    port: u16,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes())?;
    Ok(stream)
}

pub fn get(port: u16, path: &str) -> std::io::Result<Answer> {
    request(port, "GET", path, &[], "")
}

fn unchunk(head: &str, body: &str) -> String {
    if !head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return body.to_owned();
    }
    let mut out = String::new();
    let mut rest = body;
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        out += &after[..size];
        rest = &after[size + 2..];
    }
    out
}

/// How many live processes a process group has.
pub fn group_size(group: i32) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let stat = std::fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_whitespace();
        let (state, group) = (fields.next()?, fields.nth(1)?.parse::<i32>().ok()?);
        (state != "Z").then_some(group)
    });
    processes.filter(|g| *g == group).count()
}
