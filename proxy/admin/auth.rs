//! Who may do what on the admin listener.
//!
//! Without tokens and clients the listener is on loopback only (the configuration refuses anything else), and whoever
//! can reach it may do everything. Otherwise each token, and each name in a client's certificate, belongs to a role,
//! and a role includes the ones below it.

use std::net::SocketAddr;

use hotspare_protocol::{Secret, same_secret};
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, ORIGIN};

/// What a request needs, and what a token gives; each includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Liveness and readiness: no token.
    Anyone,
    /// Look.
    Read,
    /// Planned changes: switchover, restart, pause.
    Operate,
    /// What can lose something: forced failover, fence.
    Admin,
}

impl Role {
    /// The word for it in the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::Anyone => "anyone",
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

impl From<crate::config::Role> for Role {
    fn from(role: crate::config::Role) -> Self {
        match role {
            crate::config::Role::Read => Self::Read,
            crate::config::Role::Operate => Self::Operate,
            crate::config::Role::Admin => Self::Admin,
        }
    }
}

/// The tokens and the names that are valid. With none of either the listener is on loopback and asks for none.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// What is shown, and what it gives.
    pub tokens: Vec<Bearer>,
    /// Name in a client's certificate and the role it gives.
    pub clients: Vec<(String, Role)>,
}

/// A token and what it gives. `Debug` does not show the token.
#[derive(Debug, Clone)]
pub struct Bearer {
    /// Whose it is, for the audit record.
    pub name: String,
    /// What is shown.
    pub token: Secret,
    /// What it gives.
    pub role: Role,
}

/// Why a request was not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// No token or certificate, or none that is valid.
    NoToken,
    /// A valid token whose role does not include this.
    NotThatRole,
    /// A browser sent it from a page of another origin.
    ForeignOrigin,
}

impl Denied {
    /// The status to answer with.
    pub fn status(self) -> StatusCode {
        match self {
            Self::NoToken => StatusCode::UNAUTHORIZED,
            Self::NotThatRole | Self::ForeignOrigin => StatusCode::FORBIDDEN,
        }
    }

    /// The sentence to answer with.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::NoToken => "a bearer token is needed here, or a certificate that is known",
            Self::NotThatRole => "this role does not include that",
            Self::ForeignOrigin => "requests from pages of another origin are refused",
        }
    }
}

impl Access {
    /// From the configuration.
    pub fn of(admin: &crate::config::Admin) -> Self {
        let tokens = admin.users.iter().flat_map(|user| {
            let role = Role::from(user.role);
            user.tokens.valid().map(move |token| Bearer {
                name: user.name.as_str().to_owned(),
                token: token.clone(),
                role,
            })
        });
        let clients = admin.clients.iter().map(|(name, role)| (name.clone(), Role::from(*role)));
        Self { tokens: tokens.collect(), clients: clients.collect() }
    }

    /// The token with the least role that includes `role`.
    pub fn token_for(&self, role: Role) -> Option<&Bearer> {
        self.tokens.iter().filter(|bearer| bearer.role >= role).min_by_key(|bearer| bearer.role)
    }

    /// Whether a request with `headers` from `from` may do what needs `role`; `shown` are the names in the certificate
    /// that its connection has shown. Names who asked, for the audit record, and the role they have.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn allows(
        &self,
        headers: &HeaderMap,
        from: SocketAddr,
        shown: &[String],
        role: Role,
    ) -> Result<(String, Role), Denied> {
        if role >= Role::Operate && !same_origin(headers) {
            return Err(Denied::ForeignOrigin);
        }
        if role == Role::Anyone {
            return Ok((from.to_string(), Role::Anyone));
        }
        if self.tokens.is_empty() && self.clients.is_empty() {
            // Without tokens only loopback is served; a name in Host would be a page that re-bound its own name to us.
            return if host_is_local(headers) {
                Ok((format!("somebody at {}", from.ip()), Role::Admin))
            } else {
                Err(Denied::ForeignOrigin)
            };
        }
        let by_name = self.clients.iter().filter(|(name, _)| shown.contains(name));
        let by_name = by_name.map(|(name, role)| (*role, name.clone())).max();
        let given = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer "));
        // Every token is compared, so that the time does not tell which one matched.
        let by_token = given.and_then(|given| {
            let matching = self.tokens.iter().filter(|bearer| same_secret(given, bearer.token.expose()));
            matching.map(|bearer| (bearer.role, bearer.name.clone())).max()
        });
        match by_name.max(by_token) {
            None => Err(Denied::NoToken),
            Some((best, name)) if best >= role => Ok((format!("{name} ({}) at {}", best.word(), from.ip()), best)),
            Some(_) => Err(Denied::NotThatRole),
        }
    }
}

