//! Whose connections ended other than in order: for the log, and for whoever looks at a count and asks who that was.
//! Only such an end pays for it (a call for the address, a lock that nobody holds), unless all ends are logged.

use crate::conn::{Conn, Greeting};
use crate::counters::CloseReason;
use crate::greet::peer_of;
use crate::worker::Worker;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// The client whose connection ended last for a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastClient {
    /// Of its PROXY header, where there was one.
    pub address: IpAddr,
    /// When.
    pub at: SystemTime,
}

/// The last client for each reason, of one instance on one thread; holds none for a reason that never was.
#[derive(Debug, Default)]
pub(crate) struct LastClients(Mutex<Vec<(CloseReason, LastClient)>>);

impl LastClients {
    fn note(&self, reason: CloseReason, client: LastClient) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, last)) => *last = client,
            None => all.push((reason, client)),
        }
    }

    pub(crate) fn all(&self) -> Vec<(CloseReason, LastClient)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Of all threads, the newest of each reason.
pub(crate) fn newest(threads: &[LastClients]) -> Vec<(CloseReason, LastClient)> {
    let newest = LastClients::default();
    let mut all: Vec<_> = threads.iter().flat_map(LastClients::all).collect();
    all.sort_by_key(|(_, client)| client.at);
    all.into_iter().for_each(|(reason, client)| newest.note(reason, client));
    newest.all()
}

impl CloseReason {
    /// Whether it has to do with what that one client did or met, so that one may ask who it was. A change of the route
    /// ends many at once, and is about none of them.
    fn is_about_client(self) -> bool {
        use CloseReason::{ClientClosed, EpochRevoked, MemberClosed, MemberReset, RouteClosed, Shutdown};
        !matches!(self, ClientClosed | MemberClosed | MemberReset | EpochRevoked | RouteClosed | Shutdown)
    }

    /// Whether [`Worker::blame`] wants to know of it.
    pub(crate) fn is_told(self) -> bool {
        self.is_about_client() || tracing::enabled!(tracing::Level::DEBUG)
    }
}

impl Conn {
    /// The client's address: what a PROXY header says, else the other end of its socket.
    pub(crate) fn client_address(&self) -> Option<SocketAddr> {
        match &self.greeting {
            Greeting::Came(Some(origin)) => Some(origin.source),
            Greeting::Awaited | Greeting::Came(None) | Greeting::None => peer_of(self.client.fd.as_ref()?),
        }
    }
}

impl Worker {
    /// A connection of the instance at `place` ends for a reason that [is told](CloseReason::is_told); its sockets are
    /// open yet.
    #[cold]
    pub(crate) fn blame(&self, place: u32, reason: CloseReason, client: Option<SocketAddr>) {
        let Some(local) = self.locals[place as usize].as_ref() else { return };
        let shown = client.map(tracing::field::display);
        tracing::debug!(
            instance = local.shared.name,
            client = shown,
            reason = reason.label(),
            "a connection has ended"
        );
        if let Some(client) = client.filter(|_| reason.is_about_client()) {
            let last = LastClient { address: client.ip().to_canonical(), at: SystemTime::now() };
            local.shared.last_clients[self.thread].note(reason, last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn of_each_reason_the_newest_of_all_threads_is_told() {
        let threads = [LastClients::default(), LastClients::default()];
        let client = |last: u8, second| LastClient {
            address: IpAddr::from([192, 0, 2, last]),
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(second),
        };
        threads[0].note(CloseReason::LimitSource, client(1, 10));
        threads[0].note(CloseReason::LimitSource, client(2, 30));
        threads[1].note(CloseReason::LimitSource, client(3, 20));
        threads[1].note(CloseReason::BadProtocol, client(4, 5));
        let mut told = newest(&threads);
        told.sort_by_key(|(reason, _)| *reason as u8);
        assert_eq!(told, [(CloseReason::LimitSource, client(2, 30)), (CloseReason::BadProtocol, client(4, 5))]);
    }
}
