//! Random numbers for back-offs and session numbers: never for anything that must not be guessed.

use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

/// A number that no other start of a launcher has.
pub(crate) fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Spreads pauses, so that launchers that lost the same controller do not all come back at once.
#[derive(Debug, Clone)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// Between half of `pause` and one and a half times that.
    pub(crate) fn around(&mut self, pause: Duration) -> Duration {
        // xorshift64 (Marsaglia 2003): any spread will do.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let share = u32::try_from(self.0 >> 54).unwrap_or(512); // 0..1024
        pause / 2 + pause * share / 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_stays_within_its_bounds() {
        let mut jitter = Jitter::new(7);
        for _ in 0..1000 {
            let pause = jitter.around(Duration::from_millis(100));
            assert!((50..=150).contains(&pause.as_millis()), "{pause:?}");
        }
    }
}
