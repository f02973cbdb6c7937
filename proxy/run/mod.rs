//! `hotspare run`: from a valid configuration to a proxy that serves, decides, and stops in good order.
//!
//! Reads as the story of the process: bind everything, open the store, start the threads, wait for a signal, drain.
//! Each part is made elsewhere; here they are only joined. Nothing is accepted before everything could be bound.
//!
//! Threads: `data-N` relay bytes (`hotspare_datapath`), the main thread runs the engine and the links (one
//! current-thread runtime, so that a heartbeat and its grant never change threads), `admin` serves people and
//! scrapers, `journal` and `events` write.

mod activated;
mod keeper;
mod links;
mod sight;
mod site;
mod spec;
mod stop;
mod watch;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hotspare_tls::{Bad, Keeper as Certificates, Server, ServerFiles};
use tokio::sync::{mpsc, oneshot};

use crate::admin::{self, Admin};
use crate::config::{Config, Problems, Secrets};
use crate::drill::Drills;
use crate::engine::{self, Engine, Parts};
use crate::events::{EventLog, Level};
use crate::observations::Recorder;
use crate::takeover::{Asked, Elder, Heir, Sockets};
use crate::traffic::Traffic;
use crate::{active_label, hooks, notify};
use keeper::Keeper;
use links::Links;
use site::Site;
use stop::Running;
use watch::Watch;

/// Exit code when an address, the store or a thread could not be had.
const EXIT_UNAVAILABLE: u8 = 69;
/// After a takeover: how long to let the process before us serve while an instance has no active.
const ROUTES_WITHIN: Duration = Duration::from_secs(5);
const TAKEOVER_FAILED: &str = "the running hotspare could not be taken over";

/// Runs until SIGTERM or SIGINT; returns the process's exit code. `file` is read again on SIGHUP and when it changes.
/// With `takeover`, the place of the process is taken that runs with the same `[store] dir`.
pub fn run(config: Config, file: &Path, takeover: bool) -> ExitCode {
    let passed = match activated::sockets() {
        Ok(passed) => passed,
        Err(error) => return unavailable("the sockets that systemd passed", &error),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return unavailable("the runtime could not be started", &error),
    };
    runtime.block_on(async {
        match serve(&config, file, takeover, passed).await {
            Ok(()) => ExitCode::SUCCESS,
            Err((what, error)) => unavailable(&what, error.as_ref()),
        }
    })
}

/// Sockets that listen, by their address.
type Listening = HashMap<SocketAddr, Vec<OwnedFd>>;
type Failure = (String, Box<dyn std::error::Error>);

fn unavailable(what: &str, error: &dyn std::error::Error) -> ExitCode {
    tracing::error!(%error, "{what}");
    eprintln!("hotspare: {what}: {error}");
    ExitCode::from(EXIT_UNAVAILABLE)
}

fn failed<E: std::error::Error + 'static>(what: impl Into<String>) -> impl FnOnce(E) -> Failure {
    let what = what.into();
    move |error| (what, Box::new(error))
}

