//! `hotspare launcher`: starts a Node-RED, watches it, and lets its flows run only under a lease.
//!
//! Bird's eye: [`run`] wires it up. `shell` is the one task around the decision core (`hotspare_decide::Guard`);
//! `sync`, `nodes` and `context` make the standby have what the active has;
//! `node_red` is the process and `module` what runs inside it (`module/*.js`); `link` and `peer` are the network;
//! `admin` the HTTP API; `undertaker` the sibling that stays when this process is killed. With `--attach` another launcher
//! starts Node-RED: `attach` takes it on, `ungated` ends one that has no gate, `nr_launcher` speaks with FlowFuse's.
//!
//! Three walls stand behind one another when a lease ends: the shell kills Node-RED's process group; Node-RED dies
//! with its launcher (`child`); the module inside Node-RED keeps the end of the lease by itself.

mod admin;
mod args;
mod attach;
mod body;
mod child;
mod clock;
mod context;
mod cut;
mod datagrams;
mod effects;
mod jitter;
mod link;
mod logs;
mod module;
mod node_red;
mod nodes;
mod nr_launcher;
mod output;
mod peer;
mod places;
mod record;
mod resources;
mod shell;
mod sync;
mod tls;
mod undertaker;
mod ungated;
mod waiting;

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use hotspare_protocol::Secret;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::channel;

pub use args::LauncherArgs;
pub use body::{BODY_DEADLINE, whole as whole_body};
pub use output::may_be_logged;

use admin::Admin;
use jitter::Jitter;
use link::Identity;
use logs::Logs;
use nodes::Installer;
use output::Output;
use places::Places;
use record::StateDir;
use shell::{Input, Parts, Shell};
use tls::Tls;
use undertaker::{TlsFiles, Undertaker};
use ungated::Ungated;

/// Exit code for a command line or a set-up that cannot work (`EX_USAGE` of sysexits.h).
const EXIT_USAGE: u8 = 64;
/// Things that may wait for the shell, which never waits for anything itself.
const INPUTS: usize = 256;

/// The hidden subcommands, which the launcher starts from its own binary. The binary must call this before it reads
/// its command line: `Some` is the exit code of one that was carried out.
pub fn hidden(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter().skip(1);
    let first = arguments.next()?;
    if first == child::SUBCOMMAND {
        return Some(child::main(arguments));
    }
    (first == undertaker::SUBCOMMAND).then(undertaker::main)
}

