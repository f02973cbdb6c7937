//! The link server of this process: opened, and closed when another process takes the launchers over.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::engine::{Handle, Input};
use crate::link::{self, Identities};

/// A link on which nothing came for this many heartbeats is closed; its launcher opens it again.
const IDLE_HEARTBEATS: u32 = 20;
/// Link events that may wait for the engine.
const QUEUE: usize = 1024;

/// The listener of links and what serves it.
pub(super) struct Links {
    listener: Arc<TcpListener>,
    identities: Arc<ArcSwap<Identities>>,
    engine: Handle,
    idle_after: Duration,
    tasks: Vec<JoinHandle<()>>,
}

impl Links {
    /// Nothing is served before [`Links::open`].
    pub(super) fn new(
        listener: Arc<TcpListener>,
        config: &Config,
        identities: Arc<ArcSwap<Identities>>,
        engine: Handle,
    ) -> Self {
        let slowest = config.instances.iter().map(|i| i.lease.heartbeat).max().unwrap_or(Duration::from_millis(100));
        Self { listener, identities, engine, idle_after: slowest * IDLE_HEARTBEATS, tasks: Vec::new() }
    }

    /// Serves links from now on.
    ///
    /// # Errors
    /// The system's, if there are no descriptors left.
    pub(super) fn open(&mut self) -> std::io::Result<()> {
        if !self.tasks.is_empty() {
            return Ok(());
        }
        let listener = tokio::net::TcpListener::from_std(self.listener.try_clone()?)?;
        let (sender, mut events) = mpsc::channel(QUEUE);
        self.tasks.push(tokio::spawn(link::serve(listener, self.identities.clone(), self.idle_after, sender)));
        let engine = self.engine.clone();
        self.tasks.push(tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                if !engine.send(Input::Link(event)).await {
                    return;
                }
            }
        }));
        Ok(())
    }

    /// Accepts no more. What is open is closed with the next heartbeat, which nobody takes any more.
    pub(super) fn close(&mut self) {
        self.tasks.drain(..).for_each(|task| task.abort());
    }
}
