//! Bare Node-RED, by its own admin API (`GET` and `POST /flows/state`).
//!
//! What it answers is compared with what is so:
//! - a 200 is not a state: the body is (a start may answer `stop`, a stop `start`);
//! - `start` with missing node types or modules runs nothing: the flows are compared with the installed nodes,
//!   and where a probe is configured, it must be answered;
//! - `GET` says `stop` while nodes still close, and before a start under way has begun: only the answer to
//!   the first stop, or a stop that lasts ([`Belief`]), is a fact;
//! - a request that a hung Node-RED has not answered will still be executed: [`Orders`] keeps it.
//!
//! What it can't see: a supervisor that starts a crashed Node-RED again with its flows on. That Node-RED needs a
//! gate of its own (docs/node-red.md); until then it is seen as running and fenced, after the fact.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use hotspare_protocol::Secret;
use hotspare_tls::stream::Expected;
use hyper::StatusCode;
use serde_json::json;

use super::belief::{Belief, Operation, Turn, locked};
use super::inventory::{Inventory, Stock};
use super::order::{OrderError, Orders};
use super::serve::{self, Port, ServeProbe};
use super::{BoxFuture, Certain, Driver, DriverError, Flows, Seen, place};
use crate::http::{Ask, HttpError};

/// How a bare Node-RED is reached, and how long things may take.
#[derive(Debug, Clone)]
pub struct NodeRedSettings {
    /// `http://host:port` or `https://host:port`, with `httpAdminRoot` behind it if there is one.
    pub api: String,
    /// `host:port` where its flows serve.
    pub address: String,
    /// What the admin API must show, if its URL is https.
    pub api_tls: Option<Expected>,
    /// What that address must show; it speaks https then.
    pub tls: Option<Expected>,
    /// A token for its `adminAuth` with `flows.read` and `flows.write`; `nodes.read` lets missing node types be seen.
    pub token: Option<Secret>,
    /// A request that only running flows answer well.
    pub probe: Option<ServeProbe>,
    /// For one look.
    pub look_timeout: Duration,
    /// For a start, until the flows were seen to run.
    pub start_timeout: Duration,
    /// For a stop, until it is a fact; above Node-RED's `nodeCloseTimeout` (15 s unless set).
    pub stop_timeout: Duration,
    /// Node-RED's `nodeCloseTimeout`: how long a stop that was not ordered here may still be closing nodes.
    pub close_timeout: Duration,
}

