//! A bound on connections that threads share without touching a shared line for each connection: a thread
//! takes room from the common pool in portions and keeps a few back.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// What is left for everyone. May be below zero for a while after the bound was lowered.
#[derive(Debug)]
pub(crate) struct Pool {
    left: AtomicI64,
    bound: AtomicI64,
    /// Exact for small bounds (one at a time), in portions for large ones.
    portion: AtomicI64,
    threads: usize,
}

/// Stands for "no bound".
const UNBOUNDED: i64 = i64::MAX / 4;

impl Pool {
    /// `bound` 0 means none.
    pub(crate) fn new(bound: usize, threads: usize) -> Self {
        let pool = Self { left: AtomicI64::new(0), bound: AtomicI64::new(0), portion: AtomicI64::new(1), threads };
        pool.set(bound);
        pool
    }

    /// Changes the bound; what is open stays open.
    pub(crate) fn set(&self, bound: usize) {
        let bound = if bound == 0 { UNBOUNDED } else { i64::try_from(bound).unwrap_or(UNBOUNDED) };
        let threads = i64::try_from(self.threads.max(1)).unwrap_or(1);
        self.portion.store((bound / (threads * 16)).clamp(1, 64), Relaxed);
        let before = self.bound.swap(bound, Relaxed);
        self.left.fetch_add(bound - before, Relaxed);
    }

    fn take(&self, wanted: i64) -> i64 {
        let taken = self.left.fetch_update(Relaxed, Relaxed, |left| (left > 0).then(|| left - wanted.min(left)));
        taken.map_or(0, |left| wanted.min(left))
    }
}

/// One thread's share.
#[derive(Debug, Default)]
pub(crate) struct Share {
    spare: i64,
}

impl Share {
    /// Room for one more, if there is any.
    pub(crate) fn acquire(&mut self, pool: &Pool) -> bool {
        if self.spare == 0 {
            self.spare = pool.take(pool.portion.load(Relaxed));
        }
        let room = self.spare > 0;
        self.spare -= i64::from(room);
        room
    }

    /// Gives one back.
    pub(crate) fn release(&mut self, pool: &Pool) {
        self.spare += 1;
        let portion = pool.portion.load(Relaxed);
        let keep = if portion == 1 { 0 } else { portion };
        if self.spare > 2 * keep {
            pool.left.fetch_add(self.spare - keep, Relaxed);
            self.spare = keep;
        }
    }

    /// Gives everything back that is not in use.
    pub(crate) fn leave(&mut self, pool: &Pool) {
        pool.left.fetch_add(std::mem::take(&mut self.spare), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_bound_is_exact_over_two_threads() {
        let pool = Pool::new(3, 2);
        let (mut a, mut b) = (Share::default(), Share::default());
        assert!(a.acquire(&pool) && b.acquire(&pool) && a.acquire(&pool));
        assert!(!a.acquire(&pool) && !b.acquire(&pool));
        a.release(&pool);
        assert!(b.acquire(&pool), "what one thread gives back the other can take");
        assert!(!a.acquire(&pool));
    }

    #[test]
    fn a_large_bound_is_never_exceeded_and_nothing_is_lost() {
        let pool = Pool::new(10_000, 2);
        let (mut a, mut b) = (Share::default(), Share::default());
        let mut taken = 0;
        while a.acquire(&pool) | b.acquire(&pool) {
            taken += 1;
            assert!(taken < 20_000);
        }
        for _ in 0..5000 {
            a.release(&pool);
            b.release(&pool);
        }
        a.leave(&pool);
        b.leave(&pool);
        assert_eq!(pool.left.load(Relaxed), 10_000);
    }

    #[test]
    fn a_lowered_bound_counts_what_is_open() {
        let pool = Pool::new(10, 1);
        let mut share = Share::default();
        for _ in 0..10 {
            assert!(share.acquire(&pool));
        }
        pool.set(5);
        for _ in 0..5 {
            share.release(&pool);
            assert!(!share.acquire(&pool) || pool.left.load(Relaxed) >= 0);
        }
        pool.set(0);
        assert!(share.acquire(&pool), "0 is no bound");
    }
}
