//! Between a launcher and the controllers, and between the launchers of a pair: the wire.
//!
//! Owns the encoding of [`hotspare_decide::message`] (one JSON text frame a message), its version and size
//! limits, how both ends authenticate, and how heartbeats are sealed as datagrams. Never opens a socket and never decides anything: the controller's
//! end is `proxy/link`, the launcher's end is `proxy/launcher`.
//!
//! Compatibility: an unknown field is ignored; an unknown kind of message is skipped by a launcher and closes the link at
//! a controller; an unknown [`VERSION`](hotspare_decide::message::VERSION) is refused with a reason.

mod auth;
mod datagram;
mod wire;

pub use auth::{SECRET_BYTES, Secret, flows_key, peer_secret, same_secret};
pub use datagram::{DATAGRAMS_HEADER, End, INSTEAD_OF_HEADER, MAX_DATAGRAM_BYTES, Offer, Opener, Sealer, link_of};
pub use wire::{DecodeError, MAX_MESSAGE_BYTES, decode_down, decode_up, encode_down, encode_up};

/// Path on the controller's link listener to which a launcher opens its websocket.
pub const LINK_PATH: &str = "/v1/link";
/// Path on the controller's link listener that takes the exit receipt of a killed launcher's undertaker.
pub const RECEIPT_PATH: &str = "/v1/receipt";
/// Path on a launcher's admin listener where its peer asks for a promise.
pub const PROMISE_PATH: &str = "/hotspare/v1/promise";
/// Request header that names the instance a launcher belongs to.
pub const INSTANCE_HEADER: &str = "x-hotspare-instance";
/// Request header that names the member a launcher stands beside.
pub const MEMBER_HEADER: &str = "x-hotspare-member";
