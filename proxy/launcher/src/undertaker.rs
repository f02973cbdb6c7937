//! A small sibling process that stays when the launcher is killed.
//!
//! Owns: that a `kill -9` of the launcher costs milliseconds, not a lease: it kills Node-RED's process group, waits
//! until it is certainly gone, and sends the exit receipt to every controller. Never acts while the launcher lives.
//! It is a convenience for speed only: if it is killed too, `PR_SET_PDEATHSIG` and the lease stand behind it.
//!
//! The launcher writes what it should know to its standard input, one JSON object a line; the end of that input
//! without a [`Note::Dismissed`] is the launcher's death, however it came.

use std::io::{self, BufRead, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{ChildStdin, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use hotspare_decide::message::Up;
use hotspare_protocol::{INSTANCE_HEADER, MEMBER_HEADER, RECEIPT_PATH, Secret, encode_up};
use hotspare_tls::stream::server_name;
use hotspare_tls::{ClientFiles, Pair};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustls::{ClientConnection, StreamOwned};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::attach::{end_started_by, is_gone_within};
use crate::link::Identity;
use crate::node_red::{group_lives, kill_group};

/// First argument of the hidden subcommand.
pub(crate) const SUBCOMMAND: &str = "launcher-undertaker";
/// How long the processes of the group may take to vanish after SIGKILL before no receipt is sent.
const GONE_WITHIN: Duration = Duration::from_secs(10);
/// How long a controller is tried; by then any lease has ended long ago.
const TRY_FOR: Duration = Duration::from_secs(30);
const IO_TIMEOUT: Duration = Duration::from_secs(2);
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// What the launcher tells its undertaker. Holds the token, so it has no `Debug`.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Note {
    /// Whom to tell, and as whom.
    Address { instance: String, member: String, token: Option<String>, controllers: Vec<String>, tls: TlsFiles },
    /// The process group that runs now, if one does, and the receipt that is true once it is gone.
    Ward {
        leader: Option<i32>,
        /// It leads a process group; one that another launcher started does not.
        group: bool,
        receipt: Up,
    },
    /// The launcher ends by itself: nothing to do.
    Dismissed,
}

/// The files of the launcher's TLS; they are read when somebody is to be told.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct TlsFiles {
    ca_file: Option<PathBuf>,
    pair: Option<(PathBuf, PathBuf)>,
}

impl TlsFiles {
    pub(crate) fn of(files: &ClientFiles) -> Self {
        let pair = files.pair.clone().map(|pair| (pair.cert_file, pair.key_file));
        Self { ca_file: files.ca_file.clone(), pair }
    }

    fn files(&self) -> ClientFiles {
        let pair = self.pair.clone().map(|(cert_file, key_file)| Pair { cert_file, key_file });
        ClientFiles { ca_file: self.ca_file.clone(), pair }
    }
}

/// The launcher's handle of its undertaker.
#[derive(Debug)]
pub(crate) struct Undertaker {
    notes: Option<ChildStdin>,
    last: Option<(Option<i32>, Up)>,
}

impl Undertaker {
    /// Starts the sibling; it lives in a process group of its own, so that a signal to the launcher's spares it.
    pub(crate) fn start(identity: &Identity, controllers: &[String], tls: TlsFiles) -> io::Result<Self> {
        let mut child = Command::new("/proc/self/exe")
            .arg0("hotspare")
            .arg(SUBCOMMAND)
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let mut undertaker = Self { notes: child.stdin.take(), last: None };
        undertaker.write(&Note::Address {
            instance: identity.instance.clone(),
            member: identity.member.clone(),
            token: identity.token.as_ref().map(|token| token.expose().to_owned()),
            controllers: controllers.to_vec(),
            tls,
        })?;
        // Reaps it should it end before the launcher does.
        thread::Builder::new().name("undertaker".to_owned()).spawn(move || child.wait())?;
        Ok(undertaker)
    }

    /// Tells it the process that runs and the receipt that is true once that is gone; nothing if both are as before.
    pub(crate) fn note(&mut self, leader: Option<i32>, group: bool, receipt: &Up) -> io::Result<()> {
        if self.last.as_ref().is_some_and(|(l, r)| *l == leader && r == receipt) {
            return Ok(());
        }
        self.last = Some((leader, receipt.clone()));
        self.write(&Note::Ward { leader, group, receipt: receipt.clone() })
    }

    /// Lets it go without doing anything.
    pub(crate) fn dismiss(mut self) {
        let _ = self.write(&Note::Dismissed);
    }

    fn write(&mut self, note: &Note) -> io::Result<()> {
        let Some(notes) = &mut self.notes else { return Ok(()) };
        let mut line = serde_json::to_vec(note)?;
        line.push(b'\n');
        let written = notes.write_all(&line);
        if written.is_err() {
            self.notes = None;
        }
        written
    }
}

