//! The listening sockets of this process: taken over from the process before, passed by systemd, or bound anew.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// What was inherited, and what is open besides the data path's.
#[derive(Debug, Default)]
pub struct Sockets {
    inherited: Mutex<HashMap<SocketAddr, Vec<OwnedFd>>>,
    /// Those that somebody else keeps open too, however often they are let go here.
    passed: HashMap<SocketAddr, Vec<OwnedFd>>,
    unused: Mutex<BTreeSet<SocketAddr>>,
    open: Mutex<Vec<Weak<TcpListener>>>,
}

impl Sockets {
    /// With sockets of the process before, by the address they listen on.
    pub fn inheriting(inherited: HashMap<SocketAddr, Vec<OwnedFd>>) -> Self {
        Self { inherited: Mutex::new(inherited), ..Self::default() }
    }

    /// With sockets that systemd listens with, by their address.
    pub fn passed(passed: HashMap<SocketAddr, Vec<OwnedFd>>) -> Self {
        let unused = Mutex::new(passed.keys().copied().collect());
        Self { passed, unused, ..Self::default() }
    }

    /// What there is already that listens on `address`; empty if there is nothing. What the process before had is given
    /// once, of what systemd passed a copy each time.
    pub fn take(&self, address: SocketAddr) -> Vec<OwnedFd> {
        if let Some(inherited) = lock(&self.inherited).remove(&address) {
            return inherited;
        }
        let Some(passed) = self.passed.get(&address) else { return Vec::new() };
        lock(&self.unused).remove(&address);
        let copies = passed.iter().map(OwnedFd::try_clone).collect::<io::Result<_>>();
        copies.unwrap_or_else(|error| {
            tracing::error!(%address, %error, "the socket that systemd passed can't be copied");
            Vec::new()
        })
    }

    /// Addresses of sockets that systemd passed, and that nothing here has asked for.
    pub fn unused(&self) -> Vec<SocketAddr> {
        lock(&self.unused).iter().copied().collect()
    }

    /// A listener on `address`, non-blocking: inherited or bound. It stays open for as long as it is held somewhere.
    ///
    /// # Errors
    /// The system's, if the address can't be had.
    pub fn listen(&self, address: SocketAddr) -> io::Result<Arc<TcpListener>> {
        let listener = match self.take(address).into_iter().next() {
            Some(inherited) => TcpListener::from(inherited),
            None => TcpListener::bind(address)?,
        };
        listener.set_nonblocking(true)?;
        let listener = Arc::new(listener);
        let mut open = lock(&self.open);
        open.retain(|listener| listener.strong_count() > 0);
        open.push(Arc::downgrade(&listener));
        Ok(listener)
    }

    /// Copies of what [`Sockets::listen`] gave and is still open.
    ///
    /// # Errors
    /// The system's, if there are no descriptors left.
    pub fn copies(&self) -> io::Result<Vec<(SocketAddr, Vec<OwnedFd>)>> {
        let open: Vec<_> = lock(&self.open).iter().filter_map(Weak::upgrade).collect();
        open.iter().map(|listener| Ok((listener.local_addr()?, vec![OwnedFd::from(listener.try_clone()?)]))).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn an_heir_accepts_what_connected_to_the_elder() {
        let elder = Sockets::default();
        let listener = elder.listen("127.0.0.1:0".parse().expect("an address")).expect("listens");
        let address = listener.local_addr().expect("an address");
        let waiting = TcpStream::connect(address).expect("connects");
        let heir = Sockets::inheriting(elder.copies().expect("copies").into_iter().collect());
        drop(listener);
        assert!(elder.copies().expect("copies").is_empty(), "what is closed is not handed over");
        let taken = heir.listen(address).expect("the same socket");
        let (accepted, from) = taken.accept().expect("the one that waited");
        assert_eq!((from, accepted.local_addr().expect("an address")), (waiting.local_addr().expect("one"), address));
    }
}
