//! Who may open a link: a bearer token a member, two of them while one is being rotated.

use std::collections::HashMap;

use hotspare_decide::Member;
use hotspare_protocol::{INSTANCE_HEADER, MEMBER_HEADER};
use hyper::header::{AUTHORIZATION, HeaderMap};

use crate::config::Tokens;

/// An instance as the engine numbers it, and one of its two members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LinkKey {
    /// Index of the instance in the engine.
    pub instance: u32,
    /// Which of its members.
    pub member: Member,
}

/// One member's tokens. `Debug` does not show them.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Whom a bearer of one of the tokens speaks for.
    pub key: LinkKey,
    /// Those that are valid now.
    pub tokens: Tokens,
}

/// All members that may open a link, by instance and member name. Replaced as a whole on reload.
#[derive(Debug, Default)]
pub struct Identities(HashMap<(String, String), Identity>);

impl Identities {
    /// Takes (instance name, member name) → identity.
    pub fn new(identities: impl IntoIterator<Item = ((String, String), Identity)>) -> Self {
        Self(identities.into_iter().collect())
    }

    /// Whose request this is.
    ///
    /// # Errors
    /// A sentence for the log and the answer. It does not tell an unknown member from a wrong token.
    pub fn authenticate(&self, headers: &HeaderMap) -> Result<LinkKey, &'static str> {
        let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
        let (Some(instance), Some(member)) = (text(INSTANCE_HEADER), text(MEMBER_HEADER)) else {
            return Err("the headers x-hotspare-instance and x-hotspare-member are missing");
        };
        let Some(token) = text(AUTHORIZATION.as_str()).and_then(|v| v.strip_prefix("Bearer ")) else {
            return Err("a bearer token is missing");
        };
        let identity = self.0.get(&(instance.to_owned(), member.to_owned()));
        identity.filter(|i| i.tokens.accept(token)).map(|i| i.key).ok_or("no member of that name has that token")
    }
}
