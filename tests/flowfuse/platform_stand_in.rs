//! A stand-in for FlowFuse's platform: the HTTP endpoints that a real nr-launcher and its Node-RED call, with what they
//! store in memory. It can go away, and hang, as the real one does.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

/// How often a call that meets a hung platform looks whether it is back.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Whether it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As it should.
    Up,
    /// It ends every connection at once.
    Down,
    /// It takes every request and answers when it is up again.
    Hung,
}

#[derive(Debug)]
struct Project {
    settings: Value,
    store: BTreeMap<String, Value>,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    projects: BTreeMap<String, Project>,
}

/// A running stand-in; it ends when dropped.
#[derive(Debug)]
pub(crate) struct PlatformStandIn {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    gone: Arc<AtomicBool>,
}

impl PlatformStandIn {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind the platform's stand-in");
        let address = listener.local_addr().expect("its address");
        let state = Arc::new(Mutex::new(State { mode: Mode::Up, projects: BTreeMap::new() }));
        let gone = Arc::new(AtomicBool::new(false));
        let (shared, ended) = (Arc::clone(&state), Arc::clone(&gone));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let (shared, ended) = (Arc::clone(&shared), Arc::clone(&ended));
                std::thread::spawn(move || answer(stream, &shared, &ended));
            }
        });
        Self { address, state, gone }
    }

    /// Registers a project. `settings` is what its launcher gets, `flows` what its Node-RED loads.
    pub(crate) fn add(&self, project: &str, settings: Value, flows: Value) {
        let store = BTreeMap::from([("flows".to_owned(), flows)]);
        lock(&self.state).projects.insert(project.to_owned(), Project { settings, store });
    }

    /// Changes the settings of a project, as a user of the platform does.
    pub(crate) fn change_settings(&self, project: &str, change: impl FnOnce(&mut Value)) {
        change(&mut lock(&self.state).projects.get_mut(project).expect("a registered project").settings);
    }

    /// Stores what Node-RED is to find: `settings` holds its `runtimeFlowState`.
    pub(crate) fn store(&self, project: &str, key: &str, value: Value) {
        lock(&self.state).projects.get_mut(project).expect("a registered project").store.insert(key.to_owned(), value);
    }

    pub(crate) fn set_mode(&self, mode: Mode) {
        lock(&self.state).mode = mode;
    }
}

impl Drop for PlatformStandIn {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
        // Wakes the accepting thread, so that it sees that it is to end.
        let _ = TcpStream::connect(self.address);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes one request of a connection and answers it.
fn answer(mut stream: TcpStream, state: &Mutex<State>, gone: &AtomicBool) {
    if lock(state).mode == Mode::Down {
        let _ = stream.shutdown(Shutdown::Both);
        return;
    }
    let Some((method, path, body)) = read_request(&stream) else { return };
    while lock(state).mode == Mode::Hung {
        if gone.load(Ordering::Relaxed) {
            return;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    let (status, body) = respond(&mut lock(state), &method, &path, body);
    let text = body.to_string();
    let _ = write!(
        stream,
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
}

fn read_request(stream: &TcpStream) -> Option<(String, String, Value)> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let path = target.split('?').next()?.to_owned();
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((key, value)) = line.split_once(':')
            && key.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((method, path, serde_json::from_slice(&body).unwrap_or_default()))
}

fn respond(state: &mut State, method: &str, path: &str, body: Value) -> (u16, Value) {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match (method, parts.as_slice()) {
        ("GET", ["api", "v1", "projects", project, "settings"]) => match state.projects.get(*project) {
            Some(project) => (200, project.settings.clone()),
            None => (404, json!({ "code": "not_found" })),
        },
        ("POST", ["api", "v1", "projects", _, "update-state"] | ["logging", _, "audit"]) => (200, json!({})),
        (_, ["storage", project, key]) => match state.projects.get_mut(*project) {
            Some(project) if method == "POST" => {
                project.store.insert((*key).to_owned(), body);
                (200, json!({}))
            }
            Some(project) => {
                let empty = if *key == "flows" { json!([]) } else { json!({}) };
                (200, project.store.get(*key).cloned().unwrap_or(empty))
            }
            None => (404, json!({ "code": "not_found" })),
        },
        _ => (404, json!({ "code": "not_found" })),
    }
}
