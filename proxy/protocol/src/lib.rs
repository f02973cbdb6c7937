//! Messages between a launcher and the controllers, and between the launchers of a pair.
