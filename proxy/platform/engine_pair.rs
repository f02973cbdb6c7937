//! The engine as a [`Pair`]: orders become its verbs, its status becomes nr-launcher's words.

use std::future::Future;

use hotspare_tls::Keeper;

use super::pair::{MemberLauncher, Pair, PairLook, Word};
use crate::admin::audit;
use crate::config::{Instance, Launcher};
use crate::driver::BoxFuture;
use crate::engine::{Handle, InstanceStatus, Order, Refusal, Verb};
use crate::events::EventLog;

/// One instance of the engine.
pub struct EnginePair {
    engine: Handle,
    events: EventLog,
    name: String,
    launchers: [MemberLauncher; 2],
}

impl EnginePair {
    /// The pair of `instance`, decided for by `engine`; orders go on record in `events`.
    pub fn new(instance: &Instance, engine: Handle, events: EventLog, keeper: &Keeper) -> Self {
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
        Self { engine, events, name: instance.name.as_str().to_owned(), launchers }
    }

    async fn status(&self) -> Option<InstanceStatus> {
        self.engine.status().await?.instances.into_iter().find(|instance| instance.name == self.name)
    }

    fn order(&self, verb: Verb, to: Option<String>) -> impl Future<Output = Result<(), String>> + Send + '_ {
        let order = Order { to, by: "the platform".to_owned(), ..Order::default() };
        async move {
            match self.engine.order(&self.name, verb, order).await {
                Ok(_) => Ok(()),
                Err(Refusal::Not(reasons)) => Err(reasons.join("; ")),
                Err(Refusal::Unknown(what)) => Err(what),
                Err(Refusal::Elsewhere(leader)) => Err(Refusal::elsewhere(leader.as_ref())),
                Err(Refusal::Stopping) => Err("this proxy is stopping".to_owned()),
            }
        }
    }

    /// Both members, the one that is not active first.
    async fn standby_first(&self) -> [String; 2] {
        let active = self.status().await.and_then(|status| status.active);
        let [first, second] = self.launchers.each_ref().map(|l| l.name.clone());
        if active.as_ref() == Some(&first) { [second, first] } else { [first, second] }
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
            let active = self.launchers.iter().position(|l| status.active.as_ref() == Some(&l.name));
            Some(PairLook { word: word(&status), active })
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
fn word(status: &InstanceStatus) -> Word {
    let held = status.members.iter().all(|member| member.held);
    match status.state.as_str() {
        "active" | "switching" => Word::Running,
        "no_active" if held => Word::Stopped,
        "no_active" => Word::Crashed,
        _ if held => Word::Stopping,
        _ => Word::Starting,
    }
}
