//! Stores: where records become durable before they have an effect, and who leads.
//!
//! `file.rs` is the embedded store of a single proxy, on `journal.rs`. A store never blocks the engine: it takes a
//! write, and answers with [`Input::Stored`](crate::engine::Input::Stored) when it is durable or has failed.

pub mod file;
pub mod journal;
mod kept;

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

/// Where records go.
pub trait Store: Send {
    /// The word for it in the configuration.
    fn kind(&self) -> &'static str;

    /// Whether this process decides as soon as it runs. Otherwise it follows until
    /// [`Input::Leadership`](crate::engine::Input::Leadership) comes.
    fn leads_from_the_start(&self) -> bool;

    /// Makes `write` durable; never blocks. Writes of one instance become durable in the order given.
    fn persist(&self, write: Write);
}
