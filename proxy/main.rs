//! The `hotspare` binary.
fn main() {}
