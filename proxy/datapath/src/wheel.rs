//! Deadlines of connections: a hierarchical timing wheel of three levels (1 ms, 256 ms, 65.5 s per slot, 256
//! slots each). Setting and cancelling take constant time and no allocation once the connection's place exists;
//! thousands of idle timeouts cost about four wake-ups a second, not one each.

use crate::slab::Index;

const NONE: Index = Index::MAX;
const UNSET: u16 = u16::MAX;
const SLOTS: usize = 256;
const LEVELS: usize = 3;
/// Longest distance the wheel can hold, in ms (4.6 h). A deadline further away comes up early; whoever set it
/// looks at the time and sets it again.
const REACH: u64 = (1 << 24) - 1;

#[derive(Clone, Copy, Debug)]
struct Node {
    deadline: u64,
    next: Index,
    prev: Index,
    slot: u16,
}

/// At most one deadline per connection.
#[derive(Debug)]
pub(crate) struct Wheel {
    /// Every tick up to and including this one has been processed.
    current: u64,
    nodes: Vec<Node>,
    /// Nothing is to be done before this tick. May be too early after a cancel, never too late.
    wake_at: u64,
    heads: [Index; SLOTS * LEVELS],
    occupied: [[u64; SLOTS / 64]; LEVELS],
}

impl Wheel {
    pub(crate) fn new() -> Self {
        Self {
            current: 0,
            nodes: Vec::new(),
            wake_at: u64::MAX,
            heads: [NONE; SLOTS * LEVELS],
            occupied: [[0; SLOTS / 64]; LEVELS],
        }
    }

    /// Sets the deadline of `id`, in place of any it had. One not after the last tick comes up at the next.
    pub(crate) fn set(&mut self, id: Index, deadline_ms: u64) {
        let place = id as usize;
        if place >= self.nodes.len() {
            self.nodes.resize(place + 1, Node { deadline: 0, next: NONE, prev: NONE, slot: UNSET });
        }
        self.cancel(id);
        self.link(id, deadline_ms.clamp(self.current + 1, self.current + REACH));
    }

    /// Forgets the deadline of `id`.
    pub(crate) fn cancel(&mut self, id: Index) {
        let Some(&Node { next, prev, slot, .. }) = self.nodes.get(id as usize) else { return };
        if slot == UNSET {
            return;
        }
        match self.nodes.get_mut(prev as usize) {
            Some(node) => node.next = next,
            None => self.heads[slot as usize] = next,
        }
        if let Some(node) = self.nodes.get_mut(next as usize) {
            node.prev = prev;
        }
        if self.heads[slot as usize] == NONE {
            self.mark(slot, false);
        }
        self.nodes[id as usize].slot = UNSET;
    }

    /// Brings the wheel to `now_ms`; puts whoever's deadline has come into `expired`.
    pub(crate) fn advance(&mut self, now_ms: u64, expired: &mut Vec<Index>) {
        if now_ms < self.wake_at {
            // Empty slots need not be walked through one by one.
            self.current = self.current.max(now_ms);
            return;
        }
        while let Some(tick) = self.next_tick().filter(|&tick| tick <= now_ms) {
            self.current = tick;
            if tick.is_multiple_of(1 << 16) {
                self.cascade(2 * SLOTS + ((tick >> 16) & 255) as usize);
            }
            if tick.is_multiple_of(1 << 8) {
                self.cascade(SLOTS + ((tick >> 8) & 255) as usize);
            }
            self.expire((tick & 255) as usize, expired);
        }
        self.current = self.current.max(now_ms);
        self.wake_at = self.next_tick().unwrap_or(u64::MAX);
    }

    /// When to call [`Wheel::advance`] at the latest.
    pub(crate) fn wake_at(&self) -> Option<u64> {
        (self.wake_at != u64::MAX).then_some(self.wake_at)
    }

    /// The next tick at which the wheel has something to do.
    fn next_tick(&self) -> Option<u64> {
        (0..LEVELS)
            .filter_map(|level| {
                let unit = self.current >> (8 * level);
                let distance = distance_to_set(&self.occupied[level], (unit & 255) as usize)?;
                Some((unit + distance) << (8 * level))
            })
            .min()
    }

