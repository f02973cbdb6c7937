//! Which addresses of controllers have a link already.
//!
//! Owns: that a name which stands for several controllers, such as a headless Service of Kubernetes, can be given once
//! for each of them, and every link then goes to another one. Never looks a name up; that is `link`'s.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// The addresses that are taken; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places(Arc<Mutex<HashSet<SocketAddr>>>);

/// An address that is this link's until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) address: SocketAddr,
    places: Places,
}

impl Places {
    /// Takes one of the addresses that no link has, another one with each attempt; none if all are taken.
    pub(crate) fn take(&self, addresses: impl Iterator<Item = SocketAddr>, attempt: usize) -> Option<Place> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let free: Vec<SocketAddr> = addresses.filter(|address| !taken.contains(address)).collect();
        let address = *free.get(attempt.checked_rem(free.len())?)?;
        taken.insert(address);
        Some(Place { address, places: self.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.address);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn two_links_to_one_name_go_to_two_controllers() {
        let name: Vec<SocketAddr> = vec!["10.0.0.1:9481".parse().unwrap(), "10.0.0.2:9481".parse().unwrap()];
        let places = Places::default();
        let first = places.take(name.iter().copied(), 7).unwrap();
        let second = places.take(name.iter().copied(), 7).unwrap();
        assert_ne!(first.address, second.address);
        assert!(places.take(name.iter().copied(), 0).is_none(), "both are taken");
        let freed = first.address;
        drop(first);
        assert_eq!(places.take(name.iter().copied(), 0).unwrap().address, freed);
    }

    #[test]
    fn an_address_that_does_not_answer_does_not_keep_a_link_from_the_others() {
        let name: Vec<SocketAddr> = vec!["10.0.0.1:9481".parse().unwrap(), "10.0.0.2:9481".parse().unwrap()];
        let places = Places::default();
        let tried: HashSet<SocketAddr> =
            (0..2).map(|attempt| places.take(name.iter().copied(), attempt).unwrap().address).collect();
        assert_eq!(tried.len(), 2);
    }
}
