//! The data path alone, before two plain servers, with the smallest engine that can be: the first server is
//! active while it is well, a refused connect or two failed checks send everything to the second. It fences
//! nothing, so it is for benches of the data path and for trying things out, never for Node-RED.
//!
//! ```text
//! plain 127.0.0.1:8000 127.0.0.1:9001 127.0.0.1:9002 --control /tmp/plain.sock [--http] [--threads N] [--no-checks]
//! plain --control /tmp/plain.sock b         # planned switch to the second; `a` goes back; `stats` prints counters
//! ```

use hotspare_datapath::{
    Config, DataPath, Drain, InstanceId, InstanceSpec, Limits, ListenerSpec, Protocol, Route, Signal, SignalKind,
};
use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

/// Pace, patience and count of the health checks: the same as the peers' in the benches.
const CHECK_EVERY: Duration = Duration::from_millis(100);
const CHECK_TIMEOUT: Duration = Duration::from_millis(100);
const CHECKS: i32 = 2;
/// Pace after a check that failed.
const CHECK_AGAIN: Duration = Duration::from_millis(50);

const INSTANCE: InstanceId = InstanceId(1);

enum Input {
    Signal(Signal),
    Check { member: usize, outcome: Outcome },
    Command(String, UnixStream),
}

/// What a health check found.
#[derive(Clone, Copy, PartialEq)]
enum Outcome {
    Well,
    /// No answer in time, or a wrong one.
    Unwell,
    /// Nobody listens: no need to ask again.
    Refused,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let control = option(&mut args, "--control").ok_or("--control SOCKET is missing")?;
    let threads = option(&mut args, "--threads").map_or(Ok(0), |n| n.parse())?;
    let http = flag(&mut args, "--http");
    let no_checks = flag(&mut args, "--no-checks");
    if let [command] = args.as_slice() {
        let mut stream = UnixStream::connect(control)?;
        stream.write_all(command.as_bytes())?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        println!("{answer}");
        return Ok(());
    }
    let [listen, first, second] = args.as_slice() else {
        return Err("usage: plain LISTEN FIRST SECOND --control SOCKET".into());
    };
    let members: [SocketAddr; 2] = [first.parse()?, second.parse()?];
    let (inputs, queue) = sync_channel(1024);
    let signals = inputs.clone();
    // A full queue loses a signal; the next connection that fails sends another.
    let sink = move |signal| drop(signals.try_send(Input::Signal(signal)));
    let data = DataPath::start(Config { threads, ..Config::default() }, Arc::new(sink))?;
    data.add_instance(InstanceSpec { id: INSTANCE, name: "plain".into(), limits: Limits::default() })?;
    let protocol = if http { Protocol::Http } else { Protocol::Tcp };
    let spec = ListenerSpec::new(INSTANCE, "plain", listen.parse()?);
    let listener = data.add_listener(ListenerSpec { protocol, ..spec })?;
    println!("listening on {}", listener.addr);
    for (member, addr) in members.into_iter().enumerate().filter(|_| !no_checks) {
        let inputs = inputs.clone();
        std::thread::spawn(move || check(member, addr, &inputs));
    }
    std::thread::spawn(move || listen_for_commands(&control, &inputs));

    let mut engine = Engine { data, members, active: 0, preferred: 0, epoch: 0, suspected: false, well: [0; 2] };
    engine.switch(0, Drain::Now)?;
    for input in queue {
        engine.handle(input)?;
    }
    Ok(())
}

struct Engine {
    data: DataPath,
    members: [SocketAddr; 2],
    active: usize,
    preferred: usize,
    epoch: u64,
    suspected: bool,
    /// Checks in a row: above 0 passed, below 0 failed.
    well: [i32; 2],
}

