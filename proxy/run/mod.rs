//! `hotspare run`: from a valid configuration to a proxy that serves, decides, and stops in good order.
//!
//! Reads as the story of the process: bind everything, open the store, start the threads, wait for a signal, drain.
//! Each part is made elsewhere; here they are only joined. Nothing is accepted before everything could be bound.
//!
//! Threads: `data-N` relay bytes (`hotspare_datapath`), the main thread runs the engine and the links (one
//! current-thread runtime, so that a heartbeat and its grant never change threads), `admin` serves people and
//! scrapers, `journal` and `events` write.

mod site;
mod spec;
mod watch;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::admin::{self, Admin};
use crate::config::{Config, Problems, Secrets, StoreKind};
use crate::drill::Drills;
use crate::engine::{self, Engine, Handle, Input, Parts};
use crate::events::{EventLog, Level};
use crate::store::file::FileStore;
use crate::store::group::GroupStore;
use crate::store::{Kept, Store};
use crate::traffic::Traffic;
use crate::{hooks, link, notify};
use site::Site;
use watch::Watch;

/// Exit code when an address, the store or a thread could not be had.
const EXIT_UNAVAILABLE: u8 = 69;
/// After `/readyz` says that we stop, an ingress gets this long to notice before we stop to accept: they look
/// every few seconds.
const UNREADY_FIRST: Duration = Duration::from_secs(5);
/// A link on which nothing came for this many heartbeats is closed; its launcher opens it again.
const LINK_IDLE_HEARTBEATS: u32 = 20;
/// Link events that may wait for the engine.
const LINK_QUEUE: usize = 1024;

/// Runs until SIGTERM or SIGINT; returns the process's exit code. `file` is read again on SIGHUP and when it changes.
pub fn run(config: Config, file: &Path) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return unavailable("the runtime could not be started", &error),
    };
    runtime.block_on(async {
        match serve(&config, file).await {
            Ok(()) => ExitCode::SUCCESS,
            Err((what, error)) => unavailable(&what, error.as_ref()),
        }
    })
}

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

async fn serve(config: &Config, file: &Path) -> Result<(), Failure> {
    let (handle, inputs) = engine::queue();
    let admin_listener = bind("admin", config.admin.listen).await?;
    let link_listener = match config.links {
        Some(address) => Some(bind("links", address).await?),
        None => None,
    };
    let (store, records, group) = open_store(config, handle.clone()).await?;
    let (events, writer) = EventLog::open(&config.store.dir).map_err(failed("the event log could not be opened"))?;
    let cannot = "the data path could not be started";
    let traffic = Traffic::start(&config.proxy, handle.clone()).map_err(failed(cannot))?;
    let (site, specs) = Site::start(config, handle.clone(), traffic.clone()).map_err(failed(cannot))?;
    tokio::spawn(traffic.clone().resolve());
    let instances = specs.into_iter().map(|spec| {
        let names = spec.members.each_ref().map(|m| m.name.as_str());
        let record = records.get(&spec.name).map(|kept| kept.clone().for_members(names));
        (spec, record)
    });
    let instances = instances.collect();
    let routes = Box::new(traffic.clone());
    let parts = Parts { name: config.name.clone(), instances, store, routes, events: events.clone() };
    let deciding = tokio::spawn(Engine::new(parts, inputs).run());
    if let Some(listener) = link_listener {
        serve_links(listener, config, site.identities.clone(), handle.clone());
    }
    for hook in &config.hooks {
        tokio::spawn(hooks::run(hook.clone(), events.clone()));
    }
    let stopping = Arc::new(AtomicBool::new(false));
    let access = site.access.clone();
    let drills = Drills::new(handle.clone(), events.clone());
    let site = site.with_drills(drills.clone());
    let admin =
        Arc::new(Admin { engine: handle.clone(), events: events.clone(), drills, access, stopping: stopping.clone() });
    let admin_thread = serve_admin(admin_listener, admin)?;

    notify::tell("READY=1");
    let watch = Watch::new(file).map_err(failed("SIGHUP could not be listened for"))?;
    let reloading = tokio::spawn(reload_when_changed(site, watch, file.to_path_buf(), events));
    let result = until_stopped(deciding, handle, &stopping, traffic, reloading, config.proxy.drain, group).await;
    drop(admin_thread);
    writer.finish();
    result
}

async fn bind(what: &str, address: std::net::SocketAddr) -> Result<TcpListener, Failure> {
    let listener = TcpListener::bind(address).await.map_err(failed(format!("{what}: cannot listen on {address}")))?;
    let bound = listener.local_addr().map_err(failed(format!("{what}: no address")))?;
    tracing::info!(listener = what, address = %bound, "listening");
    Ok(listener)
}

type Records = std::collections::BTreeMap<String, Kept>;

/// The store, what is on record in it, and the group whose leadership is to be given up at the end.
type Opened = (Box<dyn Store>, Records, Option<GroupStore>);

