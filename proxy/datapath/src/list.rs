//! Doubly linked lists through the slab: an instance's live connections and its parked ones (first in, first
//! out). Every operation is constant in time; a connection is in one list at most.

use crate::slab::{Index, Slab};

/// End of a list.
const NONE: Index = Index::MAX;

/// Neighbours of a connection in its list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Links {
    prev: Index,
    next: Index,
}

impl Default for Links {
    fn default() -> Self {
        Self { prev: NONE, next: NONE }
    }
}

/// What can be linked.
pub(crate) trait Linked {
    fn links(&mut self) -> &mut Links;
}

/// Head, tail and length.
#[derive(Debug)]
pub(crate) struct List {
    head: Index,
    tail: Index,
    len: usize,
}

impl List {
    pub(crate) fn new() -> Self {
        Self { head: NONE, tail: NONE, len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn front(&self) -> Option<Index> {
        (self.head != NONE).then_some(self.head)
    }

    /// The one after `index`.
    pub(crate) fn after<T: Linked>(&self, slab: &mut Slab<T>, index: Index) -> Option<Index> {
        let next = slab.get_mut(index)?.links().next;
        (next != NONE).then_some(next)
    }

    pub(crate) fn push_back<T: Linked>(&mut self, slab: &mut Slab<T>, index: Index) {
        let prev = self.tail;
        if let Some(value) = slab.get_mut(index) {
            *value.links() = Links { prev, next: NONE };
            match slab.get_mut(prev) {
                Some(tail) => tail.links().next = index,
                None => self.head = index,
            }
            self.tail = index;
            self.len += 1;
        }
    }

    pub(crate) fn push_front<T: Linked>(&mut self, slab: &mut Slab<T>, index: Index) {
        let next = self.head;
        if let Some(value) = slab.get_mut(index) {
            *value.links() = Links { prev: NONE, next };
            match slab.get_mut(next) {
                Some(head) => head.links().prev = index,
                None => self.tail = index,
            }
            self.head = index;
            self.len += 1;
        }
    }

    /// Takes `index`, which is in this list, out of it.
    pub(crate) fn remove<T: Linked>(&mut self, slab: &mut Slab<T>, index: Index) {
        let Some(value) = slab.get_mut(index) else { return };
        let Links { prev, next } = std::mem::take(value.links());
        match slab.get_mut(prev) {
            Some(before) => before.links().next = next,
            None => self.head = next,
        }
        match slab.get_mut(next) {
            Some(after) => after.links().prev = prev,
            None => self.tail = prev,
        }
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Item(Links);
    impl Linked for Item {
        fn links(&mut self) -> &mut Links {
            &mut self.0
        }
    }

    fn order(list: &List, slab: &mut Slab<Item>) -> Vec<Index> {
        let mut seen = Vec::new();
        let mut at = list.front();
        while let Some(index) = at {
            seen.push(index);
            at = list.after(slab, index);
        }
        assert_eq!(seen.len(), list.len());
        seen
    }

    #[test]
    fn order_is_kept_through_removals_at_every_place() {
        let mut slab = Slab::new();
        let mut list = List::new();
        let items: Vec<_> = (0..5).map(|_| slab.insert(Item(Links::default()))).collect();
        for &item in &items[..4] {
            list.push_back(&mut slab, item);
        }
        list.push_front(&mut slab, items[4]);
        assert_eq!(order(&list, &mut slab), [4, 0, 1, 2, 3]);
        list.remove(&mut slab, 1);
        assert_eq!(order(&list, &mut slab), [4, 0, 2, 3]);
        list.remove(&mut slab, 4);
        list.remove(&mut slab, 3);
        assert_eq!(order(&list, &mut slab), [0, 2]);
        list.remove(&mut slab, 0);
        list.remove(&mut slab, 2);
        assert!(list.is_empty() && list.front().is_none());
        list.push_back(&mut slab, 2);
        assert_eq!(order(&list, &mut slab), [2]);
    }
}
