//! The engine as a [`Pair`]: orders become its verbs, its status becomes nr-launcher's words.

use std::sync::Arc;

use arc_swap::ArcSwap;
use hotspare_tls::Keeper;
use hyper::StatusCode;
use serde_json::{Value, json};

use super::pair::{MemberLauncher, Pair, PairLook, Word};
use crate::admin::{Access, Role, audit};
use crate::config::{Instance, Launcher};
use crate::driver::BoxFuture;
use crate::engine::{Handle, InstanceStatus, Order, Refusal, Verb};
use crate::events::EventLog;
use crate::pass_on::pass_on;
use crate::store::Leader;

/// Who gives these orders, for the record.
const BY: &str = "the platform";
/// The state of an instance as a proxy that follows says it.
const FOLLOWER: &str = "follower";

/// One instance of the engine.
pub struct EnginePair {
    engine: Handle,
    events: EventLog,
    name: String,
    launchers: [MemberLauncher; 2],
    /// Has the token that an order is passed on with.
    access: Arc<ArcSwap<Access>>,
}

impl EnginePair {
    /// The pair of `instance`, decided for by `engine`, or by the proxy that leads: that one is asked with a token of
    /// `access`. Orders go on record in `events`.
    pub fn new(
        instance: &Instance,
        engine: Handle,
        events: EventLog,
        keeper: &Keeper,
        access: Arc<ArcSwap<Access>>,
    ) -> Self {
        let launchers = instance.members.each_ref().map(|member| {
            let url = match &member.launcher {
                Launcher::Hotspare { url, .. } | Launcher::FlowFuse { url, .. } => Some(url),
                Launcher::NodeRed { .. } | Launcher::Plain => None,
            };
            MemberLauncher {
                name: member.name.as_str().to_owned(),
                url: url.map(|url| url.uri().to_string().trim_end_matches('/').to_owned()),
                token: member.launcher.tokens().map(|tokens| tokens.current().clone()),
                tls: member.launcher_expected(keeper),
            }
        });
        Self { engine, events, name: instance.name.as_str().to_owned(), launchers, access }
    }

    async fn status(&self) -> Option<InstanceStatus> {
        self.engine.status().await?.instances.into_iter().find(|instance| instance.name == self.name)
    }

    async fn order(&self, verb: Verb, to: Option<String>) -> Result<(), String> {
        let order = Order { to: to.clone(), by: BY.to_owned(), ..Order::default() };
        match self.engine.order(&self.name, verb, order).await {
            Ok(_) => Ok(()),
            Err(Refusal::Not(reasons)) => Err(reasons.join("; ")),
            Err(Refusal::Unknown(what)) => Err(what),
            Err(Refusal::Elsewhere(leader)) => self.order_elsewhere(leader, verb, to).await,
            Err(Refusal::Stopping) => Err("this proxy is stopping".to_owned()),
        }
    }

    /// The same of the proxy that leads.
    async fn order_elsewhere(&self, leader: Option<Leader>, verb: Verb, to: Option<String>) -> Result<(), String> {
        let path = format!("/v1/instances/{}/{}", self.name, verb.word());
        let access = self.access.load_full();
        let token = access.token_for(Role::of(verb)).map(|bearer| bearer.token.expose());
        let order = json!({"to": to, "reason": format!("asked for by {BY}")});
        let answer = pass_on(leader, &path, token, &order).await.map_err(|why| why.to_string())?;
        if answer.status == StatusCode::OK {
            return Ok(());
        }
        let said = answer.json::<Value>().ok().and_then(|body| Some(body["error"].as_str()?.to_owned()));
        let text = || String::from_utf8_lossy(&answer.body).trim().to_owned();
        Err(format!("the proxy that decides says {}: {}", answer.status.as_u16(), said.unwrap_or_else(text)))
    }

    /// Both members, the one that is not active first.
    async fn standby_first(&self) -> [String; 2] {
        let active = self.status().await.and_then(|status| self.active(&status));
        let [first, second] = self.launchers.each_ref().map(|l| l.name.clone());
        if active == Some(0) { [second, first] } else { [first, second] }
    }

    /// Who is active; to a proxy that follows, whoever it sends clients to.
    fn active(&self, status: &InstanceStatus) -> Option<usize> {
        let followed = (status.state == FOLLOWER).then_some(&status.route);
        let name = status.active.as_ref().or(followed)?;
        self.launchers.iter().position(|launcher| launcher.name == *name)
    }
}

impl Pair for EnginePair {
    fn id(&self) -> &str {
        &self.name
    }

    fn launchers(&self) -> &[MemberLauncher; 2] {
        &self.launchers
    }

    fn look(&self) -> BoxFuture<'_, Option<PairLook>> {
        Box::pin(async {
            let status = self.status().await?;
            let active = self.active(&status);
            Some(PairLook { word: word(&status, active.is_some()), active })
        })
    }

    fn start(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async {
            for member in self.standby_first().await.into_iter().rev() {
                self.order(Verb::Release, Some(member)).await?;
            }
            Ok(())
        })
    }

    fn stop(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async {
            for member in self.standby_first().await {
                self.order(Verb::Fence, Some(member)).await?;
            }
            Ok(())
        })
    }

    fn restart(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(self.order(Verb::Restart, None))
    }

    fn audit(&self, what: &str, by: &str, result: &str) {
        audit::record(&self.events, &self.name, what, by, None, result);
    }
}

/// The state in nr-launcher's words.
fn word(status: &InstanceStatus, has_active: bool) -> Word {
    let held = status.members.iter().all(|member| member.held);
    match status.state.as_str() {
        "active" | "switching" => Word::Running,
        FOLLOWER if has_active => Word::Running,
        FOLLOWER if held => Word::Stopped,
        "no_active" if held => Word::Stopped,
        "no_active" => Word::Crashed,
        _ if held => Word::Stopping,
        _ => Word::Starting,
    }
}
