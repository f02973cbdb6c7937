//! The table of states, held by a snapshot: a change of it is seen in review, not by chance.

#![allow(missing_docs, clippy::unwrap_used)]

use hotspare_decide::{StateName, TRANSITIONS};
use std::fmt::Write;

#[test]
fn the_table_is_as_reviewed() {
    let mut text = String::new();
    for t in TRANSITIONS {
        writeln!(text, "{:<10} -> {:<10}  {}", format!("{:?}", t.from), format!("{:?}", t.to), t.when).unwrap();
    }
    insta::assert_snapshot!("transitions", text);
}

#[test]
fn every_state_can_be_left_and_reached() {
    use StateName::*;
    for state in [Follower, Recovering, Idle, Starting, Active, Fencing, Draining, Verifying] {
        assert!(TRANSITIONS.iter().any(|t| t.from == state), "no way out of {state:?}");
        assert!(TRANSITIONS.iter().any(|t| t.to == state), "no way into {state:?}");
    }
}