/// A browser names the page's origin on every request that could change something; other clients send none.
fn same_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let host = headers.get(HOST).and_then(|h| h.to_str().ok()).unwrap_or("");
    let authority = origin.to_str().ok().and_then(|o| o.split_once("://")).map(|(_, authority)| authority);
    !host.is_empty() && authority == Some(host)
}

fn host_is_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST).and_then(|h| h.to_str().ok()) else { return true };
    let name = host
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
        .map_or(host, |(name, _)| name);
    let name = name.trim_matches(['[', ']']);
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(n, v)| (hyper::header::HeaderName::from_static(n), v.parse().expect("a header value")))
            .collect()
    }

    fn from() -> SocketAddr {
        "127.0.0.1:5".parse().expect("an address")
    }

    #[test]
    fn a_role_includes_the_ones_below_it_and_no_more() {
        let bearer = |token, role| Bearer { name: "n".to_owned(), token: Secret::new(token), role };
        let tokens = vec![bearer("r", Role::Read), bearer("o", Role::Operate)];
        let access = Access { tokens, clients: Vec::new() };
        let ask = |token: &str, role| {
            access.allows(&headers(&[("authorization", &format!("Bearer {token}"))]), from(), &[], role)
        };
        assert!(ask("r", Role::Read).is_ok());
        assert_eq!(ask("r", Role::Operate), Err(Denied::NotThatRole));
        assert!(ask("o", Role::Read).is_ok() && ask("o", Role::Operate).is_ok());
        assert_eq!(ask("o", Role::Admin), Err(Denied::NotThatRole));
        assert_eq!(ask("x", Role::Read), Err(Denied::NoToken));
        assert_eq!(access.allows(&HeaderMap::new(), from(), &[], Role::Read), Err(Denied::NoToken));
        assert!(access.allows(&HeaderMap::new(), from(), &[], Role::Anyone).is_ok());
    }

    #[test]
    fn a_certificate_gives_the_role_of_the_names_in_it() {
        let clients = vec![("leader".to_owned(), Role::Operate), ("screen".to_owned(), Role::Read)];
        let access = Access { tokens: Vec::new(), clients };
        let ask = |names: &[&str], role| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            access.allows(&HeaderMap::new(), from(), &names, role)
        };
        assert_eq!(
            ask(&["screen", "leader"], Role::Read),
            Ok(("leader (operate) at 127.0.0.1".to_owned(), Role::Operate))
        );
        assert_eq!(ask(&["screen"], Role::Operate), Err(Denied::NotThatRole));
        assert_eq!(ask(&["Leader"], Role::Read), Err(Denied::NoToken));
        assert_eq!(ask(&[], Role::Read), Err(Denied::NoToken));
    }

    #[test]
    fn a_page_of_another_origin_changes_nothing_even_without_tokens() {
        let access = Access::default();
        let foreign = headers(&[("origin", "http://evil.example"), ("host", "127.0.0.1:9480")]);
        assert_eq!(access.allows(&foreign, from(), &[], Role::Operate), Err(Denied::ForeignOrigin));
        let own = headers(&[("origin", "http://127.0.0.1:9480"), ("host", "127.0.0.1:9480")]);
        assert!(access.allows(&own, from(), &[], Role::Operate).is_ok());
        let rebound = headers(&[("origin", "http://evil.example:9480"), ("host", "evil.example:9480")]);
        assert_eq!(access.allows(&rebound, from(), &[], Role::Operate), Err(Denied::ForeignOrigin));
        assert_eq!(access.allows(&rebound, from(), &[], Role::Read), Err(Denied::ForeignOrigin));
    }
}
