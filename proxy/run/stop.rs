//! What a running process waits for: a signal to end, one to upgrade, an heir that takes its place, the engine's end.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::keeper::Keeper;
use super::links::Links;
use super::{Failure, failed, sight};
use crate::config::Config;
use crate::engine::{Handle, Input};
use crate::notify;
use crate::takeover::{Asked, Step};
use crate::traffic::Traffic;

/// After `/readyz` says that we stop, an ingress gets this long to notice before we stop to accept: they look
/// every few seconds. Half of a shorter drain.
const UNREADY_FIRST: Duration = Duration::from_secs(5);

/// Everything that has to end in order.
pub(super) struct Running {
    pub(super) config: Config,
    /// What an upgrade starts: this program's place, and the configuration's.
    pub(super) program: PathBuf,
    pub(super) file: PathBuf,
    pub(super) deciding: JoinHandle<()>,
    pub(super) engine: Handle,
    pub(super) keeper: Keeper,
    pub(super) traffic: Arc<Traffic>,
    pub(super) links: Option<Links>,
    pub(super) stopping: Arc<AtomicBool>,
    pub(super) reloading: JoinHandle<()>,
    /// The admin listener serves for as long as this is held.
    pub(super) admin: oneshot::Sender<()>,
    pub(super) asked: Option<mpsc::Receiver<Asked>>,
    /// Gives leadership up when nobody is seen.
    pub(super) sight: Option<JoinHandle<()>>,
}

enum End {
    /// Open connections may go on for so long.
    Drain(Duration),
    /// This process has our place.
    TakenOver(u32),
}

impl Running {
    /// Returns once everything has ended.
    ///
    /// # Errors
    /// What ended although nobody had asked for it.
    pub(super) async fn until_stopped(mut self) -> Result<(), Failure> {
        let listen = |kind| signal(kind).map_err(failed("a signal could not be listened for"));
        let mut terminate = listen(SignalKind::terminate())?;
        let mut upgrade = listen(SignalKind::user_defined2())?;
        self.watch_sight();
        let mut watchdog = notify::watchdog_pace().map(tokio::time::interval);
        let end = loop {
            tokio::select! {
                _ = terminate.recv() => break End::Drain(self.config.proxy.drain),
                // Somebody at a terminal wants it to end now.
                _ = tokio::signal::ctrl_c() => break End::Drain(Duration::ZERO),
                _ = upgrade.recv() => self.start_successor(),
                Some((step, done)) = next(&mut self.asked) => {
                    if let Step::End(heir) = step {
                        let _ = done.send(Ok(()));
                        break End::TakenOver(heir);
                    }
                    let outcome = self.take_step(step).await;
                    if let Err(why) = &outcome {
                        tracing::error!(why, "takeover: {step:?} failed");
                    }
                    let _ = done.send(outcome);
                }
                () = async { watchdog.as_mut().expect("the branch is guarded").tick().await; }, if watchdog.is_some() => {
                    // The engine answers, so it lives; a hung engine starves the watchdog.
                    if self.engine.status().await.is_some() {
                        notify::tell("WATCHDOG=1");
                    }
                }
                ended = &mut self.deciding => {
                    let why = ended.err().map_or_else(|| "it returned".to_owned(), |e| e.to_string());
                    tracing::error!(why, "the engine has ended; leases run out and peers take over");
                    return Err(("the engine has ended".to_owned(), Box::new(std::io::Error::other(why))));
                }
            }
        };
        self.sight.iter().for_each(JoinHandle::abort);
        match end {
            End::Drain(drain) => self.drain(drain, terminate).await,
            End::TakenOver(heir) => self.retire(heir).await,
        }
    }

    /// Starts what stands where this program stood, to take over from us. If it fails, we go on.
    fn start_successor(&self) {
        let mut command = tokio::process::Command::new(&self.program);
        command.arg("run").arg("--takeover").arg("--config").arg(&self.file);
        match command.spawn() {
            Ok(mut child) => {
                tracing::info!(program = %self.program.display(), pid = child.id(), "a new process is to take over");
                tokio::spawn(async move {
                    let ended = child.wait().await;
                    tracing::error!(?ended, "the new process has ended without having taken over");
                });
            }
            Err(error) => tracing::error!(%error, program = %self.program.display(), "no new process could be started"),
        }
    }

    fn watch_sight(&mut self) {
        if let Keeper::Group(group) = &self.keeper {
            let watch = sight::watch(self.config.clone(), self.engine.clone(), group.clone());
            self.sight = Some(tokio::spawn(watch));
        }
    }

    async fn take_step(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::StopDeciding => {
                self.sight.iter().for_each(JoinHandle::abort);
                self.keeper.stop_deciding(&self.engine).await
            }
            Step::CloseLinks => {
                self.links.iter_mut().for_each(Links::close);
                Ok(())
            }
            Step::DecideAgain => {
                self.keeper.decide_again(&self.config, &self.engine).await?;
                self.watch_sight();
                self.links.iter_mut().try_for_each(Links::open).map_err(|error| error.to_string())
            }
            Step::End(_) => Ok(()),
        }
    }

    /// Another process accepts and decides: what is open here goes on for as long as a drain.
    async fn retire(mut self, heir: u32) -> Result<(), Failure> {
        tracing::info!(heir, "another process has taken over: accepting no more, open connections finish");
        notify::tell(&format!("MAINPID={heir}"));
        self.reloading.abort();
        self.links.iter_mut().for_each(Links::close);
        drop(self.admin);
        stop(&self.engine).await;
        let _ = self.deciding.await;
        let (traffic, drain) = (self.traffic, self.config.proxy.drain);
        let joined = tokio::task::spawn_blocking(move || traffic.retire(drain)).await;
        joined.map_err(failed("the data path did not stop in order"))
    }

    async fn drain(self, drain: Duration, mut terminate: Signal) -> Result<(), Failure> {
        tracing::info!("stopping: not ready any more, then drain");
        notify::tell("STOPPING=1");
        self.stopping.store(true, Ordering::Relaxed);
        self.reloading.abort();
        let unready_first = UNREADY_FIRST.min(drain / 2);
        tokio::select! {
            () = tokio::time::sleep(unready_first) => {}
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        match &self.keeper {
            // Another proxy decides from here on; our engine follows it while connections drain.
            Keeper::Group(group) => group.release().await,
            Keeper::File(_) => stop(&self.engine).await,
        }
        let traffic = self.traffic;
        let joined = tokio::task::spawn_blocking(move || traffic.stop(drain.saturating_sub(unready_first))).await;
        stop(&self.engine).await;
        let _ = self.deciding.await;
        drop(self.admin);
        joined.map_err(failed("the data path did not stop in order"))
    }
}

async fn next(asked: &mut Option<mpsc::Receiver<Asked>>) -> Option<Asked> {
    match asked {
        Some(asked) => asked.recv().await,
        None => std::future::pending().await,
    }
}

/// Returns once nothing more is decided.
async fn stop(engine: &Handle) {
    let (done, stopped) = oneshot::channel();
    if engine.send(Input::Stop(done)).await {
        let _ = stopped.await;
    }
}
