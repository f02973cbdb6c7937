//! The file as it is written: every table and every key, with type, default, bounds and reason.
//!
//! Owns the list of keys; messages, the JSON Schema and docs/configuration.md are made from it. What the
//! values mean together is `check`'s; what the program works with is `Config` in the parent module.

mod global;
mod instance;
mod timing;

pub(super) use global::{Admin, Etcd, Hook, Links, Proxy, ServerTls, Store, StoreKind};
pub use global::{EventKind, Log, LogFormat, Role};
pub(super) use instance::{Certificate, Instance, Launcher, LauncherKind, Listener, Member};
pub use instance::{Protocol, ProxyHeader};
pub use timing::{CheckKind, DrillFault, Failover, Isolated, Lease, Limits, Timeouts};
pub(super) use timing::{Drill, Health, HealthCheck};

use super::read::Located;
use super::section::section;

section! {
    /// The whole file.
    pub(in crate::config) File {
        /// This proxy itself.
        proxy: Located<Proxy>;
        /// What is logged, and how.
        log: Located<Log>;
        /// The admin listener: status, metrics, live page, commands.
        admin: Located<Admin>;
        /// Where launchers connect to.
        links: Located<Links>;
        /// Where it is kept who is active.
        store: Located<Store>;
        /// What is told to other systems when something happens; any number.
        hook: Vec<Located<Hook>>;
        /// One Node-RED service as its users see it; any number.
        instance: Vec<Located<Instance>>, otherwise "**must be there**";
    }
}
