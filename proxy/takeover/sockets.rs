//! The listening sockets of this process: taken over from the process before, or bound anew.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// What was inherited, and what is open besides the data path's.
#[derive(Debug, Default)]
pub struct Sockets {
    inherited: Mutex<HashMap<SocketAddr, Vec<OwnedFd>>>,
    open: Mutex<Vec<Weak<TcpListener>>>,
}

impl Sockets {
    /// With sockets of the process before, by the address they listen on.
    pub fn inheriting(inherited: HashMap<SocketAddr, Vec<OwnedFd>>) -> Self {
        Self { inherited: Mutex::new(inherited), open: Mutex::default() }
    }

    /// What the process before listened with on `address`; empty if it didn't. Given once.
    pub fn take(&self, address: SocketAddr) -> Vec<OwnedFd> {
        lock(&self.inherited).remove(&address).unwrap_or_default()
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
