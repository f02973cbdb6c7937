//! Stores: where records become durable before they have an effect, and who leads.
//!
//! `file.rs` is the embedded store of a single proxy, on `journal.rs`; `group.rs` the one that several proxies share,
//! on etcd or Kubernetes (crate `hotspare_group`). A store never blocks the engine: it takes a
//! write, and answers with [`Input::Stored`](crate::engine::Input::Stored) when it is durable or has failed.

pub mod file;
pub mod group;
pub mod journal;
mod kept;

use hotspare_decide::Time;
pub use kept::Kept;

/// One record that must become durable.
#[derive(Debug, Clone)]
pub struct Write {
    /// Index of the instance in the engine, for the answer.
    pub instance: u32,
    /// Its name, by which it is stored.
    pub name: String,
    /// Repeated in the answer.
    pub id: u64,
    /// The whole record; the newest write of an instance replaces what was there.
    pub kept: Kept,
}

/// The proxy of a group that decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// Its name.
    pub name: String,
    /// Where it takes orders, such as `http://10.0.0.11:9480`; `None` if others can't reach it there.
    pub admin: Option<String>,
}

/// Where records go.
pub trait Store: Send {
    /// The word for it in the configuration.
    fn kind(&self) -> &'static str;

    /// Whether this process decides as soon as it runs. Otherwise it follows until
    /// [`Input::Leadership`](crate::engine::Input::Leadership) comes.
    fn leads_from_the_start(&self) -> bool;

    /// Until when this process may decide. The engine looks at its clock after it has received something, and decides
    /// upon it only if this still lies ahead: so a pause of the process does no harm.
    fn leads_until(&self) -> Time {
        Time::MAX
    }

    /// Who decides, as far as is known, while this process does not.
    fn leader(&self) -> Option<Leader> {
        None
    }

    /// What is known to be on record of an instance that comes in with a reload.
    fn known(&self, _instance: &str) -> Option<Kept> {
        None
    }

    /// Makes `write` durable; never blocks. Writes of one instance become durable in the order given.
    fn persist(&self, write: Write);
}
