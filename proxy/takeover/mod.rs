//! Live upgrade: a new process takes the place of a running one, and no client is refused.
//!
//! Owns: the listening sockets that can be handed over ([`Sockets`]), the socket `takeover` in `[store] dir` at which a
//! running proxy waits for its successor ([`Elder`]), and the successor's side of it ([`Heir`]). Decides nothing.
//!
//! How it goes, each step an answer to the one before. Until the last the elder can go on as if nothing had been:
//!
//! 1. The heir asks; the elder sends copies of all listening sockets. The heir binds what is new and accepts nothing yet.
//! 2. `Take`: the elder decides no more, and the journal is closed, or leadership given up. `Yours`: at any time one process
//!    at most has the journal open, which its own lock makes certain.
//! 3. `Deciding`: the heir's engine runs, and looks afresh. The elder closes its links, and the launchers open them at
//!    the heir. Clients are served by the elder all the while, over the route it had.
//! 4. `Serving`: the heir has its routes and accepts. The elder accepts no more, and ends when its connections have; the
//!    heir tells it each new route, so that no connection outlives its epoch there.

mod elder;
mod heir;
mod sockets;
mod wire;

pub use elder::{Asked, Elder, Step};
pub use heir::{Heir, Routed};
pub use sockets::Sockets;

use std::path::{Path, PathBuf};

/// The socket at which a running proxy waits for its successor. Its folder is for its user alone.
fn meeting_place(store: &Path) -> PathBuf {
    store.join("takeover")
}