/// Runs until the launcher is dead and everyone was told, or until it is dismissed.
pub(crate) fn main() -> ExitCode {
    let Ok(_deaf) = ignore_sigterm() else {
        eprintln!("hotspare {SUBCOMMAND}: SIGTERM cannot be ignored");
        return ExitCode::FAILURE;
    };
    let mut notes = io::stdin().lock();
    let mut address = None;
    let mut ward = None;
    let mut line = String::new();
    loop {
        line.clear();
        match notes.read_line(&mut line) {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        match serde_json::from_str(&line) {
            Ok(Note::Dismissed) => return ExitCode::SUCCESS,
            Ok(Note::Address { instance, member, token, controllers, tls }) => {
                let token = token.map(Secret::new);
                address = Some(Address { instance, member, token, controllers, tls });
            }
            Ok(Note::Ward { leader, group, receipt }) => ward = Some(Ward::new(leader, group, receipt)),
            Err(error) => eprintln!("hotspare {SUBCOMMAND}: a note that cannot be read: {error}"),
        }
    }
    let (Some(address), Some(ward)) = (address, ward) else {
        return ExitCode::SUCCESS;
    };
    if !ward.bury() {
        eprintln!("hotspare {SUBCOMMAND}: Node-RED is not gone; no receipt is sent, the lease must end");
        return ExitCode::FAILURE;
    }
    let body = encode_up(&ward.receipt);
    let told = thread::scope(|scope| {
        let tries = address.controllers.iter().map(|url| scope.spawn(|| tell(url, &address, &body)));
        let tries: Vec<_> = tries.collect(); // all at once, not one after the other
        tries.into_iter().all(|told| told.join().unwrap_or(false))
    });
    if told { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A supervisor such as systemd tells every process of a service to end when its main process has died: just when this
/// one has something to do. It ends by itself soon after. Holds for the rest of the process.
fn ignore_sigterm() -> io::Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let entered = runtime.enter();
    // Once asked for, the signal no longer ends the process, whether or not anyone looks whether it came.
    let _unread = signal(SignalKind::terminate())?;
    drop(entered);
    Ok(runtime)
}

struct Address {
    instance: String,
    member: String,
    token: Option<Secret>,
    controllers: Vec<String>,
    tls: TlsFiles,
}

struct Ward {
    leader: Option<(Pid, rustix::io::Result<OwnedFd>)>,
    group: bool,
    receipt: Up,
}

impl Ward {
    /// Takes hold of the process while it is certainly the right one: its launcher lives and has not reaped it.
    fn new(leader: Option<i32>, group: bool, receipt: Up) -> Self {
        let leader = leader.and_then(Pid::from_raw).map(|pid| (pid, pidfd_open(pid, PidfdFlags::empty())));
        Self { leader, group, receipt }
    }

    /// Kills what is there and returns whether it is certainly gone.
    fn bury(&self) -> bool {
        let Some((pid, pidfd)) = &self.leader else {
            return true;
        };
        let deadline = Instant::now() + GONE_WITHIN;
        if self.group {
            // Its launcher died a moment ago, so the number is still its own.
            kill_group(*pid);
        }
        match pidfd {
            Ok(pidfd) => {
                let _ = pidfd_send_signal(pidfd, Signal::KILL);
                if !is_gone_within(pidfd, Some(rustix::time::Timespec { tv_sec: 10, tv_nsec: 0 })) {
                    return false;
                }
            }
            Err(rustix::io::Errno::SRCH) => {}
            Err(_) if self.group => {}
            Err(_) => return false,
        }
        if !self.group {
            end_started_by(*pid);
            return true;
        }
        // The others of the group: programs that flows had started.
        while group_lives(*pid) {
            if Instant::now() > deadline {
                return false;
            }
            kill_group(*pid);
            thread::sleep(Duration::from_millis(1));
        }
        true
    }
}

/// Posts the receipt to one controller until it answers, for a bounded time.
fn tell(url: &str, address: &Address, body: &str) -> bool {
    let deadline = Instant::now() + TRY_FOR;
    loop {
        match post(url, address, body) {
            Ok(status) if (200..300).contains(&status) => return true,
            Ok(status) => {
                eprintln!("hotspare {SUBCOMMAND}: {url} answers {status} to the exit receipt")
            }
            Err(error) => eprintln!("hotspare {SUBCOMMAND}: {url} is not told: {error}"),
        }
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(RETRY_AFTER);
    }
}

fn post(url: &str, address: &Address, body: &str) -> io::Result<u16> {
    let (scheme, host) = url.split_once("://").unwrap_or(("ws", url));
    let host = host.split('/').next().unwrap_or_default();
    let target = host.to_socket_addrs()?.next().ok_or_else(|| io::Error::other("no address"))?;
    let mut stream = TcpStream::connect_timeout(&target, IO_TIMEOUT)?;
    stream.set_read_timeout(Some(IO_TIMEOUT))?;
    stream.set_write_timeout(Some(IO_TIMEOUT))?;
    let token = address.token.as_ref().map_or("", Secret::expose);
    let (instance, member) = (&address.instance, &address.member);
    let request = format!(
        "POST {RECEIPT_PATH} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n{INSTANCE_HEADER}: {instance}\r\n\
         {MEMBER_HEADER}: {member}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut head = [0; 12]; // "HTTP/1.1 200"
    if scheme == "wss" {
        let config = address.tls.files().load().map_err(io::Error::other)?;
        let name = server_name(host.rsplit_once(':').map_or(host, |(name, _)| name))?;
        let client = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(client, stream);
        stream.write_all(request.as_bytes())?;
        stream.read_exact(&mut head)?;
    } else {
        stream.write_all(request.as_bytes())?;
        stream.read_exact(&mut head)?;
    }
    std::str::from_utf8(&head[9..])
        .ok()
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| io::Error::other("no HTTP answer"))
}
