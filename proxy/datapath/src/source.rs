//! Bounds on who connects how often: connections at once from one address, new connections in a second. Only where
//! such a bound is set does a connection pay for it (a short lock, and a call for its address).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Connections now per client address; holds no address without a connection.
#[derive(Debug, Default)]
pub(crate) struct Sources(Mutex<HashMap<IpAddr, usize>>);

impl Sources {
    /// Counts one more from `ip`, unless there are `most` already.
    pub(crate) fn enter(&self, ip: IpAddr, most: usize) -> bool {
        let mut counts = lock(&self.0);
        let count = counts.entry(ip).or_default();
        let room = *count < most;
        *count += usize::from(room);
        room
    }

    /// One that was counted has ended.
    pub(crate) fn leave(&self, ip: IpAddr) {
        let mut counts = lock(&self.0);
        if let Some(count) = counts.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&ip);
            }
        }
    }
}

/// New connections in a second, with room for one second's worth at once.
#[derive(Debug, Default)]
pub(crate) struct Rate(Mutex<Option<(Instant, f64)>>);

impl Rate {
    /// Whether one more may come now, at `per_second` at most.
    pub(crate) fn enter(&self, per_second: u32, now: Instant) -> bool {
        let most = f64::from(per_second);
        let mut state = lock(&self.0);
        let (then, room) = state.unwrap_or((now, most));
        let room = (room + now.saturating_duration_since(then).as_secs_f64() * most).min(most);
        let enters = room >= 1.0;
        *state = Some((now.max(then), if enters { room - 1.0 } else { room }));
        enters
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_address_without_connections_is_forgotten() {
        let (sources, ip) = (Sources::default(), IpAddr::from([127, 0, 0, 1]));
        assert!(sources.enter(ip, 2) && sources.enter(ip, 2) && !sources.enter(ip, 2));
        assert!(sources.enter(IpAddr::from([127, 0, 0, 2]), 2), "others have their own room");
        sources.leave(ip);
        assert!(sources.enter(ip, 2));
        sources.leave(ip);
        sources.leave(ip);
        sources.leave(IpAddr::from([127, 0, 0, 2]));
        assert!(lock(&sources.0).is_empty());
    }

    #[test]
    fn a_second_brings_a_second_s_worth_and_no_more() {
        let (rate, start) = (Rate::default(), Instant::now());
        let enter = |ms| (0..20).filter(|_| rate.enter(10, start + Duration::from_millis(ms))).count();
        assert_eq!(enter(0), 10);
        assert_eq!(enter(100), 1);
        assert_eq!(enter(50), 0, "time that seems to go back brings nothing");
        assert_eq!(enter(60_000), 10);
    }
}
