//! Connections that live in a runtime, with TLS or without, as one type.

use std::io;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::keeper::{Client, Server};

/// Longest time for a handshake as a server.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);

/// What a connection can do.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection, with TLS or without.
pub type Stream = Box<dyn Io>;

/// The server's end of a connection; with `tls` once its handshake is done. Also the certificate that the client has
/// shown, verified, if it has shown one.
///
/// # Errors
/// A handshake that failed or took too long.
pub async fn accept(stream: TcpStream, tls: Option<&Server>) -> io::Result<(Stream, Option<CertificateDer<'static>>)> {
    let Some(tls) = tls else { return Ok((Box::new(stream), None)) };
    let shaking = TlsAcceptor::from(tls.load_full()).accept(stream);
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no TLS handshake in time");
    let stream = tokio::time::timeout(HANDSHAKE_WITHIN, shaking).await.map_err(late)??;
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let shown = shown.map(|certificate| certificate.clone().into_owned());
    Ok((Box::new(stream), shown))
}

/// What a server must show.
#[derive(Debug, Clone)]
pub struct Expected {
    /// What its certificate is verified with, and what we show if it asks.
    pub client: Client,
    /// The name or address that its certificate must be good for; none: the host that was asked.
    pub name: Option<String>,
}

/// The client's end: with TLS if something is expected of the server. `host` is the name or the address that was
/// asked, an IPv6 address with or without brackets. The caller sees to the time it may take.
///
/// # Errors
/// A handshake that failed, a name that is none.
pub async fn connect(stream: TcpStream, tls: Option<&Expected>, host: &str) -> io::Result<Stream> {
    let Some(tls) = tls else { return Ok(Box::new(stream)) };
    let connector = TlsConnector::from(tls.client.load_full());
    let name = server_name(tls.name.as_deref().unwrap_or(host))?;
    Ok(Box::new(connector.connect(name, stream).await?))
}

/// The name that a server's certificate must be good for.
///
/// # Errors
/// If it is neither a name nor an address.
pub fn server_name(host: &str) -> io::Result<ServerName<'static>> {
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    ServerName::try_from(bare).map_err(|_| io::Error::other(format!("'{host}' is neither a name nor an address")))
}
