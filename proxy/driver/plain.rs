//! A plain server: other software, no flows, nothing to start, stop or fence (`kind = "none"`).
//!
//! "Running" means here: it was given the traffic, and it answers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hotspare_tls::stream::Expected;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::serve::{self, Port, ServeProbe};
use super::{BoxFuture, Certain, Driver, DriverError, Flows, Seen};

/// See the module.
#[derive(Debug)]
pub struct Plain {
    address: String,
    tls: Option<Expected>,
    probe: Option<ServeProbe>,
    look_timeout: Duration,
    in_charge: AtomicBool,
}

impl Plain {
    /// `address` is `host:port`, `tls` what it must show if it speaks https. With a `probe` it has to answer that, without
    /// one to accept a connection.
    pub fn new(
        address: impl Into<String>,
        tls: Option<Expected>,
        probe: Option<ServeProbe>,
        look_timeout: Duration,
    ) -> Self {
        Self { address: address.into(), tls, probe, look_timeout, in_charge: AtomicBool::new(false) }
    }

    async fn answers(&self) -> Result<(), String> {
        let Some(probe) = &self.probe else {
            return match timeout(self.look_timeout, TcpStream::connect(&self.address)).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(e)) => Err(format!("{}: {e}", self.address)),
                Err(_) => Err(format!("{}: no connection within {:?}", self.address, self.look_timeout)),
            };
        };
        match serve::look(&self.address, self.tls.as_ref(), Some(probe), self.look_timeout).await {
            Port::Answers(status) if probe.accepts(status) => Ok(()),
            Port::Answers(status) => Err(format!("GET {} answered {status}", probe.path)),
            Port::Refuses => Err(format!("{}: connection refused", self.address)),
            Port::Silent(why) => Err(format!("{}: {why}", self.address)),
        }
    }
}

impl Driver for Plain {
    fn kind(&self) -> &'static str {
        "none"
    }

    fn observe(&self) -> BoxFuture<'_, Seen> {
        Box::pin(async {
            let ready = self.answers().await;
            let running = self.in_charge.load(Ordering::Relaxed) && ready.is_ok();
            let flows = if running { Flows::Running } else { Flows::Stopped };
            Seen { flows, up: ready.is_ok(), reachable: true, ready, node_red: None, revision: None }
        })
    }

    fn start(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        Box::pin(async {
            self.answers().await.map_err(DriverError)?;
            self.in_charge.store(true, Ordering::Relaxed);
            Ok(())
        })
    }

    fn fence(&self) -> BoxFuture<'_, Result<Certain, DriverError>> {
        self.in_charge.store(false, Ordering::Relaxed);
        Box::pin(async { Ok(Certain::NothingToFence) })
    }

    fn restart(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        Box::pin(async { Err(DriverError("a plain server has no launcher that could restart it".to_owned())) })
    }
}
