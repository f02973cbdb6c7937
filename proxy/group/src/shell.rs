//! One election against one backend: the task that gives it time and carries its requests.
//!
//! Owns the clock, the one request under way and the watch. Decides nothing: see [`Election`].

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hotspare_decide::Time;
use serde_json::Value;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::backend::Backend;
use crate::clock;
use crate::election::{Answer, Effect, Election, Event, Input, Settings, Ticket};

/// What may wait for the task. Each instance has one record under way as a rule.
const QUEUE: usize = 4096;
/// The task looks at the clock at least this often: sleeping goes by a clock that stands still while the machine is
/// suspended.
const TICK: Duration = Duration::from_millis(500);
/// A watch that broke is begun anew after this long.
const WATCH_AGAIN: Duration = Duration::from_millis(250);

/// What a proxy brings into its group.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// The proxy's name; a part that is unique to this start is added.
    pub me: String,
    /// Where it takes orders, for others to pass them on; may be empty.
    pub admin: String,
    /// How long it leads after having sent a write.
    pub lead_for: Duration,
    /// How often a leader writes, and a follower reads.
    pub renew: Duration,
    /// How long one request to the store may take.
    pub request_timeout: Duration,
    /// How far the rates of two machines' clocks may differ, in parts per million.
    pub drift_ppm: u32,
}

type Asked = Option<Pin<Box<dyn Future<Output = (u64, Answer)> + Send>>>;
type Sink = Arc<dyn Fn(Event) + Send + Sync>;

/// A proxy's part in its group.
pub struct Group;

enum Command {
    Persist { ticket: Ticket, instance: String, record: Value },
    Resign(oneshot::Sender<()>),
}

/// Speaks with the group's task; dropping it ends the task, without giving leadership up.
pub struct Handle {
    me: String,
    commands: mpsc::Sender<Command>,
    leads_until: Arc<AtomicU64>,
    sink: Sink,
    patience: Duration,
    task: JoinHandle<()>,
    watch: JoinHandle<()>,
}

impl Group {
    /// Joins the group: follows until [`Event::Led`]. `sink` is called from the group's task, or from the caller of
    /// [`Handle::persist`], and must not block. Needs a tokio runtime with timers.
    pub fn start<B: Backend>(config: GroupConfig, backend: B, sink: impl Fn(Event) + Send + Sync + 'static) -> Handle {
        let me = format!("{}/{:016x}", config.me, unique());
        let sink: Sink = Arc::new(sink);
        let backend = Arc::new(backend);
        let hint = Arc::new(Notify::new());
        let leads_until = Arc::new(AtomicU64::new(0));
        let (commands, queue) = mpsc::channel(QUEUE);
        let election = Election::new(Settings {
            me: me.clone(),
            admin: config.admin,
            lead_for: config.lead_for,
            renew: config.renew,
            request_timeout: config.request_timeout,
            drift_ppm: config.drift_ppm,
        });
        let task = Task {
            election,
            backend: backend.clone(),
            sink: sink.clone(),
            hint: hint.clone(),
            leads_until: leads_until.clone(),
            asked: None,
            resigned: Vec::new(),
        };
        Handle {
            me,
            commands,
            leads_until,
            sink,
            patience: config.request_timeout * 3,
            task: tokio::spawn(task.run(queue)),
            watch: tokio::spawn(keep_watching(backend, hint)),
        }
    }
}

impl Handle {
    /// By this the others know this proxy: its name and a part that is unique to this start.
    pub fn me(&self) -> &str {
        &self.me
    }

    /// Until when this proxy leads; [`Time::ZERO`] if it doesn't. Look at the clock *after* having received what is to
    /// be decided upon, and decide only if this lies ahead: then a pause of the process can do no harm.
    pub fn leads_until(&self) -> Time {
        Time::from_nanos(self.leads_until.load(Ordering::Acquire))
    }

    /// Makes a record durable; answered by [`Event::Stored`]. Never blocks.
    pub fn persist(&self, instance: u32, name: String, id: u64, record: Value) {
        let ticket = Ticket { instance, id };
        if self.commands.try_send(Command::Persist { ticket, instance: name, record }).is_err() {
            let result = Err("too many records wait for the store".to_owned());
            (self.sink)(Event::Stored { ticket, result });
        }
    }

    /// Gives leadership up, so that another proxy can take it at once, and leaves the group. Returns whether the store
    /// knows; if it doesn't, the others wait until leadership has ended by itself.
    pub async fn release(&self) -> bool {
        let (done, resigned) = oneshot::channel();
        if self.commands.send(Command::Resign(done)).await.is_err() {
            return false;
        }
        matches!(tokio::time::timeout(self.patience, resigned).await, Ok(Ok(())))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.task.abort();
        self.watch.abort();
        self.leads_until.store(0, Ordering::Release);
    }
}

/// No two starts of any process have the same.
fn unique() -> u64 {
    let mut bytes = [0; 8];
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(8) => u64::from_ne_bytes(bytes),
        // A kernel without getrandom: two proxies would have to start in the same nanosecond after boot.
        _ => clock::now().as_nanos(),
    }
}

async fn keep_watching(backend: Arc<impl Backend>, hint: Arc<Notify>) {
    loop {
        let why = backend.watch(&|| hint.notify_one()).await;
        tracing::debug!(why, "the watch of the store is begun anew");
        tokio::time::sleep(WATCH_AGAIN).await;
        hint.notify_one();
    }
}

struct Task<B> {
    election: Election,
    backend: Arc<B>,
    sink: Sink,
    hint: Arc<Notify>,
    leads_until: Arc<AtomicU64>,
    asked: Asked,
    resigned: Vec<oneshot::Sender<()>>,
}

impl<B: Backend> Task<B> {
    async fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        self.election.handle_timeout(clock::now());
        self.settle();
        loop {
            let sleep = clock::now().until(self.election.poll_timeout()).min(TICK);
            tokio::select! {
                biased;
                (id, answer) = answer_of(&mut self.asked) => {
                    self.asked = None;
                    self.election.handle(clock::now(), Input::Answer { id, answer });
                }
                command = queue.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                () = self.hint.notified() => self.election.handle(clock::now(), Input::Hint),
                () = tokio::time::sleep(sleep) => self.election.handle_timeout(clock::now()),
            }
            self.settle();
        }
    }

    fn obey(&mut self, command: Command) {
        let input = match command {
            Command::Persist { ticket, instance, record } => Input::Persist { ticket, instance, record },
            Command::Resign(done) => {
                self.resigned.push(done);
                Input::Resign
            }
        };
        self.election.handle(clock::now(), input);
    }

    /// Tells until when this proxy leads before anything else is told or asked.
    fn settle(&mut self) {
        self.leads_until.store(self.election.leads_until().as_nanos(), Ordering::Release);
        while let Some(effect) = self.election.poll_effect() {
            match effect {
                Effect::Ask { id, request } => {
                    let backend = self.backend.clone();
                    self.asked = Some(Box::pin(async move { (id, backend.serve(request).await) }));
                }
                Effect::Event(event) => {
                    if event == Event::Resigned {
                        for done in self.resigned.drain(..) {
                            // Whoever asked may have stopped waiting.
                            let _ = done.send(());
                        }
                    }
                    (self.sink)(event);
                }
            }
        }
    }
}

/// The answer to the request under way; pending for ever if there is none.
async fn answer_of(asked: &mut Asked) -> (u64, Answer) {
    match asked {
        Some(request) => request.as_mut().await,
        None => std::future::pending().await,
    }
}
