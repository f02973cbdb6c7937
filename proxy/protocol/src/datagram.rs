//! Heartbeats (a hello before them) and their answers as datagrams, beside the websocket of a link.
//!
//! Where packets are lost, TCP holds back all that follows a lost one until that has arrived, for longer than a lease may
//! last. A datagram that is lost costs itself alone. Nothing else travels so, and nothing depends on it: each message
//! goes over the websocket too.
//!
//! The controller offers it with its answer to the upgrade ([`DATAGRAMS_HEADER`]): a number and a random key, for that
//! link alone. A datagram is the number, a counter, and the sealed text (ChaCha20-Poly1305, RFC 8439; direction and
//! counter are its nonce). A counter that does not rise is refused, so nothing is heard twice.

use std::fmt;

use data_encoding::HEXLOWER;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::error::Unspecified;
use ring::rand::{SecureRandom, SystemRandom};
use subtle::ConstantTimeEq;

/// Header of the controller's answer to the upgrade; holds an [`Offer`].
pub const DATAGRAMS_HEADER: &str = "x-hotspare-datagrams";
/// Header of a launcher's request; holds the [`Offer`] of the link that this one is to take the place of. Whoever knows it is
/// the launcher that it was made to.
pub const INSTEAD_OF_HEADER: &str = "x-hotspare-instead-of";
/// Largest datagram either side reads, in bytes. What is longer goes over the websocket alone.
pub const MAX_DATAGRAM_BYTES: usize = 8 << 10;

const NUMBER_BYTES: usize = 8;
const KEY_BYTES: usize = 32;
/// Number and counter.
const HEAD_BYTES: usize = 2 * NUMBER_BYTES;

/// Which end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The one that sends heartbeats.
    Launcher,
    /// The one that answers them.
    Controller,
}

/// The number and the key under which one link may use datagrams. `Debug` does not show the key.
pub struct Offer {
    link: u64,
    key: [u8; KEY_BYTES],
}

impl PartialEq for Offer {
    /// Takes a time that does not depend on the keys.
    fn eq(&self, other: &Self) -> bool {
        self.link == other.link && self.key.ct_eq(&other.key).into()
    }
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer").field("link", &self.link).finish_non_exhaustive()
    }
}

impl Offer {
    /// A new key for the link of this number. `None` if the system has no random numbers to give.
    pub fn new(link: u64) -> Option<Self> {
        let mut key = [0; KEY_BYTES];
        SystemRandom::new().fill(&mut key).ok().map(|()| Self { link, key })
    }

    /// The number of the link.
    pub fn link(&self) -> u64 {
        self.link
    }

    /// As the header has it.
    pub fn to_header(&self) -> String {
        HEXLOWER.encode(&[self.link.to_be_bytes().as_slice(), &self.key].concat())
    }

    /// From the header; `None` if it holds no offer that is understood.
    pub fn from_header(text: &str) -> Option<Self> {
        let bytes = HEXLOWER.decode(text.as_bytes()).ok()?;
        let (link, key) = bytes.split_at_checked(NUMBER_BYTES)?;
        Some(Self { link: u64::from_be_bytes(link.try_into().ok()?), key: key.try_into().ok()? })
    }

    /// What one end seals and opens with.
    pub fn at(&self, end: End) -> (Sealer, Opener) {
        let other = if end == End::Launcher { End::Controller } else { End::Launcher };
        let sealer = Sealer { key: self.key(), link: self.link, from: end, counter: 0 };
        (sealer, Opener { key: self.key(), link: self.link, from: other, counter: 0 })
    }

    fn key(&self) -> LessSafeKey {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &self.key).expect("the key has the length of this algorithm");
        LessSafeKey::new(key)
    }
}

/// The number of the link that a datagram claims to be of; not verified.
pub fn link_of(datagram: &[u8]) -> Option<u64> {
    number(datagram, 0)
}

fn number(datagram: &[u8], from: usize) -> Option<u64> {
    Some(u64::from_be_bytes(datagram.get(from..from + NUMBER_BYTES)?.try_into().ok()?))
}

