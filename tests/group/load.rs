//! Clients behind something that sends them to ready proxies only, as a Kubernetes Service or a load balancer does: it
//! asks each proxy's `/readyz` again and again, and spreads new connections over those that say yes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use hotspare_test_support::client::who;
use hotspare_test_support::http;

/// Clients that ask one after the other, each.
const CLIENTS: usize = 3;
/// Between two looks at the proxies' readiness.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Between two requests of one client.
const PAUSE: Duration = Duration::from_millis(2);
/// How long a request may take: longer than any change of leadership.
const PATIENCE: Duration = Duration::from_secs(30);

/// The load, until it is stopped.
pub(crate) struct Balanced {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    ended: AtomicBool,
    ready: Mutex<Vec<SocketAddr>>,
    asked: AtomicU64,
    failed: Mutex<Vec<String>>,
}

impl Balanced {
    /// Starts asking at the fronts of these proxies, each with its admin listener.
    pub(crate) fn start(proxies: [(SocketAddr, SocketAddr); 2]) -> Self {
        let shared = Arc::new(Shared {
            ended: AtomicBool::new(false),
            ready: Mutex::new(proxies.iter().map(|(front, _)| *front).collect()),
            asked: AtomicU64::new(0),
            failed: Mutex::default(),
        });
        let mut threads: Vec<JoinHandle<()>> = (0..CLIENTS)
            .map(|_| {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || shared.ask())
            })
            .collect();
        let looking = Arc::clone(&shared);
        threads.push(std::thread::spawn(move || looking.look(proxies)));
        Self { shared, threads }
    }

    /// How many requests there were, and what became of those that failed.
    pub(crate) fn stop(self) -> (u64, Vec<String>) {
        self.shared.ended.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("a client doesn't panic"));
        let failed = self.shared.failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (self.shared.asked.load(Ordering::Relaxed), failed)
    }
}

impl Shared {
    fn look(&self, proxies: [(SocketAddr, SocketAddr); 2]) {
        while !self.ended.load(Ordering::Relaxed) {
            let ready = |admin: SocketAddr| {
                let asked = http::get(admin, "/readyz").within(Duration::from_secs(1)).send();
                asked.is_ok_and(|answer| answer.status == 200)
            };
            let found: Vec<_> = proxies.iter().filter(|(_, admin)| ready(*admin)).map(|(front, _)| *front).collect();
            *self.ready.lock().unwrap_or_else(PoisonError::into_inner) = found;
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn ask(&self) {
        while !self.ended.load(Ordering::Relaxed) {
            let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if !ready.is_empty() {
                let number = self.asked.fetch_add(1, Ordering::Relaxed);
                let front = ready[usize::try_from(number).unwrap_or(0) % ready.len()];
                if let Err(why) = who(front, PATIENCE) {
                    let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
                    failed.push(format!("{front}: {why}"));
                }
            }
            std::thread::sleep(PAUSE);
        }
    }
}
