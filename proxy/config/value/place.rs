//! Where things are: addresses to listen on, members' addresses, URLs, networks.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use hyper::Uri;

use super::{Mismatch, Raw, Scalar};
use crate::config::key::Kind;

/// A host (name or IP address) and a port. A name is resolved when it is used, not here.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// Name or address; an IPv6 address without its brackets.
    pub host: String,
    /// Port, 1 to 65535.
    pub port: u16,
}

/// An `http` or `https` URL without user, query or fragment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Url(Uri);

/// A network such as `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// The network's address.
    pub address: IpAddr,
    /// Leading bits that count.
    pub prefix: u8,
}

impl HostPort {
    /// The IP address, if the host is one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(out, "[{}]:{}", self.host, self.port)
        } else {
            write!(out, "{}:{}", self.host, self.port)
        }
    }
}

impl Scalar for HostPort {
    fn kind() -> Kind {
        Kind::Text { what: "a host and a port such as \"10.0.0.11:1880\"", pattern: "^.+:[0-9]+$" }
    }

    fn parse(raw: Raw<'_>) -> Result<Self, Mismatch> {
        let Raw::Text(text) = raw else {
            return Err(Mismatch::plain());
        };
        if text.contains("://") {
            return Err(Mismatch::help("leave out the scheme: an address here is host:port, not a URL"));
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(Mismatch::help(format!("add the port, as in \"{text}:1880\"")));
        };
        let port = u16::parse(port.parse().map(Raw::Integer).unwrap_or(raw))?;
        let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let valid = match inner {
            Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
            None => is_host(host),
        };
        if !valid {
            return Err(Mismatch::plain());
        }
        Ok(HostPort { host: inner.unwrap_or(host).to_owned(), port })
    }
}

fn is_host(host: &str) -> bool {
    let label = |part: &str| {
        !part.is_empty()
            && part.len() <= 63
            && !part.starts_with('-')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    host.len() <= 253 && host.trim_end_matches('.').split('.').all(label)
}

impl Url {
    /// The URL as hyper has it.
    pub fn uri(&self) -> &Uri {
        &self.0
    }

    /// Whether it goes to this very host and port, as they are written.
    pub fn is_at(&self, address: &HostPort) -> bool {
        let tls = self.0.scheme_str() == Some("https");
        let host = self.0.host().map(|host| host.trim_matches(['[', ']']));
        host == Some(address.host.as_str()) && self.0.port_u16().unwrap_or(if tls { 443 } else { 80 }) == address.port
    }

    /// The URL of an HTTP server at this address, with TLS or without.
    pub fn of(address: &HostPort, tls: bool) -> Option<Url> {
        let scheme = if tls { "https" } else { "http" };
        format!("{scheme}://{address}").parse().ok().map(Url)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.0)
    }
}

impl Scalar for Url {
    fn kind() -> Kind {
        Kind::Text { what: "a URL such as \"http://10.0.0.11:2880\"", pattern: "^https?://.+$" }
    }

    fn parse(raw: Raw<'_>) -> Result<Self, Mismatch> {
        let Raw::Text(text) = raw else {
            return Err(Mismatch::plain());
        };
        if text.contains('@') {
            let help = Some("a URL holds no user or password: use token_file".to_owned());
            return Err(Mismatch { expected: None, found: Some("a URL with user or password (not shown)"), help });
        }
        let uri: Uri = text.parse().map_err(|_| Mismatch::plain())?;
        match uri.scheme_str() {
            Some("http" | "https") => {}
            Some(_) => return Err(Mismatch::help("it begins with http:// or https://")),
            None => return Err(Mismatch::help(format!("it begins with http://, as in \"http://{text}\""))),
        }
        if uri.query().is_some() || uri.host().is_none_or(str::is_empty) {
            return Err(Mismatch::plain());
        }
        Ok(Url(uri))
    }
}

impl Scalar for SocketAddr {
    fn kind() -> Kind {
        Kind::Text { what: "an IP address and a port to listen on, such as \"0.0.0.0:1880\"", pattern: "^.+:[0-9]+$" }
    }

    fn parse(raw: Raw<'_>) -> Result<Self, Mismatch> {
        let Raw::Text(text) = raw else {
            return Err(Mismatch::plain());
        };
        text.parse().map_err(|_| match text.rsplit_once(':') {
            Some(("localhost", port)) => Mismatch::help(format!("names can't be listened on: \"127.0.0.1:{port}\"")),
            Some(("", port)) => Mismatch::help(format!("for every address of the machine: \"0.0.0.0:{port}\"")),
            _ => Mismatch::plain(),
        })
    }
}

impl Scalar for Network {
    fn kind() -> Kind {
        Kind::Text {
            what: "a network such as \"10.0.0.0/8\", or one IP address",
            pattern: "^[0-9a-fA-F:.]+(/[0-9]+)?$",
        }
    }

    fn parse(raw: Raw<'_>) -> Result<Self, Mismatch> {
        let Raw::Text(text) = raw else {
            return Err(Mismatch::plain());
        };
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| Mismatch::plain())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse().ok().filter(|prefix| *prefix <= bits).ok_or_else(Mismatch::plain)?,
            None => bits,
        };
        Ok(Network { address, prefix })
    }
}

/// A name that a TLS client asks for, in lower case: whole, or with `*` for its first label, or `*` for any.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sni(String);

impl Sni {
    /// The name as the data path takes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Sni {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl Scalar for Sni {
    fn kind() -> Kind {
        Kind::Text { what: "a host name such as \"line-1.example\", \"*.example\" or \"*\"", pattern: "^.+$" }
    }

    fn parse(raw: Raw<'_>) -> Result<Self, Mismatch> {
        let Raw::Text(text) = raw else { return Err(Mismatch::plain()) };
        let host = text.strip_prefix("*.").unwrap_or(text).trim_end_matches('.');
        if text != "*" && (!is_host(host) || host.parse::<IpAddr>().is_ok()) {
            return Err(Mismatch::plain());
        }
        Ok(Sni(text.trim_end_matches('.').to_ascii_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_may_have_names_or_addresses() {
        for text in ["10.0.0.11:1880", "node-red-0.node-red:1880", "[::1]:1880", "a_b.local.:1"] {
            assert!(HostPort::parse(Raw::Text(text)).is_ok(), "{text}");
        }
        for text in ["10.0.0.11", ":1880", "a:0", "a:70000", "http://a:1", "::1:1880", "a b:1", "-a:1"] {
            assert!(HostPort::parse(Raw::Text(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn a_network_has_a_prefix_that_fits_its_address() {
        for text in ["10.1.0.0/16", "0.0.0.0/0", "10.0.0.1", "2001:db8::/32"] {
            assert!(Network::parse(Raw::Text(text)).is_ok(), "{text}");
        }
        for text in ["10.0.0.0/33", "10.0.0/8", "10.0.0.0/", "::/129", "localhost"] {
            assert!(Network::parse(Raw::Text(text)).is_err(), "{text}");
        }
    }
}
