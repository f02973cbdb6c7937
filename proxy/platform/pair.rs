//! What the platform's endpoint needs of a pair, and its state in the words of FlowFuse's launcher.

use std::time::Duration;

use hotspare_protocol::Secret;
use hotspare_tls::stream::Expected;

use crate::driver::BoxFuture;

/// Where a member's own launcher is, for its logs and samples.
#[derive(Debug, Clone)]
pub struct MemberLauncher {
    /// The member's name.
    pub name: String,
    /// `http://host:port` of a launcher that speaks `/flowforge/…`; `None` for kinds that have none.
    pub url: Option<String>,
    /// Its token, where it asks for one.
    pub token: Option<Secret>,
    /// What it must show, where its URL is https.
    pub tls: Option<Expected>,
}

/// A pair's state as nr-launcher would say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// Both members were stopped on request.
    Stopped,
    /// Nobody serves yet, or again.
    Starting,
    /// A member is active.
    Running,
    /// Both members are being stopped.
    Stopping,
    /// Nobody serves, and nobody can be started.
    Crashed,
}

impl Word {
    /// The word itself.
    pub fn as_str(self) -> &'static str {
        match self {
            Word::Stopped => "stopped",
            Word::Starting => "starting",
            Word::Running => "running",
            Word::Stopping => "stopping",
            Word::Crashed => "crashed",
        }
    }
}

/// One look at the pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairLook {
    /// Its state.
    pub word: Word,
    /// The member that is active: 0 or 1.
    pub active: Option<usize>,
}

/// What the endpoint asks of whoever decides for the pair. Orders return when they are done or have failed.
pub trait Pair: Send + Sync {
    /// The instance's name.
    fn id(&self) -> &str;

    /// Both members' launchers, in configured order.
    fn launchers(&self) -> &[MemberLauncher; 2];

    /// The state now; `None` if nobody decides any more.
    fn look(&self) -> BoxFuture<'_, Option<PairLook>>;

    /// Lets both members be started again.
    fn start(&self) -> BoxFuture<'_, Result<(), String>>;

    /// Stops both members, the standby first, and keeps them stopped.
    fn stop(&self) -> BoxFuture<'_, Result<(), String>>;

    /// Restarts both, one after the other, with the service going on.
    fn restart(&self) -> BoxFuture<'_, Result<(), String>>;

    /// Writes into the audit record what was asked for, by whom, and what came of it.
    fn audit(&self, what: &str, by: &str, result: &str);
}

/// How long the endpoint waits for an order before it answers that it was accepted. nr-launcher itself answers a
/// restart after two seconds, and the platform's own callers give up after about ten.
pub const ORDER_PATIENCE: Duration = Duration::from_secs(8);
