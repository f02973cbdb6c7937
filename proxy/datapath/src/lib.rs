//! The data path: accept, park, connect, relay. It knows routes and epochs and decides nothing.