async fn serve(config: &Config, file: &Path, takeover: bool, passed: Listening) -> Result<(), Failure> {
    // Asked now: once a new program stands in its place, the system no longer knows where this one was.
    let program = std::env::current_exe().map_err(failed("this program's own place is not known"))?;
    let (handle, inputs) = engine::queue();
    let (heir, sockets) = meet(config, takeover, passed)?;
    let admin_listener = listen(&sockets, "admin", config.admin.listen)?;
    let certificates = Certificates::default();
    let link_listener = match &config.links {
        Some(links) => Some((listen(&sockets, "links", links.listen)?, server(&certificates, links.tls.as_ref())?)),
        None => None,
    };
    let admin_tls = server(&certificates, config.admin.tls.as_ref())?;
    let (events, writer) = EventLog::open(&config.store.dir).map_err(failed("the event log could not be opened"))?;
    let (recorder, recording) =
        Recorder::open(&config.store.dir).map_err(failed("the folder for observations could not be opened"))?;
    let cannot = "the data path could not be started";
    let traffic =
        Traffic::start(&config.proxy, handle.clone(), sockets.clone(), certificates.clone()).map_err(failed(cannot))?;
    if let Some(heir) = &heir {
        // The one before us serves on until we have routes.
        traffic.accept(false).map_err(failed(cannot))?;
        traffic.tell(heir.tell_routes().map_err(failed(TAKEOVER_FAILED))?);
    }
    let started =
        Site::start(config, handle.clone(), traffic.clone(), sockets.clone(), certificates.clone(), events.clone());
    let (site, specs) = started.map_err(failed(cannot))?;
    for address in sockets.unused() {
        tracing::warn!(%address, "systemd passed a socket on which nothing listens by this configuration");
    }
    tokio::spawn(traffic.clone().resolve());
    if let Some(heir) = &heir {
        heir.take().map_err(failed(TAKEOVER_FAILED))?;
    }
    let (keeper, records) = Keeper::open(config, handle.clone()).await?;
    let instances = specs.into_iter().map(|spec| {
        let names = spec.members.each_ref().map(|m| m.name.as_str());
        let record = records.get(&spec.name).map(|kept| kept.clone().for_members(names));
        (spec, record)
    });
    let instances = instances.collect();
    let (store, routes) = (keeper.store(), Box::new(traffic.clone()));
    let parts = Parts {
        name: config.name.clone(),
        instances,
        store,
        routes,
        events: events.clone(),
        recorder: recorder.clone(),
    };
    let deciding = tokio::spawn(Engine::new(parts, inputs).run());
    let mut links = link_listener.map(|(l, tls)| Links::new(l, tls, config, site.identities.clone(), handle.clone()));
    links.iter_mut().try_for_each(Links::open).map_err(failed("links: the listener could not be served"))?;
    for hook in &config.hooks {
        tokio::spawn(hooks::run(hook.clone(), events.clone()));
    }
    if let Some(pods) =
        active_label::pods(config).await.map_err(std::io::Error::other).map_err(failed("no pod can be labelled"))?
    {
        tokio::spawn(active_label::run(pods, handle.clone(), events.clone()));
    }
    let stopping = Arc::new(AtomicBool::new(false));
    let access = site.access.clone();
    let drills = Drills::new(handle.clone(), events.clone(), certificates.clone());
    let site = site.with_drills(drills.clone());
    let admin = Arc::new(Admin {
        engine: handle.clone(),
        events: events.clone(),
        recorder,
        drills,
        access,
        stopping: stopping.clone(),
    });
    if let Some(heir) = heir {
        take_traffic(heir, &traffic).await?;
    }
    let admin = serve_admin(&admin_listener, admin_tls, admin)?;
    let asked = wait_for_an_heir(config, sockets, traffic.clone());

    notify::tell("READY=1");
    let watch = Watch::new(file).map_err(failed("SIGHUP could not be listened for"))?;
    tokio::spawn(keep_certificates(certificates, events.clone()));
    let reloading = tokio::spawn(reload_when_changed(site, watch, file.to_path_buf(), events));
    let (config, file, engine, sight) = (config.clone(), file.to_path_buf(), handle, None);
    let running = Running {
        config,
        program,
        file,
        deciding,
        engine,
        keeper,
        traffic,
        links,
        stopping,
        reloading,
        admin,
        asked,
        sight,
    };
    let result = running.until_stopped().await;
    recording.finish();
    writer.finish();
    result
}

fn listen(sockets: &Sockets, what: &str, address: SocketAddr) -> Result<Arc<TcpListener>, Failure> {
    let listener = sockets.listen(address).map_err(failed(format!("{what}: cannot listen on {address}")))?;
    let bound = listener.local_addr().map_err(failed(format!("{what}: no address")))?;
    tracing::info!(listener = what, address = %bound, "listening");
    Ok(listener)
}

fn server(certificates: &Certificates, files: Option<&ServerFiles>) -> Result<Option<Server>, Failure> {
    let made = files.map(|files| certificates.server(files.clone())).transpose();
    made.map_err(failed("a certificate is not good"))
}

