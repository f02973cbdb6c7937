//! Clients whose requests are under way for long: each asks for an answer that takes its time, on a connection of its own.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use hotspare_test_support::http;
use hotspare_test_support::wait::wait_until;

use crate::proxies::PATIENCE;

const CLIENTS: usize = 8;
/// At nearly every moment a request of every client is under way.
const SLOW: &str = "/slow?ms=400";

#[derive(Default)]
struct Shared {
    ended: AtomicBool,
    answered: AtomicUsize,
    failed: Mutex<Vec<String>>,
}

/// The clients, until they are stopped.
pub(crate) struct Slow {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Slow {
    pub(crate) fn start(to: SocketAddr) -> Self {
        let shared = Arc::<Shared>::default();
        let threads = (0..CLIENTS).map(|_| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.ask(to))
        });
        let threads = threads.collect();
        Self { shared, threads }
    }

    /// Waits until each client will have had about two more answers.
    pub(crate) fn go_on(&self) {
        let before = self.shared.answered.load(Ordering::Relaxed);
        wait_until(PATIENCE, "more answers to slow requests", || {
            match self.shared.answered.load(Ordering::Relaxed) - before {
                more if more >= 2 * CLIENTS => Ok(()),
                more => Err(format!("{more}; {:?}", self.failed())),
            }
        });
    }

    fn failed(&self) -> Vec<String> {
        self.shared.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What became of the requests that failed.
    pub(crate) fn stop(self) -> Vec<String> {
        self.shared.ended.store(true, Ordering::Relaxed);
        let failed = Arc::clone(&self.shared);
        self.threads.into_iter().for_each(|thread| thread.join().expect("a client doesn't panic"));
        failed.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Shared {
    fn ask(&self, to: SocketAddr) {
        while !self.ended.load(Ordering::Relaxed) {
            let wrong = match http::get(to, SLOW).within(PATIENCE).send() {
                Ok(answer) if answer.status == 200 => None,
                Ok(answer) => Some(format!("{}: {}", answer.status, answer.body)),
                Err(error) => Some(error.to_string()),
            };
            match wrong {
                None => drop(self.answered.fetch_add(1, Ordering::Relaxed)),
                Some(why) => self.failed.lock().unwrap_or_else(PoisonError::into_inner).push(why),
            }
        }
    }
}