    fn link(&mut self, id: Index, deadline: u64) {
        let distance = deadline - self.current;
        let level = if distance < 1 << 8 {
            0
        } else if distance < 1 << 16 {
            1
        } else {
            2
        };
        self.wake_at = self.wake_at.min(deadline >> (8 * level) << (8 * level));
        let slot = level * SLOTS + ((deadline >> (8 * level)) & 255) as usize;
        let head = self.heads[slot];
        let slot_name = slot as u16;
        self.nodes[id as usize] = Node { deadline, next: head, prev: NONE, slot: slot_name };
        if let Some(node) = self.nodes.get_mut(head as usize) {
            node.prev = id;
        }
        self.heads[slot] = id;
        self.mark(slot_name, true);
    }

    fn mark(&mut self, slot: u16, on: bool) {
        let (level, slot) = (slot as usize / SLOTS, slot as usize % SLOTS);
        let word = &mut self.occupied[level][slot / 64];
        let bit = 1 << (slot % 64);
        if on { *word |= bit } else { *word &= !bit }
    }

    /// Empties a slot, calling `each` with what was in it.
    fn take(&mut self, slot: usize, mut each: impl FnMut(&mut Self, Index)) {
        let mut at = std::mem::replace(&mut self.heads[slot], NONE);
        self.mark(slot as u16, false);
        while at != NONE {
            let next = self.nodes[at as usize].next;
            self.nodes[at as usize].slot = UNSET;
            each(self, at);
            at = next;
        }
    }

    /// Moves a slot's nodes to a finer level; one whose deadline is this very tick goes to the slot that is
    /// about to be emptied.
    fn cascade(&mut self, slot: usize) {
        self.take(slot, |wheel, id| {
            let deadline = wheel.nodes[id as usize].deadline;
            wheel.link(id, deadline.max(wheel.current));
        });
    }

    fn expire(&mut self, slot: usize, expired: &mut Vec<Index>) {
        self.take(slot, |_, id| expired.push(id));
    }
}

/// Distance (1 to 256) from `from` to the next set bit, going round.
fn distance_to_set(bits: &[u64; SLOTS / 64], from: usize) -> Option<u64> {
    let start = (from + 1) % SLOTS;
    let mut seen = 0;
    while seen < SLOTS {
        let at = (start + seen) % SLOTS;
        let rest = bits[at / 64] >> (at % 64);
        if rest != 0 {
            let distance = seen + rest.trailing_zeros() as usize + 1;
            return (distance <= SLOTS).then_some(distance as u64);
        }
        seen += 64 - at % 64;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Clone, Debug)]
    enum Step {
        Set(Index, u64),
        Cancel(Index),
        Advance(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let delay = prop_oneof![0u64..300, 0u64..70_000, 0u64..400_000];
        prop_oneof![
            (0u32..8, delay.clone()).prop_map(|(id, delay)| Step::Set(id, delay)),
            (0u32..8).prop_map(Step::Cancel),
            delay.prop_map(Step::Advance),
        ]
    }

    proptest! {
        /// Against a plain map: the same ids come up, never before their time and at the first advance after it.
        #[test]
        fn behaves_as_a_sorted_map(steps in proptest::collection::vec(step(), 1..80)) {
            let mut wheel = Wheel::new();
            let mut model = BTreeMap::new();
            let mut now = 0;
            for step in steps {
                match step {
                    Step::Set(id, delay) => {
                        wheel.set(id, now + delay);
                        model.insert(id, (now + delay).max(now + 1));
                    }
                    Step::Cancel(id) => {
                        wheel.cancel(id);
                        model.remove(&id);
                    }
                    Step::Advance(by) => {
                        now += by;
                        let mut expired = Vec::new();
                        wheel.advance(now, &mut expired);
                        expired.sort_unstable();
                        let due: Vec<_> = model.iter().filter(|(_, at)| **at <= now).map(|(id, _)| *id).collect();
                        model.retain(|_, at| *at > now);
                        prop_assert_eq!(expired, due);
                    }
                }
                let (exact, wake) = (wheel.next_tick(), wheel.wake_at());
                if let Some(first) = model.values().min() {
                    prop_assert!(exact.is_some_and(|tick| tick <= *first && tick > now), "{:?} for {}", exact, first);
                    prop_assert!(wake <= exact, "{:?} is later than {:?}", wake, exact);
                } else {
                    prop_assert_eq!(exact, None);
                }
            }
        }
    }
}
