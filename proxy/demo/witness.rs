//! The witness: hears every tick of the members' timers and notices if two members were ever active at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use super::Failure;

/// A running witness; it stops when dropped.
#[derive(Debug)]
pub(super) struct Witness {
    port: u16,
    heard: Arc<Mutex<Heard>>,
    task: JoinHandle<()>,
}

/// One tick, as the sample flow sends it.
#[derive(Debug, Deserialize)]
struct Tick {
    member: String,
    epoch: u64,
}

#[derive(Debug, Default)]
struct Heard {
    ticks: u64,
    tenures: u64,
    newest: Option<Tick>,
    wrong: Option<String>,
}

impl Witness {
    /// Listens on a free port.
    pub(super) async fn start() -> Result<Self, Failure> {
        let io = |error| format!("can't open a UDP port on 127.0.0.1: {error}");
        let socket = UdpSocket::bind("127.0.0.1:0").await.map_err(io)?;
        let port = socket.local_addr().map_err(io)?.port();
        let heard = Arc::<Mutex<Heard>>::default();
        let shared = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            let mut message = [0; 512];
            while let Ok(length) = socket.recv(&mut message).await {
                if let Ok(tick) = serde_json::from_slice(&message[..length]) {
                    lock(&shared).take(tick);
                }
            }
        });
        Ok(Witness { port, heard, task })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn ticks(&self) -> u64 {
        lock(&self.heard).ticks
    }

    pub(super) fn tenures(&self) -> u64 {
        lock(&self.heard).tenures
    }

    /// Fails if two members were active at once.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        lock(&self.heard).wrong.clone().map_or(Ok(()), Err)
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Heard {
    /// Epochs only rise, and each is one member's: any other tick means that two were active.
    fn take(&mut self, tick: Tick) {
        self.ticks += 1;
        match &self.newest {
            Some(newest) if newest.epoch == tick.epoch && newest.member == tick.member => {}
            Some(newest) if newest.epoch >= tick.epoch => {
                let (Tick { member, epoch }, Tick { member: old, epoch: stale }) = (newest, &tick);
                self.wrong = Some(format!(
                    "two members were active: the timer of {old} ticked under epoch {stale} after that of {member} had \
                     ticked under epoch {epoch}"
                ));
            }
            _ => {
                self.tenures += 1;
                self.newest = Some(tick);
            }
        }
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{Heard, Tick};

    fn hear(ticks: &[(&str, u64)]) -> Heard {
        let mut heard = Heard::default();
        for (member, epoch) in ticks {
            heard.take(Tick { member: (*member).to_owned(), epoch: *epoch });
        }
        heard
    }

    #[test]
    fn one_after_the_other_is_right() {
        let heard = hear(&[("a", 1), ("a", 1), ("b", 2), ("a", 5)]);
        assert_eq!((heard.wrong, heard.ticks, heard.tenures), (None, 4, 3));
    }

    #[test]
    fn a_tick_of_the_old_active_is_wrong() {
        assert!(hear(&[("a", 1), ("b", 2), ("a", 1)]).wrong.is_some());
    }

    #[test]
    fn one_epoch_in_two_members_is_wrong() {
        assert!(hear(&[("a", 1), ("b", 1)]).wrong.is_some());
    }
}
