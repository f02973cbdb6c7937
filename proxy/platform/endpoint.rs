//! The endpoints' sockets and the one thread that serves them: a platform that fetches long logs must not delay a
//! heartbeat.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{Pair, serve};
use crate::takeover::Sockets;

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub struct Endpoints {
    sockets: Arc<Sockets>,
    runtime: Handle,
    _keep: oneshot::Sender<()>,
}

impl Endpoints {
    /// Starts the thread; it serves nothing yet.
    ///
    /// # Errors
    /// The system's, if there is no thread or no epoll to be had.
    pub fn start(sockets: Arc<Sockets>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (keep, ended) = oneshot::channel::<()>();
        std::thread::Builder::new().name("platform".to_owned()).spawn(move || {
            let _ = runtime.block_on(ended);
        })?;
        Ok(Self { sockets, runtime: handle, _keep: keep })
    }

    /// Listens, and serves `pair` there until the endpoint is dropped.
    ///
    /// # Errors
    /// The system's, if the address can't be had.
    pub fn open(&self, listen: SocketAddr, pair: Arc<dyn Pair>) -> io::Result<Endpoint> {
        let listener = self.sockets.listen(listen)?;
        tracing::info!(listener = "platform", instance = pair.id(), address = %listener.local_addr()?, "listening");
        let task = self.serve(&listener, pair)?;
        Ok(Endpoint { listener, task })
    }

    /// Serves another pair there from now on; connections that are open keep the old one until they end.
    ///
    /// # Errors
    /// The system's, if there are no descriptors left.
    pub fn change(&self, endpoint: &mut Endpoint, pair: Arc<dyn Pair>) -> io::Result<()> {
        let task = self.serve(&endpoint.listener, pair)?;
        std::mem::replace(&mut endpoint.task, task).abort();
        Ok(())
    }

    fn serve(&self, listener: &TcpListener, pair: Arc<dyn Pair>) -> io::Result<JoinHandle<()>> {
        let listener = listener.try_clone()?;
        Ok(self.runtime.spawn(async move {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => serve(listener, pair).await,
                Err(error) => tracing::error!(%error, "the platform's endpoint is not served"),
            }
        }))
    }
}

/// One instance's endpoint.
#[derive(Debug)]
pub struct Endpoint {
    listener: Arc<TcpListener>,
    task: JoinHandle<()>,
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}