/// The process whose place is to be taken, if one is, and the sockets that it listens with; else what systemd passed.
fn meet(config: &Config, takeover: bool, passed: Listening) -> Result<(Option<Arc<Heir>>, Arc<Sockets>), Failure> {
    if !takeover {
        return Ok((None, Arc::new(Sockets::passed(passed))));
    }
    let (heir, inherited) = Heir::meet(&config.store.dir).map_err(failed(TAKEOVER_FAILED))?;
    Ok((Some(Arc::new(heir)), Arc::new(Sockets::inheriting(inherited))))
}

/// The launchers first, then, once there is somebody to send them to, the clients.
async fn take_traffic(heir: Arc<Heir>, traffic: &Traffic) -> Result<(), Failure> {
    let (links, clients) = (heir.clone(), heir);
    // Should the one before us end meanwhile, it is all ours anyway.
    if let Err(error) = blocking(move || links.deciding()).await {
        tracing::warn!(%error, "takeover: the process before has ended early");
    }
    let routed = async {
        while !traffic.has_routes() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(ROUTES_WITHIN, routed).await.is_err() {
        tracing::warn!("takeover: not every instance has an active; its clients wait");
    }
    traffic.accept(true).map_err(failed("the data path does not accept"))?;
    if let Err(error) = blocking(move || clients.serving()).await {
        tracing::warn!(%error, "takeover: the process before has ended early");
    }
    tracing::info!("taken over");
    Ok(())
}

async fn blocking(step: impl FnOnce() -> std::io::Result<()> + Send + 'static) -> std::io::Result<()> {
    tokio::task::spawn_blocking(step).await.unwrap_or_else(|panicked| Err(std::io::Error::other(panicked)))
}

/// Steps to take when a process comes that takes over from this one; `None` if none can.
fn wait_for_an_heir(config: &Config, sockets: Arc<Sockets>, traffic: Arc<Traffic>) -> Option<mpsc::Receiver<Asked>> {
    let waiting = Elder::wait(&config.store.dir, sockets, traffic);
    waiting.inspect_err(|error| tracing::warn!(%error, "this process can't be taken over by a new one")).ok()
}

async fn reload_when_changed(mut site: Site, mut watch: Watch, file: std::path::PathBuf, events: EventLog) {
    loop {
        watch.changed().await;
        let outcome = match Config::load(&file, Secrets::Read) {
            Ok(config) => {
                notify::reloading();
                let outcome = site.reload(config).await;
                notify::tell("READY=1");
                outcome
            }
            Err(problems) => {
                Err(format!("it has {} problems, nothing was applied: {}", problems.list.len(), in_a_line(&problems)))
            }
        };
        let (level, text) = match outcome {
            Ok(done) => (Level::Notice, format!("the configuration was read again: {done}")),
            Err(why) => (Level::Alarm, format!("the configuration was read again and not taken: {why}")),
        };
        events.record("", level, text, &serde_json::json!({"event": "reload", "file": file}));
    }
}

/// Takes over certificates, keys and authorities when their files change, and says so.
async fn keep_certificates(certificates: Certificates, events: EventLog) {
    let tell = |files: &[std::path::PathBuf], outcome: Result<(), Bad>| {
        let names = files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ");
        let (level, text) = match outcome {
            Ok(()) => (Level::Notice, format!("certificates were read again: {names}")),
            Err(bad) => (Level::Alarm, format!("certificates were read again and not taken: {bad}")),
        };
        events.record("", level, text, &serde_json::json!({"event": "certificates", "files": files}));
    };
    certificates.watch(tell).await;
}

fn in_a_line(problems: &Problems) -> String {
    problems.to_string().lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

/// The admin listener's own thread: a slow scrape must not delay a heartbeat. It ends with the process.
fn serve_admin(listener: &TcpListener, tls: Option<Server>, admin: Arc<Admin>) -> Result<oneshot::Sender<()>, Failure> {
    let listener = listener.try_clone().map_err(failed("admin: the listener could not be handed over"))?;
    let (keep, ended) = oneshot::channel::<()>();
    std::thread::Builder::new()
        .name("admin".to_owned())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("the first runtime of this process could be built, and so can this one");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("it is non-blocking");
                tokio::select! {
                    () = admin::serve(listener, tls, admin) => {}
                    _ = ended => {}
                }
            });
        })
        .map_err(failed("admin: no thread"))?;
    Ok(keep)
}