async fn open_store(config: &Config, engine: Handle) -> Result<Opened, Failure> {
    match &config.store.kind {
        StoreKind::File => {
            let (store, loaded) =
                FileStore::open(&config.store.dir, engine).map_err(failed("the store could not be opened"))?;
            if loaded.dropped_tail_bytes > 0 {
                let bytes = loaded.dropped_tail_bytes;
                tracing::warn!(bytes, "the journal's last write was never acknowledged, and was dropped");
            }
            Ok((Box::new(store), loaded.records, None))
        }
        StoreKind::Kubernetes { .. } | StoreKind::Etcd { .. } => {
            let joined = GroupStore::join(config, engine).await.map_err(std::io::Error::other);
            let group = joined.map_err(failed("the store could not be opened"))?;
            Ok((Box::new(group.clone()), Records::new(), Some(group)))
        }
    }
}

async fn reload_when_changed(mut site: Site, mut watch: Watch, file: std::path::PathBuf, events: EventLog) {
    loop {
        watch.changed().await;
        let outcome = match Config::load(&file, Secrets::Read) {
            Ok(config) => site.reload(config).await,
            Err(problems) => {
                Err(format!("it has {} problems, nothing was applied: {}", problems.list.len(), in_a_line(&problems)))
            }
        };
        let (level, text) = match outcome {
            Ok(done) => (Level::Notice, format!("the configuration was read again: {done}")),
            Err(why) => (Level::Alarm, format!("the configuration was read again and not taken: {why}")),
        };
        events.record("", level, text, serde_json::json!({"event": "reload", "file": file}));
    }
}

fn in_a_line(problems: &Problems) -> String {
    problems.to_string().lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

fn serve_links(listener: TcpListener, config: &Config, identities: Arc<ArcSwap<link::Identities>>, engine: Handle) {
    let slowest = config.instances.iter().map(|i| i.lease.heartbeat).max().unwrap_or(Duration::from_millis(100));
    let (sender, mut events) = mpsc::channel(LINK_QUEUE);
    tokio::spawn(link::serve(listener, identities, slowest * LINK_IDLE_HEARTBEATS, sender));
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            if !engine.send(Input::Link(event)).await {
                return;
            }
        }
    });
}

/// The admin listener's own thread: a slow scrape must not delay a heartbeat. It ends with the process.
fn serve_admin(listener: TcpListener, admin: Arc<Admin>) -> Result<oneshot::Sender<()>, Failure> {
    let listener = listener.into_std().map_err(failed("admin: the listener could not be handed over"))?;
    let (keep, ended) = oneshot::channel::<()>();
    std::thread::Builder::new()
        .name("admin".to_owned())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("the first runtime of this process could be built, and so can this one");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("it was non-blocking and registered before");
                tokio::select! {
                    () = admin::serve(listener, admin) => {}
                    _ = ended => {}
                }
            });
        })
        .map_err(failed("admin: no thread"))?;
    Ok(keep)
}

async fn until_stopped(
    deciding: tokio::task::JoinHandle<()>,
    engine: Handle,
    stopping: &AtomicBool,
    traffic: Arc<Traffic>,
    reloading: tokio::task::JoinHandle<()>,
    drain: Duration,
    group: Option<GroupStore>,
) -> Result<(), Failure> {
    let mut deciding = deciding;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed("SIGTERM could not be listened for"))?;
    let mut watchdog = notify::watchdog_pace().map(tokio::time::interval);
    let drain = loop {
        tokio::select! {
            _ = terminate.recv() => break drain,
            // Somebody at a terminal wants it to end now.
            _ = tokio::signal::ctrl_c() => break Duration::ZERO,
            () = async { watchdog.as_mut().expect("the branch is guarded").tick().await; }, if watchdog.is_some() => {
                // The engine answers, so it lives; a hung engine starves the watchdog.
                if engine.status().await.is_some() {
                    notify::tell("WATCHDOG=1");
                }
            }
            ended = &mut deciding => {
                let why = ended.err().map_or_else(|| "it returned".to_owned(), |e| e.to_string());
                tracing::error!(why, "the engine has ended; leases run out and peers take over");
                return Err(("the engine has ended".to_owned(), Box::new(std::io::Error::other(why))));
            }
        }
    };
    tracing::info!("stopping: not ready any more, then drain");
    notify::tell("STOPPING=1");
    stopping.store(true, Ordering::Relaxed);
    reloading.abort();
    let unready_first = UNREADY_FIRST.min(drain);
    tokio::select! {
        () = tokio::time::sleep(unready_first) => {}
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    match &group {
        // Another proxy decides from here on; our engine follows it while connections drain.
        Some(group) => group.release().await,
        None => stop(&engine).await,
    }
    let joined = tokio::task::spawn_blocking(move || traffic.stop(drain.saturating_sub(unready_first))).await;
    stop(&engine).await;
    let _ = deciding.await;
    joined.map_err(failed("the data path did not stop in order"))
}

/// Returns once nothing more is decided.
async fn stop(engine: &Handle) {
    let (done, stopped) = oneshot::channel();
    if engine.send(Input::Stop(done)).await {
        let _ = stopped.await;
    }
}
