//! Bearer tokens and the secret of a pair.
//!
//! A launcher proves itself to a controller with its member's token. The two launchers of a pair prove
//! themselves to one another with a secret that every controller derives alike from both members' tokens,
//! so that nothing more has to be configured and no member ever learns the other's token.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// Length of a pair's secret before it is written as hexadecimal digits.
pub const SECRET_BYTES: usize = 32;

/// A token or secret. `Debug` and `Display` never show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes ownership of `text` as it is; trimming is the caller's.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself: for a request header or a comparison, never for a log.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// Compares in a time that depends on the lengths only.
pub fn same_secret(given: &str, expected: &str) -> bool {
    given.as_bytes().ct_eq(expected.as_bytes()).into()
}

/// The secret with which the two launchers of `instance` authenticate to one another, as hexadecimal digits.
///
/// HMAC-SHA256 (RFC 2104) keyed with both tokens, each preceded by its length; the order in which the members
/// are given does not matter.
pub fn peer_secret(instance: &str, one: &Secret, other: &Secret) -> Secret {
    let (first, second) = if one.0 <= other.0 { (one, other) } else { (other, one) };
    let mut key = Vec::with_capacity(first.0.len() + second.0.len() + 16);
    for token in [first, second] {
        key.extend_from_slice(&(token.0.len() as u64).to_be_bytes());
        key.extend_from_slice(token.0.as_bytes());
    }
    digest(&key, &[b"hotspare peer v1\0", instance.as_bytes()])
}

/// The key under which the launchers of a pair seal credentials of flows for one another: 32 bytes in hexadecimal
/// digits, HMAC-SHA256 of the pair's secret.
pub fn flows_key(pair: &Secret) -> Secret {
    digest(pair.0.as_bytes(), &[b"hotspare flows v1"])
}

fn digest(key: &[u8], parts: &[&[u8]]) -> Secret {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    let digest = mac.finalize().into_bytes();
    let mut text = String::with_capacity(SECRET_BYTES * 2);
    for byte in digest {
        use fmt::Write;
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
    }
    Secret(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_has_one_secret_whoever_derives_it() {
        let (a, b) = (Secret::new("token-a"), Secret::new("token-b"));
        assert_eq!(peer_secret("line-1", &a, &b), peer_secret("line-1", &b, &a));
        assert_eq!(peer_secret("line-1", &a, &b).expose().len(), SECRET_BYTES * 2);
    }

    #[test]
    fn another_instance_or_a_shifted_boundary_is_another_secret() {
        let (a, b) = (Secret::new("ab"), Secret::new("c"));
        let (a2, b2) = (Secret::new("a"), Secret::new("bc"));
        assert_ne!(peer_secret("line-1", &a, &b), peer_secret("line-2", &a, &b));
        assert_ne!(peer_secret("line-1", &a, &b), peer_secret("line-1", &a2, &b2));
    }

    #[test]
    fn a_secret_never_shows_itself() {
        let secret = Secret::new("s3cr3t-value");
        assert!(!format!("{secret:?} {secret}").contains("s3cr3t"));
        assert!(same_secret("s3cr3t-value", secret.expose()));
        assert!(!same_secret("s3cr3t-valuf", secret.expose()));
        assert!(!same_secret("", secret.expose()));
    }
}