impl Engine {
    fn handle(&mut self, input: Input) -> Result<(), Box<dyn Error>> {
        match input {
            Input::Signal(signal) => {
                let fault =
                    matches!(signal.kind, SignalKind::Refused | SignalKind::ResetBeforeFirstByte | SignalKind::Timeout);
                if fault && signal.epoch == self.epoch {
                    self.well[self.active] = -CHECKS;
                    if self.well[1 - self.active] > -CHECKS {
                        self.switch(1 - self.active, Drain::Now)?;
                    }
                }
            }
            Input::Check { member, outcome } => {
                let count = &mut self.well[member];
                *count = match outcome {
                    Outcome::Well => (*count).max(0) + 1,
                    Outcome::Unwell => (*count).min(0) - 1,
                    Outcome::Refused => -CHECKS,
                };
                let other = 1 - self.active;
                if member == self.active && self.well[other] > 0 {
                    self.suspect(outcome != Outcome::Well)?;
                }
                if self.well[self.active] <= -CHECKS && self.well[other] > 0 {
                    self.switch(other, Drain::Now)?;
                } else if self.active != self.preferred && self.well[self.preferred] >= CHECKS {
                    self.switch(self.preferred, keep_for_a_second())?;
                }
            }
            Input::Command(command, mut stream) => match command.trim() {
                "a" | "b" => {
                    self.preferred = usize::from(command.trim() == "b");
                    self.switch(self.preferred, keep_for_a_second())?;
                }
                _ => write!(stream, "{:#?}", self.data.counters(INSTANCE)?)?,
            },
        }
        Ok(())
    }

    fn switch(&mut self, member: usize, drain: Drain) -> Result<(), Box<dyn Error>> {
        self.active = member;
        self.epoch += 1;
        self.suspected = false;
        self.data.set_route(INSTANCE, self.route(), drain)?;
        Ok(())
    }

    /// While the active is suspect, what comes new waits; what is open stays.
    fn suspect(&mut self, suspected: bool) -> Result<(), Box<dyn Error>> {
        if self.suspected != suspected {
            self.suspected = suspected;
            let route = if suspected { Route::Park } else { self.route() };
            self.data.set_route(INSTANCE, route, Drain::Keep)?;
        }
        Ok(())
    }

    fn route(&self) -> Route {
        Route::To { epoch: self.epoch, member: self.active as u8, addrs: vec![self.members[self.active]] }
    }
}

fn keep_for_a_second() -> Drain {
    Drain::After { grace: Duration::from_secs(1), spread: Duration::ZERO }
}

fn check(member: usize, addr: SocketAddr, inputs: &SyncSender<Input>) {
    loop {
        let outcome = match ask(addr) {
            Ok(true) => Outcome::Well,
            Err(e) if e.kind() == ErrorKind::ConnectionRefused => Outcome::Refused,
            Ok(false) | Err(_) => Outcome::Unwell,
        };
        if inputs.send(Input::Check { member, outcome }).is_err() {
            return;
        }
        std::thread::sleep(if outcome == Outcome::Well { CHECK_EVERY } else { CHECK_AGAIN });
    }
}

fn ask(addr: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&addr, CHECK_TIMEOUT)?;
    stream.set_read_timeout(Some(CHECK_TIMEOUT))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: check\r\nConnection: close\r\n\r\n")?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    Ok(answer.starts_with(b"HTTP/1.1 200"))
}

fn listen_for_commands(path: &str, inputs: &SyncSender<Input>) {
    // A socket file left by an earlier run is in the way.
    let _ = std::fs::remove_file(path);
    let listener = match UnixListener::bind(path) {
        Ok(listener) => listener,
        Err(e) => return eprintln!("{path}: {e}"),
    };
    for mut stream in listener.incoming().flatten() {
        let mut command = String::new();
        if stream.read_to_string(&mut command).is_ok() && inputs.send(Input::Command(command, stream)).is_err() {
            return;
        }
    }
}

fn option(args: &mut Vec<String>, name: &str) -> Option<String> {
    let at = args.iter().position(|arg| arg == name)?;
    args.remove(at);
    (at < args.len()).then(|| args.remove(at))
}

fn flag(args: &mut Vec<String>, name: &str) -> bool {
    let before = args.len();
    args.retain(|arg| arg != name);
    args.len() < before
}
