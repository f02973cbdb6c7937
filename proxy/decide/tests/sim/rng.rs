//! A small generator of our own: a seed gives the same run for ever, whatever crate changes.

/// splitmix64.
#[derive(Clone, Debug)]
pub struct Rng(u64);

pub const MS: u64 = 1_000_000;

impl Rng {
    pub fn new(seed: u64) -> Self {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `0..n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// In `low..=high`.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// How long a fault lasts: shorter than a lease, about one, or much longer.
    pub fn spell(&mut self) -> u64 {
        match self.below(3) {
            0 => self.range(20, 400) * MS,
            1 => self.range(400, 2_500) * MS,
            _ => self.range(2_500, 7_000) * MS,
        }
    }
}