fn nonce(from: End, counter: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[0] = u8::from(from == End::Controller);
    bytes[NONCE_LEN - NUMBER_BYTES..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// Makes datagrams. There is one for each direction of a link: its counter must never be used twice.
#[derive(Debug)]
pub struct Sealer {
    key: LessSafeKey,
    link: u64,
    from: End,
    counter: u64,
}

impl Sealer {
    /// A datagram that holds `text`; `None` if it would be too long.
    pub fn seal(&mut self, text: &str) -> Option<Vec<u8>> {
        self.counter += 1;
        let head = [self.link.to_be_bytes(), self.counter.to_be_bytes()].concat();
        let mut sealed = text.as_bytes().to_vec();
        let nonce = nonce(self.from, self.counter);
        self.key.seal_in_place_append_tag(nonce, Aad::from(&head), &mut sealed).ok()?;
        let datagram = [head, sealed].concat();
        (datagram.len() <= MAX_DATAGRAM_BYTES).then_some(datagram)
    }
}

/// Reads datagrams of the other end.
#[derive(Debug)]
pub struct Opener {
    key: LessSafeKey,
    link: u64,
    from: End,
    counter: u64,
}

impl Opener {
    /// The text of a datagram, opened in place; `None` if it is another's, was heard before, or is older than one that was.
    pub fn open<'a>(&mut self, datagram: &'a mut [u8]) -> Option<&'a str> {
        let (link, counter) = (link_of(datagram)?, number(datagram, NUMBER_BYTES)?);
        if link != self.link || counter <= self.counter {
            return None;
        }
        let (head, sealed) = datagram.split_at_mut(HEAD_BYTES);
        let opened: Result<_, Unspecified> = self.key.open_in_place(nonce(self.from, counter), Aad::from(head), sealed);
        let opened = opened.ok()?;
        self.counter = counter;
        std::str::from_utf8(opened).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer() -> Offer {
        Offer::new(7).expect("random numbers")
    }

    #[test]
    fn what_one_end_seals_the_other_opens_once() {
        let controller = offer();
        let launcher = Offer::from_header(&controller.to_header()).expect("it was just written");
        let (mut say, mut hear) = launcher.at(End::Launcher);
        let (mut answer, mut listen) = controller.at(End::Controller);
        let (one, mut two) = (say.seal("one").expect("short"), say.seal("two").expect("short"));
        assert_eq!(link_of(&one), Some(7));
        assert_eq!(listen.open(&mut one.clone()), Some("one"));
        assert_eq!(listen.open(&mut one.clone()), None, "heard before");
        assert_eq!(listen.open(&mut two), Some("two"));
        assert_eq!(listen.open(&mut one.clone()), None, "older than what was heard");
        assert_eq!(hear.open(&mut one.clone()), None, "its own words");
        assert_eq!(hear.open(&mut answer.seal("granted").expect("short")), Some("granted"));
    }

    #[test]
    fn what_was_changed_or_is_not_of_this_key_is_refused() {
        let offered = offer();
        let (mut say, _) = offered.at(End::Launcher);
        let sealed = say.seal("a heartbeat").expect("short");
        assert!(!sealed.windows(5).any(|bytes| bytes == b"heart"), "nobody on the way can read it");
        for changed in 0..sealed.len() {
            let mut datagram = sealed.clone();
            datagram[changed] ^= 1;
            assert_eq!(offered.at(End::Controller).1.open(&mut datagram), None, "byte {changed}");
            assert_eq!(offered.at(End::Controller).1.open(&mut sealed[..changed].to_vec()), None, "cut at {changed}");
        }
        assert_eq!(offer().at(End::Controller).1.open(&mut sealed.clone()), None, "another link's key");
        assert!(say.seal(&"x".repeat(MAX_DATAGRAM_BYTES)).is_none());
    }

    #[test]
    fn an_offer_that_is_not_understood_is_none_and_a_key_is_never_shown() {
        let offered = offer();
        let header = offered.to_header();
        for bad in ["", "zz", &header[2..], &format!("{header}00")] {
            assert!(Offer::from_header(bad).is_none(), "{bad}");
        }
        assert!(!format!("{offered:?}").contains(&header[16..]));
        assert!(Offer::from_header(&header).as_ref() == Some(&offered) && offer() != offered);
    }
}
