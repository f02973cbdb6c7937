//! The small numbers and names everything else speaks of.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::{Index, IndexMut};

/// One of the two members of an instance, by its place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Member {
    /// The first member configured.
    A,
    /// The second member configured.
    B,
}

impl Member {
    /// Both, in configured order.
    pub const BOTH: [Member; 2] = [Member::A, Member::B];

    /// The other one of the pair.
    pub const fn other(self) -> Member {
        match self {
            Member::A => Member::B,
            Member::B => Member::A,
        }
    }

    /// 0 or 1: the place in the configuration.
    pub const fn index(self) -> usize {
        match self {
            Member::A => 0,
            Member::B => 1,
        }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Member::A => "a",
            Member::B => "b",
        })
    }
}

/// Something kept once for each member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerMember<T>(pub [T; 2]);

impl<T> PerMember<T> {
    /// From what belongs to the first and to the second member.
    pub const fn new(a: T, b: T) -> Self {
        PerMember([a, b])
    }
}

impl<T> Index<Member> for PerMember<T> {
    type Output = T;
    fn index(&self, m: Member) -> &T {
        &self.0[m.index()]
    }
}

impl<T> IndexMut<Member> for PerMember<T> {
    fn index_mut(&mut self, m: Member) -> &mut T {
        &mut self.0[m.index()]
    }
}

/// The number of one member's tenure as active. Only ever rises; 0 means "never active".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// Before the first tenure.
    pub const NONE: Epoch = Epoch(0);

    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Epoch {
        Epoch(self.0.saturating_add(1))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Names one command of the controller, so that a late answer is known as late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OpId(pub u64);

/// Names one connection of a launcher to this controller. The link server gives each connection a new one;
/// what comes in under an older one than the member's latest is ignored, what goes out under one that has closed is dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LinkId(pub u64);
