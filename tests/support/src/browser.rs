//! A real Chromium without a window, driven by its DevTools protocol: one browser, one page.
//!
//! It hides nothing: what the page throws is a panic here, and waiting is the caller's ([`Browser::wait_for`]).

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

use crate::process::Process;
use crate::wait::wait_until;

/// For a browser to start, and for anything a page is waited for, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running Chromium with one page. Dropping it ends it.
#[derive(Debug)]
pub struct Browser {
    socket: WebSocket<TcpStream>,
    asked: u64,
    /// The page; before there is one, null.
    session: Value,
    _process: Process,
    _profile: TempDir,
}

impl Browser {
    /// Starts it, with an empty page.
    ///
    /// # Panics
    /// If there is no Chromium, or it can't be reached.
    pub fn start() -> Self {
        let profile = tempfile::tempdir().expect("a folder");
        let mut command = Command::new("chromium");
        // Its sandbox needs what containers and root don't have; it only ever sees pages of the program under test.
        command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
        command.args(["--disable-background-networking", "--hide-scrollbars", "--remote-debugging-port=0"]);
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg("about:blank");
        let process = Process::start("chromium", command);
        // It writes the file when it listens: the port, and the path of its websocket.
        let (port, path) = wait_until(PATIENCE, "Chromium to listen", || {
            let text = fs::read_to_string(profile.path().join("DevToolsActivePort")).map_err(|e| e.to_string())?;
            let (port, path) = text.split_once('\n').ok_or_else(|| text.clone())?;
            port.parse::<u16>().map(|port| (port, path.trim().to_owned())).map_err(|_| text.clone())
        });
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("Chromium listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let url = format!("ws://127.0.0.1:{port}{path}");
        let (socket, _) = tungstenite::client(url.as_str(), stream).expect("a websocket");
        let mut browser = Browser { socket, asked: 0, session: Value::Null, _process: process, _profile: profile };
        let page = browser.call("Target.createTarget", &json!({"url": "about:blank"}));
        let attached = browser.call("Target.attachToTarget", &json!({"targetId": page["targetId"], "flatten": true}));
        browser.session = attached["sessionId"].clone();
        browser
    }

    /// Opens an address.
    pub fn open(&mut self, url: &str) {
        self.call("Page.navigate", &json!({"url": url}));
    }

    /// What an expression gives in the page.
    ///
    /// # Panics
    /// If it throws, with what it threw.
    pub fn eval(&mut self, expression: &str) -> Value {
        let ask = json!({"expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true});
        let answer = self.call("Runtime.evaluate", &ask);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }

    /// Waits until an expression gives something that is true in the page, and returns it.
    ///
    /// # Panics
    /// If it doesn't, with what the page shows.
    pub fn wait_for(&mut self, what: &str, expression: &str) -> Value {
        wait_until(PATIENCE, what, || {
            let value = self.eval(expression);
            let missing = value.is_null() || value == false || value == "" || value == 0;
            if missing { Err(self.eval("document.body.innerText")) } else { Ok(value) }
        })
    }

    /// Presses and releases a key, such as `Tab` or `Enter`, where the focus is.
    pub fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Enter" => (13, "\r"),
            "Tab" => (9, ""),
            "Escape" => (27, ""),
            other => panic!("no code for the key {other}"),
        };
        let event =
            |kind: &str| json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text});
        self.call("Input.dispatchKeyEvent", &event(if text.is_empty() { "rawKeyDown" } else { "keyDown" }));
        self.call("Input.dispatchKeyEvent", &event("keyUp"));
    }

    /// Types into what has the focus.
    pub fn type_text(&mut self, text: &str) {
        self.call("Input.insertText", &json!({"text": text}));
    }

    /// Presses the mouse on the first element that a selector finds, and lets go after a moment, as people do.
    pub fn click(&mut self, selector: &str) {
        let place = self.eval(&format!(
            "(() => {{ const e = document.querySelector({}); e.scrollIntoView({{block: 'center'}});
               const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})()",
            json!(selector)
        ));
        let mut mouse = |kind: &str| {
            let event = json!({"type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1});
            self.call("Input.dispatchMouseEvent", &event);
        };
        mouse("mousePressed");
        // A person's press lasts longer than the page takes to draw its next change.
        std::thread::sleep(Duration::from_millis(300));
        mouse("mouseReleased");
    }

    /// The size of the window, in CSS pixels; below 600 wide it is a phone.
    pub fn resize(&mut self, width: u32, height: u32) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", &size);
    }

    /// Whether the person prefers `dark` or `light`.
    pub fn prefer(&mut self, scheme: &str) {
        self.call(
            "Emulation.setEmulatedMedia",
            &json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]}),
        );
    }

    /// What a screen reader is told: role and name of every element that is not ignored.
    pub fn accessible(&mut self) -> Vec<(String, String)> {
        let tree = self.call("Accessibility.getFullAXTree", &json!({}));
        let text = |value: &Value| value["value"].as_str().unwrap_or_default().to_owned();
        let nodes = tree["nodes"].as_array().into_iter().flatten().filter(|node| node["ignored"] != true);
        nodes.map(|node| (text(&node["role"]), text(&node["name"]))).collect()
    }

    /// A picture of the window, as PNG.
    pub fn screenshot(&mut self, file: &Path) {
        let answer = self.call("Page.captureScreenshot", &json!({"format": "png"}));
        let picture = answer["data"].as_str().expect("a picture");
        fs::write(file, from_base64(picture)).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.asked += 1;
        let mut ask = json!({"id": self.asked, "method": method, "params": parameters});
        if self.session.is_string() {
            ask["sessionId"] = self.session.clone();
        }
        self.socket.send(Message::text(ask.to_string())).unwrap_or_else(|error| panic!("{method}: {error}"));
        loop {
            let message = self.socket.read().unwrap_or_else(|error| panic!("{method}: {error}"));
            let Message::Text(text) = message else { continue };
            let answer: Value = serde_json::from_str(&text).expect("JSON of Chromium");
            if answer["id"] == self.asked {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
        }
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'=').map(digit).collect();
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    for four in digits.chunks(4) {
        let all = four.iter().fold(0_u32, |all, digit| all << 6 | u32::from(*digit)) << (6 * (4 - four.len()));
        bytes.extend_from_slice(&all.to_be_bytes()[1..four.len()]);
    }
    bytes
}