/// Runs the launcher until SIGTERM, SIGINT or a `shutdown` command. Must be called on the main thread: Node-RED
/// dies with the thread that started it.
pub fn run(args: LauncherArgs) -> ExitCode {
    let log = output::start_log();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build();
    let result = runtime.map_err(Problem::from).and_then(|runtime| runtime.block_on(launch(args)));
    if let Ok(log) = log {
        log.finish();
    }
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Problem(text)) => {
            eprintln!("hotspare launcher: {text}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// Why the launcher cannot begin, for a person.
struct Problem(String);

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

async fn launch(args: LauncherArgs) -> Result<(), Problem> {
    let token = read_token(&args)?;
    let tls = Tls::start(&args)?;
    let listener = TcpListener::bind(args.admin)
        .await
        .map_err(|error| Problem(format!("the admin address {} cannot be used: {error}", args.admin)))?;
    let dir = args.state_dir();
    let state = StateDir::open(&dir).map_err(|error| Problem(format!("state folder {}: {error}", dir.display())))?;
    let record = state.read()?;
    let module = module::install(state.path())?;
    let attached = attach_to(&args, &state)?;
    let session = jitter::random()?;
    let identity = Identity {
        instance: args.instance.clone(),
        member: args.name.clone(),
        token: token.clone(),
        tls: tls.expected.clone(),
    };

    let (inputs, waiting_inputs) = channel(INPUTS);
    let (happenings, waiting_happenings) = channel(INPUTS);
    let (shutdown, mut told) = channel(1);
    let written = inputs.clone();
    let records = state.start_writer(move |id, ok| drop(written.blocking_send(Input::Persisted { id, ok })))?;
    let undertaker = Undertaker::start(&identity, &args.controllers, TlsFiles::of(&tls.files))?;
    let logs = Arc::new(Mutex::new(Logs::new(&args.name)));
    let peer_secret = Arc::new(Mutex::new(record.peer.as_ref().map(|peer| Secret::new(peer.secret.clone()))));

    let installer = Installer::default();
    let admin = Admin {
        member: args.name.clone(),
        instance: args.instance.clone(),
        token,
        peer_secret: Arc::clone(&peer_secret),
        state_dir: state.path().to_path_buf(),
        inputs: inputs.clone(),
        logs: Arc::clone(&logs),
        created_ms: clock::wall_ms(),
        shutdown,
        attached: args.attach.is_some(),
        nr_launcher: args.nr_launcher.clone(),
        installer: installer.clone(),
    };
    let cut = cut::Cut::default();
    if let Some((socket, ungated)) = attached {
        let logs = Arc::clone(&logs);
        ungated.watch(move |text| {
            tracing::error!("{text}");
            logs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).system(text);
        })?;
        tokio::spawn(attach::serve(socket, inputs.clone()));
    }
    let deployed = Arc::new(tokio::sync::Notify::new());
    tokio::spawn(sync::keep(
        state.path().to_path_buf(),
        inputs.clone(),
        Arc::clone(&deployed),
        installer,
        tls.expected.clone(),
    ));
    tokio::spawn(context::keep(state.path().to_path_buf(), inputs.clone(), tls.expected.clone()));
    tracing::info!(admin = %listener.local_addr()?, member = args.name, instance = args.instance, "launcher started");
    tokio::spawn(admin::serve(listener, Arc::new(admin), tls.server));
    let mut jitter = Jitter::new(session);
    let places = Places::default();
    for (controller, url) in args.controllers.iter().enumerate() {
        jitter.around(std::time::Duration::from_millis(1));
        tokio::spawn(link::keep(
            controller,
            url.clone(),
            identity.clone(),
            places.clone(),
            inputs.clone(),
            jitter.clone(),
            cut.clone(),
        ));
    }
    let samples = inputs.clone();
    tokio::spawn(async move {
        while samples.send(Input::SampleDue).await.is_ok() {
            tokio::time::sleep(resources::EVERY).await;
        }
    });

    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {}, _ = told.recv() => {} }
    };
    let output = Output::start(io::stdout())?;
    let nice = raise_priority();
    let lines = output.clone();
    let parts = Parts {
        args,
        state,
        module,
        session,
        inputs,
        happenings,
        records,
        undertaker,
        logs,
        output,
        nice,
        peer_secret,
        deployed,
        cut,
        tls: tls.expected,
    };
    Box::pin(Shell::new(parts, record).run(waiting_happenings, waiting_inputs, stop)).await;
    lines.finish();
    tracing::info!("launcher ended");
    Ok(())
}

/// With `--attach`: where the module calls, and the look-out for a Node-RED without it.
fn attach_to(args: &LauncherArgs, state: &StateDir) -> Result<Option<(tokio::net::UnixListener, Ungated)>, Problem> {
    let Some(user_dir) = &args.attach else { return Ok(None) };
    let user_dir = std::fs::canonicalize(user_dir)
        .map_err(|error| Problem(format!("Node-RED's user folder {}: {error}", user_dir.display())))?;
    let close = args.node_close_timeout.map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
    let socket = attach::listen(state, &args.name, close)?;
    let module = module::attached_entry(state.path());
    tracing::info!("Node-RED needs NODE_OPTIONS=--require={} in its environment", module.display());
    Ok(Some((socket, Ungated { user_dir, module })))
}

/// The launcher does little, but what it does is due: on a machine whose cores are all busy, renewals go first.
/// Where that is not allowed it works as any other process. Returns the nice value Node-RED is to have.
fn raise_priority() -> i32 {
    let nice = rustix::process::getpriority_process(None).unwrap_or(0);
    let _ = rustix::process::setpriority_process(None, nice - 10);
    nice
}

fn read_token(args: &LauncherArgs) -> Result<Option<Secret>, Problem> {
    let Some(path) = &args.token_file else {
        if !args.controllers.is_empty() {
            return Err(Problem("with --controller this member's token is needed: give --token-file".to_owned()));
        }
        if !args.admin.ip().is_loopback() {
            return Err(Problem("an admin address that others can reach needs a token: give --token-file".to_owned()));
        }
        return Ok(None);
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| Problem(format!("the token file {} cannot be read: {error}", path.display())))?;
    // A second line is the token to come, which the controller knows already.
    let token = text.trim().lines().next().unwrap_or_default().trim_end();
    if token.is_empty() {
        return Err(Problem(format!("the token file {} is empty", path.display())));
    }
    Ok(Some(Secret::new(token)))
}