impl NodeRedSettings {
    /// Defaults for everything but the address (`host:port`), with the admin API at its root.
    pub fn new(address: impl Into<String>) -> Self {
        let address = address.into();
        Self {
            api: format!("http://{address}"),
            address,
            api_tls: None,
            tls: None,
            token: None,
            probe: None,
            look_timeout: Duration::from_secs(1),
            start_timeout: Duration::from_secs(15),
            stop_timeout: Duration::from_secs(20),
            close_timeout: Duration::from_secs(15),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct NodeRed {
    settings: NodeRedSettings,
    belief: Mutex<Belief>,
    inventory: Inventory,
    /// Held for the length of an operation: one at a time.
    orders: tokio::sync::Mutex<Orders>,
}

/// What `/flows/state` said, or why it said nothing.
enum State {
    Says(String),
    Gone,
    Silent(String),
}

impl NodeRed {
    /// Nothing is asked of Node-RED yet.
    pub fn new(settings: NodeRedSettings) -> Self {
        let belief = Mutex::new(Belief::new(settings.close_timeout));
        let api = settings.api.trim_end_matches('/').to_owned();
        let inventory = Inventory::new(api, settings.token.clone(), settings.api_tls.clone(), settings.look_timeout);
        Self { settings, belief, inventory, orders: tokio::sync::Mutex::default() }
    }

    fn belief(&self) -> MutexGuard<'_, Belief> {
        locked(&self.belief)
    }

    fn state_url(&self) -> String {
        format!("{}/flows/state", self.inventory.base())
    }

    /// Asks for the state. A refused connection means "gone" on this host only: elsewhere a firewall refuses too.
    async fn state(&self) -> State {
        let url = self.state_url();
        let token = self.settings.token.as_ref().map(Secret::expose);
        let ask = Ask::get(&url, self.settings.look_timeout).bearer(token).tls(self.settings.api_tls.as_ref());
        match ask.send().await {
            Ok(answer) if answer.status == StatusCode::OK => match state_of(&answer.body) {
                Some(state) => State::Says(state),
                None => State::Silent(format!("GET {url} answered 200 without a state")),
            },
            Ok(answer) => State::Silent(explain(&url, answer.status)),
            Err(HttpError::Refused) if place::is_this_host(&self.settings.address).await => State::Gone,
            Err(e) => State::Silent(format!("GET {url}: {e}")),
        }
    }

    async fn look(&self) -> Seen {
        let turn = self.belief().turn();
        let state = self.state().await;
        let reachable = !matches!(state, State::Silent(_));
        let seen = |flows, up, ready: Result<(), String>, stock: Option<&Stock>| Seen {
            flows,
            up,
            reachable,
            ready,
            node_red: stock.and_then(|s| s.version.clone()),
            revision: stock.and_then(|s| s.revision.clone()),
        };
        match state {
            State::Gone => {
                self.belief().forget();
                let why = "nothing listens on its port, on this host: Node-RED is not running".to_owned();
                seen(Flows::Stopped, false, Err(why), None)
            }
            State::Silent(why) => {
                self.belief().forget();
                seen(Flows::Unknown(why.clone()), false, Err(why), None)
            }
            State::Says(state) if state == "stop" => {
                let stock = self.inventory.recent().await;
                let flows = self.stopped(turn);
                seen(flows, true, stock.complete(), Some(&stock))
            }
            State::Says(state) => {
                self.belief().forget();
                let stock = self.inventory.recent().await;
                let runs = match state.as_str() {
                    "start" => self.runs(&stock).await,
                    "safe" => Err("safe mode: no flow runs until the next deploy starts them".to_owned()),
                    other => Err(format!("/flows/state says '{other}'")),
                };
                let flows = runs.clone().map_or_else(Flows::Unknown, |()| Flows::Running);
                seen(flows, true, runs, Some(&stock))
            }
        }
    }

    fn stopped(&self, turn: Turn) -> Flows {
        if self.orders.try_lock().is_ok_and(|orders| orders.under_way()) {
            self.belief().forget();
            return Flows::Unknown("an order of before is not answered yet".to_owned());
        }
        self.belief().saw_stopped(turn, Instant::now()).map_or_else(Flows::Unknown, |()| Flows::Stopped)
    }

    /// Whether flows that say `start` do run.
    async fn runs(&self, stock: &Stock) -> Result<(), String> {
        stock.complete()?;
        let Some(probe) = &self.settings.probe else { return Ok(()) };
        let NodeRedSettings { address, tls, look_timeout, .. } = &self.settings;
        match serve::look(address, tls.as_ref(), Some(probe), *look_timeout).await {
            Port::Answers(status) if probe.accepts(status) => Ok(()),
            Port::Answers(status) => Err(format!("says 'start', but GET {} answers {status}", probe.path)),
            Port::Refuses => Err("its port refuses".to_owned()),
            Port::Silent(why) => Err(format!("says 'start', but GET {}: {why}", probe.path)),
        }
    }

    /// Waits for an order of before that is still under way, then gives this one; the state it answered.
    async fn order(&self, orders: &mut Orders, state: &str, patience: Duration) -> Result<String, OrderError> {
        let before = orders.wait(patience).await;
        self.note_lost(&before);
        if let Err(OrderError::UnderWay(_)) = before {
            before?;
        }
        let (token, tls) = (self.settings.token.clone(), self.settings.api_tls.clone());
        let answer = orders.give(self.state_url(), json!({ "state": state }), token, tls, patience).await;
        self.note_lost(&answer);
        let answer = answer?;
        if answer.status != StatusCode::OK {
            return Err(HttpError::Failed(explain(&format!("POST {}", self.state_url()), answer.status)).into());
        }
        state_of(&answer.body)
            .ok_or_else(|| HttpError::Failed("POST /flows/state answered 200 without a state".to_owned()).into())
    }

    /// An order that ended without an answer may have been executed or not, now or later.
    fn note_lost<T>(&self, outcome: &Result<T, OrderError>) {
        if matches!(outcome, Err(OrderError::Ended(e)) if !matches!(e, HttpError::Refused)) {
            self.belief().doubt();
        }
    }

    async fn start_flows(&self) -> Result<(), DriverError> {
        let mut orders = self.orders.lock().await;
        let _operation = Operation::begin(&self.belief, "a start");
        self.belief().forget();
        let deadline = Instant::now() + self.settings.start_timeout;
        let said = self.order(&mut orders, "start", self.settings.start_timeout).await;
        match said {
            Ok(state) if state == "start" => {}
            Ok(state) => return Err(failed(format!("the start answered '{state}': its state is pinned by settings"))),
            Err(e) => return Err(failed(format!("start: {e}"))),
        }
        loop {
            let stock = self.inventory.fresh().await;
            let runs = match self.runs(&stock).await {
                Ok(()) => match self.state().await {
                    State::Says(state) if state == "start" => return Ok(()),
                    State::Says(state) => Err(format!("says '{state}' after its start")),
                    State::Gone => Err("Node-RED has ended".to_owned()),
                    State::Silent(why) => Err(why),
                },
                not_yet => not_yet,
            };
            if let Err(why) = runs
                && (Instant::now() >= deadline || stock.complete().is_err())
            {
                return Err(failed(why));
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn stop_flows(&self) -> Result<Certain, DriverError> {
        let mut orders = self.orders.lock().await;
        let _operation = Operation::begin(&self.belief, "a stop");
        let deadline = Instant::now() + self.settings.stop_timeout;
        // Whoever stops flows that run is told when their nodes have closed; any later stop is not.
        let first = match self.state().await {
            State::Gone => return Ok(Certain::ProcessGone),
            State::Says(state) => state != "stop",
            State::Silent(_) => false,
        };
        match self.order(&mut orders, "stop", self.settings.stop_timeout).await {
            Ok(state) if state == "stop" => {}
            Ok(state) => return Err(failed(format!("the stop answered '{state}': something else started the flows"))),
            Err(OrderError::Ended(_)) if matches!(self.state().await, State::Gone) => return Ok(Certain::ProcessGone),
            Err(e) => return Err(failed(format!("stop: {e}"))),
        }
        if first {
            self.belief().confirm(Instant::now());
        }
        loop {
            match self.state().await {
                State::Gone => return Ok(Certain::ProcessGone),
                State::Says(state) if state == "stop" => {}
                State::Says(state) => return Err(failed(format!("the stop was answered, then it says '{state}'"))),
                State::Silent(why) => {
                    return Err(failed(format!("the stop was answered, a second look was not: {why}")));
                }
            }
            let now = Instant::now();
            match self.belief().left(now) {
                Duration::ZERO => return Ok(Certain::FlowsStopped),
                left if now + left > deadline => {
                    return Err(failed(format!(
                        "stopped by somebody else; nodes may close for {} ms more",
                        left.as_millis()
                    )));
                }
                _ => {}
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// Between two looks of an operation that waits.
const AGAIN: Duration = Duration::from_millis(20);

fn failed(why: String) -> DriverError {
    DriverError(why)
}

fn state_of(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(body.get("state")?.as_str()?.to_owned())
}

fn explain(what: &str, status: StatusCode) -> String {
    let hint = match status.as_u16() {
        401 | 403 => " (the token is missing, wrong, or lacks flows.read or flows.write)",
        404 => " (httpAdminRoot is another, or runtimeState is not enabled in Node-RED's settings)",
        _ => "",
    };
    format!("{what} answered {status}{hint}")
}

impl Driver for NodeRed {
    fn kind(&self) -> &'static str {
        "node-red"
    }

    fn observe(&self) -> BoxFuture<'_, Seen> {
        Box::pin(self.look())
    }

    fn start(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        Box::pin(self.start_flows())
    }

    fn fence(&self) -> BoxFuture<'_, Result<Certain, DriverError>> {
        Box::pin(self.stop_flows())
    }

    fn restart(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        Box::pin(async { Err(failed("bare Node-RED has no call that restarts it: restart its service".to_owned())) })
    }
}
