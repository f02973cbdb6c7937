//! Connections in one vector, named by place and generation: an event that comes late for a connection
//! already gone names a generation that is no more, and is dropped.

/// Place of a connection; stays valid until it is removed.
pub(crate) type Index = u32;

/// Values in reused places.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    entries: Vec<Entry<T>>,
    free: Vec<Index>,
    len: usize,
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Self {
        Self { entries: Vec::new(), free: Vec::new(), len: 0 }
    }

    /// Puts a value in; returns its place.
    pub(crate) fn insert(&mut self, value: T) -> Index {
        self.len += 1;
        if let Some(index) = self.free.pop() {
            self.entries[index as usize].value = Some(value);
            return index;
        }
        let index = Index::try_from(self.entries.len()).expect("fewer connections than descriptors");
        self.entries.push(Entry { generation: 0, value: Some(value) });
        index
    }

    /// Takes a value out; its generation ends.
    pub(crate) fn remove(&mut self, index: Index) -> Option<T> {
        let entry = self.entries.get_mut(index as usize)?;
        let value = entry.value.take()?;
        entry.generation = entry.generation.wrapping_add(1) & GENERATION_MASK;
        self.free.push(index);
        self.len -= 1;
        Some(value)
    }

    pub(crate) fn get(&self, index: Index) -> Option<&T> {
        self.entries.get(index as usize)?.value.as_ref()
    }

    pub(crate) fn get_mut(&mut self, index: Index) -> Option<&mut T> {
        self.entries.get_mut(index as usize)?.value.as_mut()
    }

    /// The generation of the value now in this place.
    pub(crate) fn generation(&self, index: Index) -> u32 {
        self.entries.get(index as usize).map_or(0, |entry| entry.generation)
    }

    /// Whether the value of that generation is still there.
    pub(crate) fn is_live(&self, index: Index, generation: u32) -> bool {
        self.entries.get(index as usize).is_some_and(|e| e.generation == generation && e.value.is_some())
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Places in use, in no order.
    pub(crate) fn indices(&self) -> impl Iterator<Item = Index> + '_ {
        (0..).zip(&self.entries).filter(|(_, entry)| entry.value.is_some()).map(|(index, _)| index)
    }
}

/// Generations have 23 bits: with the number of the attempt (8 bits) they leave the highest values of a token's
/// upper half free for other uses.
const GENERATION_MASK: u32 = 0x007f_ffff;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_place_has_another_generation() {
        let mut slab = Slab::new();
        let first = slab.insert("a");
        let generation = slab.generation(first);
        assert!(slab.is_live(first, generation));
        assert_eq!(slab.remove(first), Some("a"));
        assert_eq!(slab.remove(first), None);
        let second = slab.insert("b");
        assert_eq!(first, second);
        assert!(!slab.is_live(first, generation));
        assert_eq!(slab.len(), 1);
        assert_eq!(slab.indices().collect::<Vec<_>>(), [second]);
    }
}
