//! TLS of every place that has it, from files: certificates, keys and the authorities that are trusted.
//!
//! Owns: reading them ([`ServerFiles`], [`ClientFiles`]), saying in words what is wrong with one ([`Bad`]), reading
//! them again when they change ([`Keeper`]), the handshake of connections that live in a runtime ([`stream`]),
//! and opening these where packets are lost ([`dial`]).
//! The data path does its own handshakes, with the configurations made here.
//! Never: makes a certificate, keeps a key's bytes beyond what rustls needs, prints one.
//!
//! What is spoken is what rustls takes for good and no more: TLS 1.2 with forward secrecy and AEAD ciphers, TLS 1.3.
//! There is no key to weaken it.

pub mod dial;
mod files;
mod keeper;
mod names;
mod private;
pub mod stream;

pub use files::{Bad, ClientFiles, Pair, Pem, ServerFiles};
pub use keeper::{Client, Keeper, Server};
pub use names::names;
pub use private::open_to_others;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// The one provider of cryptography in the program.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
