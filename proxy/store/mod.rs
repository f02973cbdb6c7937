//! Stores: where records are durable, and who leads.

pub mod journal;
