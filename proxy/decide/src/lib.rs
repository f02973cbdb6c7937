//! The decision core: no I/O, no clock, no async, no random.
