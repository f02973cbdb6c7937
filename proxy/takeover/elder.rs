//! The running process's side of a takeover: a thread that waits for an heir and walks through the steps with it.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{SocketAddrUnix, SocketFlags, accept_with, bind, listen, sockopt};
use rustix::process::geteuid;
use tokio::sync::{mpsc, oneshot};

use super::Sockets;
use super::wire::{self, MOST_DESCRIPTORS, ToElder, ToHeir, VERSION};
use crate::traffic::Traffic;

/// An heir that says nothing for so long has failed. It binds its listeners, opens the store and waits for its first routes
/// between two steps.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the process as a whole has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Decide no more, and close the journal or give up leadership.
    StopDeciding,
    /// Let the launchers go.
    CloseLinks,
    /// The heir has failed: decide again.
    DecideAgain,
    /// The heir (this process id) serves: accept nothing more, and end.
    End(u32),
}

/// A step, answered once it is done or can't be.
pub type Asked = (Step, oneshot::Sender<Result<(), String>>);

/// Waits for an heir.
pub struct Elder {
    sockets: Arc<Sockets>,
    traffic: Arc<Traffic>,
    steps: mpsc::Sender<Asked>,
}

impl Elder {
    /// Listens in the folder `store`. What is to be done comes out of the channel.
    ///
    /// # Errors
    /// The system's, if the socket or the thread can't be had.
    pub fn wait(store: &Path, sockets: Arc<Sockets>, traffic: Arc<Traffic>) -> io::Result<mpsc::Receiver<Asked>> {
        let place = super::meeting_place(store);
        // That of a process that has ended, or of the one before us, which has its own descriptor of it.
        match fs::remove_file(&place) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = wire::socket()?;
        bind(&socket, &SocketAddrUnix::new(&place)?)?;
        listen(&socket, 1)?;
        let (steps, asked) = mpsc::channel(1);
        let elder = Self { sockets, traffic, steps };
        std::thread::Builder::new().name("takeover".to_owned()).spawn(move || elder.run(&socket))?;
        Ok(asked)
    }

    fn run(&self, socket: &OwnedFd) {
        loop {
            let heir = match accept_with(socket, SocketFlags::CLOEXEC) {
                Ok(heir) => heir,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => {
                    tracing::error!(%error, "this process can't be taken over any more");
                    return;
                }
            };
            match self.hand_over(&heir) {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, "a takeover ended early; this process goes on"),
            }
        }
    }

    fn hand_over(&self, heir: &OwnedFd) -> io::Result<()> {
        let who = sockopt::socket_peercred(heir)?;
        if who.uid != geteuid() && !who.uid.is_root() {
            return Err(io::Error::other("the other process belongs to another user"));
        }
        wire::patience(heir, Some(PATIENCE))?;
        match wire::receive(heir)? {
            (ToElder::Hello { version: VERSION }, _) => {}
            (other, _) => {
                let why = format!("this release can't be taken over by that one ({other:?})");
                wire::send(heir, &ToHeir::Refused { why: why.clone() }, &[])?;
                return Err(io::Error::other(why));
            }
        }
        self.send_sockets(heir)?;
        self.expect(heir, &ToElder::Take)?;
        tracing::info!("another process takes over: deciding no more");
        let result = self.stop_deciding_and_end(heir, u32::try_from(who.pid.as_raw_nonzero().get()).unwrap_or(0));
        if result.is_err() {
            self.do_step(Step::DecideAgain)?;
        }
        result?;
        // Until the heir is gone, or this process has ended.
        wire::patience(heir, None)?;
        while let Ok((message, _)) = wire::receive(heir) {
            self.follow(message);
        }
        Ok(())
    }

    fn stop_deciding_and_end(&self, heir: &OwnedFd, pid: u32) -> io::Result<()> {
        self.do_step(Step::StopDeciding)?;
        wire::send(heir, &ToHeir::Yours, &[])?;
        self.expect(heir, &ToElder::Deciding)?;
        self.do_step(Step::CloseLinks)?;
        wire::send(heir, &ToHeir::Done, &[])?;
        self.expect(heir, &ToElder::Serving)?;
        self.do_step(Step::End(pid))?;
        // From here on there is no way back, whether the heir hears of it or not.
        if let Err(error) = wire::send(heir, &ToHeir::Done, &[]) {
            tracing::warn!(%error, "the process that took over has ended already");
        }
        Ok(())
    }

    fn send_sockets(&self, heir: &OwnedFd) -> io::Result<()> {
        let data = self.traffic.sockets().map_err(io::Error::other)?;
        for (address, mut descriptors) in self.sockets.copies()?.into_iter().chain(data) {
            while !descriptors.is_empty() {
                let rest = descriptors.split_off(descriptors.len().min(MOST_DESCRIPTORS));
                wire::send(heir, &ToHeir::Sockets { address }, &descriptors)?;
                descriptors = rest;
            }
        }
        wire::send(heir, &ToHeir::Complete, &[])
    }

    /// Waits for `wanted`, and follows the routes that are told meanwhile.
    fn expect(&self, heir: &OwnedFd, wanted: &ToElder) -> io::Result<()> {
        loop {
            let (message, _) = wire::receive(heir)?;
            if message == *wanted {
                return Ok(());
            }
            self.follow(message);
        }
    }

    fn follow(&self, message: ToElder) {
        if let ToElder::Route { instance, member, epoch, drain_ms } = message {
            self.traffic.follow(&instance, member.as_deref(), epoch, drain_ms.map(Duration::from_millis));
        }
    }

    fn do_step(&self, step: Step) -> io::Result<()> {
        let (done, outcome) = oneshot::channel();
        let gone = || io::Error::other("this process is stopping");
        self.steps.blocking_send((step, done)).map_err(|_| gone())?;
        outcome.blocking_recv().map_err(|_| gone())?.map_err(io::Error::other)
    }
}
