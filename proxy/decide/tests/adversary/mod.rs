//! The adversaries of `invariants.rs`: one against a decider (`control`), one against a guard (`launcher`).

pub(crate) mod control;
pub(crate) mod launcher;
