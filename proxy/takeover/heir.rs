//! The new process's side of a takeover.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use hotspare_decide::Route;
use rustix::net::{SocketAddrUnix, connect};

use super::wire::{self, ToElder, ToHeir, VERSION};

/// Longest wait for an answer of the elder: closing a journal takes a sync of the disk.
const PATIENCE: Duration = Duration::from_secs(15);

/// A running proxy whose place is about to be taken. Dropped before [`Heir::serving`], it goes on as it was.
#[derive(Debug)]
pub struct Heir {
    elder: OwnedFd,
}

/// Tells the elder each route from now on.
#[derive(Debug, Clone)]
pub struct Routed(Sender<ToElder>);

impl Heir {
    /// Asks the proxy that runs with this `[store] dir` for its listening sockets.
    ///
    /// # Errors
    /// The system's, or the elder's words.
    pub fn meet(store: &Path) -> io::Result<(Self, HashMap<SocketAddr, Vec<OwnedFd>>)> {
        let elder = wire::socket()?;
        let place = super::meeting_place(store);
        connect(&elder, &SocketAddrUnix::new(&place)?).map_err(|error| {
            io::Error::other(format!("no hotspare that could be taken over answers at {}: {error}", place.display()))
        })?;
        wire::patience(&elder, Some(PATIENCE))?;
        wire::send(&elder, &ToElder::Hello { version: VERSION }, &[])?;
        let mut sockets: HashMap<SocketAddr, Vec<OwnedFd>> = HashMap::new();
        loop {
            match wire::receive(&elder)? {
                (ToHeir::Sockets { address }, descriptors) => sockets.entry(address).or_default().extend(descriptors),
                (ToHeir::Complete, _) => return Ok((Self { elder }, sockets)),
                (other, _) => return Err(unexpected(other)),
            }
        }
    }

    /// Blocks until the elder decides no more. From now on this process may open the journal.
    ///
    /// # Errors
    /// As [`Heir::meet`]; then the elder goes on deciding.
    pub fn take(&self) -> io::Result<()> {
        self.step(&ToElder::Take, &ToHeir::Yours)
    }

    /// The engine runs, and the launchers may come. Blocks until the elder has let them go.
    ///
    /// # Errors
    /// As [`Heir::meet`].
    pub fn deciding(&self) -> io::Result<()> {
        self.step(&ToElder::Deciding, &ToHeir::Done)
    }

    /// This process accepts. Blocks until the elder has begun to end.
    ///
    /// # Errors
    /// As [`Heir::meet`].
    pub fn serving(&self) -> io::Result<()> {
        self.step(&ToElder::Serving, &ToHeir::Done)
    }

    /// Starts to tell the elder the routes, until it has ended.
    ///
    /// # Errors
    /// The system's, if there is no thread to be had.
    pub fn tell_routes(&self) -> io::Result<Routed> {
        let elder = self.elder.try_clone()?;
        let (sender, routes): (_, Receiver<ToElder>) = channel();
        std::thread::Builder::new().name("takeover".to_owned()).spawn(move || {
            while let Ok(route) = routes.recv() {
                if wire::send(&elder, &route, &[]).is_err() {
                    return;
                }
            }
        })?;
        Ok(Routed(sender))
    }

    fn step(&self, say: &ToElder, expected: &ToHeir) -> io::Result<()> {
        wire::send(&self.elder, say, &[])?;
        match wire::receive(&self.elder)? {
            (answer, _) if answer == *expected => Ok(()),
            (other, _) => Err(unexpected(other)),
        }
    }
}

impl Routed {
    /// Connections of `instance` go to `route`; `member` names it. `false` once the elder has ended.
    pub fn tell(&self, instance: &str, member: Option<&str>, route: Route, drain: Option<Duration>) -> bool {
        let epoch = match route {
            Route::To { epoch, .. } => epoch.0,
            Route::Park { .. } => 0,
        };
        let drain_ms = drain.map(|drain| u64::try_from(drain.as_millis()).unwrap_or(u64::MAX));
        let (instance, member) = (instance.to_owned(), member.map(str::to_owned));
        self.0.send(ToElder::Route { instance, member, epoch, drain_ms }).is_ok()
    }
}

fn unexpected(answer: ToHeir) -> io::Error {
    match answer {
        ToHeir::Refused { why } => io::Error::other(format!("the running hotspare refuses: {why}")),
        other => io::Error::other(format!("the running hotspare said something unexpected: {other:?}")),
    }
}
