//! From files to configurations of rustls.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::private::open_to_others;
use crate::provider;

/// Longest file that is read, in bytes. The bundle of all public authorities has a quarter of it.
const MAX_FILE: u64 = 1 << 20;

/// A certificate (its chain follows it in the file) and the key that belongs to it, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The certificate, then those between it and the authority.
    pub cert_file: PathBuf,
    /// The key, readable for its owner only.
    pub key_file: PathBuf,
}

/// What a listener needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFiles {
    /// One at least. The first whose certificate is good for the name that a client asks for is shown; without such
    /// a one, or without a name, the first of all.
    pub pairs: Vec<Pair>,
    /// Authorities of the certificates that clients show; without it none is asked for.
    pub client_ca_file: Option<PathBuf>,
    /// Whether a client without a certificate is let in too; who it is must then be told in another way.
    pub client_may_be_nobody: bool,
    /// Protocols offered inside, as ALPN names them; empty: whatever the client wants.
    pub alpn: Vec<&'static str>,
}

/// What a client needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientFiles {
    /// Authorities that the server's certificate is verified with; without it those of the system.
    pub ca_file: Option<PathBuf>,
    /// What is shown to a server that asks for a certificate.
    pub pair: Option<Pair>,
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad {
    /// The key under which the file is named: `cert_file`, `key_file`, `ca_file`, `client_ca_file`.
    pub key: &'static str,
    /// Which of several pairs, counted from 0.
    pub pair: usize,
    /// What was expected.
    pub expected: String,
    /// What was found; names the file.
    pub found: String,
    /// What helps, where that is known.
    pub help: Option<String>,
}

impl fmt::Display for Bad {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: expected {}, found {}", self.key, self.expected, self.found)
    }
}

impl std::error::Error for Bad {}

impl Bad {
    fn new(key: &'static str, expected: &str, found: impl Into<String>) -> Self {
        Self { key, pair: 0, expected: expected.to_owned(), found: found.into(), help: None }
    }
}

/// What a client's files hold, as it stands in them: for libraries that make their own configuration of it.
pub struct Pem {
    /// Authorities; none: those of the system.
    pub authorities: Option<Vec<u8>>,
    /// The certificate with those between it and its authority, and its key.
    pub pair: Option<(Vec<u8>, Vec<u8>)>,
}

impl Pair {
    /// Reads both and sees that they belong together.
    ///
    /// # Errors
    /// [`Bad`].
    pub fn load(&self) -> Result<CertifiedKey, Bad> {
        let chain = certificates("cert_file", &self.cert_file, CERT_WANTED)?;
        let text = read("key_file", &self.key_file, KEY_WANTED, true)?;
        let shown = self.key_file.display();
        let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
            let mut bad = Bad::new("key_file", KEY_WANTED, format!("{shown}: {}", words(&error)));
            let encrypted = String::from_utf8_lossy(&text).contains("ENCRYPTED");
            bad.help = encrypted.then(|| format!("take the passphrase off: openssl pkey -in {shown} -out FILE"));
            bad
        })?;
        let key = provider().key_provider.load_private_key(key).map_err(|_| {
            Bad::new(
                "key_file",
                "an RSA key of 2048 bits or more, or one of P-256, P-384 or Ed25519",
                format!("{shown}, which holds another"),
            )
        })?;
        let certified = CertifiedKey::new(chain, key);
        ParsedCertificate::try_from(&certified.cert[0]).map_err(|error| {
            Bad::new("cert_file", "a certificate that can be parsed", format!("{}: {error}", self.cert_file.display()))
        })?;
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(certified),
            Err(_) => Err(Bad::new(
                "key_file",
                "the key of the first certificate in cert_file",
                format!("{shown}, which is the key of another certificate than {}", self.cert_file.display()),
            )),
        }
    }
}

impl ServerFiles {
    /// A listener with these certificates that asks clients for none.
    pub fn of(pairs: Vec<Pair>) -> Self {
        Self { pairs, client_ca_file: None, client_may_be_nobody: false, alpn: Vec::new() }
    }

    /// Reads everything.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn load(&self) -> Result<ServerConfig, Bad> {
        let load = |(at, pair): (usize, &Pair)| pair.load().map(Arc::new).map_err(|bad| Bad { pair: at, ..bad });
        let pairs: Vec<_> = self.pairs.iter().enumerate().map(load).collect::<Result<_, _>>()?;
        let builder = ServerConfig::builder_with_provider(provider());
        let builder = builder.with_safe_default_protocol_versions().expect("ring has what the default versions need");
        let builder = match &self.client_ca_file {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let roots = Arc::new(authorities("client_ca_file", file)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
                let verifier = if self.client_may_be_nobody { verifier.allow_unauthenticated() } else { verifier };
                let unusable = |error| Bad::new("client_ca_file", CA_WANTED, format!("{}: {error}", file.display()));
                builder.with_client_cert_verifier(verifier.build().map_err(unusable)?)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(ByName(pairs)));
        // All that is spoken is good; a scanner that knows of servers only that speak worse wants an order of theirs.
        config.ignore_client_order = true;
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(config)
    }

    pub(crate) fn paths(&self) -> Vec<&Path> {
        let pairs = self.pairs.iter().flat_map(|pair| [pair.cert_file.as_path(), pair.key_file.as_path()]);
        pairs.chain(self.client_ca_file.as_deref()).collect()
    }
}

impl ClientFiles {
    /// Reads everything.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn load(&self) -> Result<ClientConfig, Bad> {
        let roots = match &self.ca_file {
            Some(file) => authorities("ca_file", file)?,
            None => system_authorities(),
        };
        let mut config = client(roots);
        if let Some(pair) = &self.pair {
            config.client_auth_cert_resolver = Arc::new(Always(Arc::new(pair.load()?)));
        }
        Ok(config)
    }

    /// Reads everything, sees that it is good, and gives it as it stands in the files.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn pem(&self) -> Result<Pem, Bad> {
        self.load()?;
        let authorities = |file: &PathBuf| read("ca_file", file, CA_WANTED, false);
        let pair = |pair: &Pair| {
            let certificate = read("cert_file", &pair.cert_file, CERT_WANTED, false)?;
            Ok((certificate, read("key_file", &pair.key_file, KEY_WANTED, true)?))
        };
        Ok(Pem {
            authorities: self.ca_file.as_ref().map(authorities).transpose()?,
            pair: self.pair.as_ref().map(pair).transpose()?,
        })
    }

    pub(crate) fn trusting_nobody() -> ClientConfig {
        client(RootCertStore::empty())
    }

    pub(crate) fn paths(&self) -> Vec<&Path> {
        let pair = self.pair.iter().flat_map(|pair| [pair.cert_file.as_path(), pair.key_file.as_path()]);
        pair.chain(self.ca_file.as_deref()).collect()
    }
}

fn client(roots: RootCertStore) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions().expect("ring has what the default versions need");
    builder.with_root_certificates(roots).with_no_client_auth()
}

/// The certificates of a listener, chosen by the name that the client asks for.
#[derive(Debug)]
struct ByName(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().filter(|_| self.0.len() > 1);
        let name = name.and_then(|name| ServerName::try_from(name).ok());
        let is_good = |pair: &&Arc<CertifiedKey>| {
            let (Some(name), Ok(cert)) = (&name, ParsedCertificate::try_from(&pair.cert[0])) else { return false };
            verify_server_name(&cert, name).is_ok()
        };
        self.0.iter().find(is_good).or(self.0.first()).cloned()
    }
}

/// A client's one certificate.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl rustls::client::ResolvesClientCert for Always {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

const CA_WANTED: &str = "certificates of authorities in PEM";
const CERT_WANTED: &str = "a certificate in PEM, followed by those between it and its authority";
const KEY_WANTED: &str = "the certificate's private key in PEM, without a passphrase";

fn authorities(key: &'static str, file: &Path) -> Result<RootCertStore, Bad> {
    let mut roots = RootCertStore::empty();
    for (number, certificate) in certificates(key, file, CA_WANTED)?.into_iter().enumerate() {
        roots.add(certificate).map_err(|error| {
            Bad::new(key, CA_WANTED, format!("{}: certificate {}: {error}", file.display(), number + 1))
        })?;
    }
    Ok(roots)
}

/// What the system trusts. Certificates that it has and that cannot be used are left out, as everyone does.
fn system_authorities() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn certificates(key: &'static str, file: &Path, wanted: &str) -> Result<Vec<CertificateDer<'static>>, Bad> {
    let text = read(key, file, wanted, false)?;
    let bad = |found: String| Bad::new(key, wanted, format!("{}: {found}", file.display()));
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let line = || line_of(&text, found.len());
        found.push(
            certificate.map_err(|error| bad(format!("{} (certificate from line {} on)", words(&error), line())))?,
        );
    }
    if found.is_empty() {
        let mut bad = bad("no certificate in it".to_owned());
        let der = !text.starts_with(b"-") && text.first() == Some(&0x30);
        bad.help = der.then(|| "it looks like DER; make PEM of it: openssl x509 -inform der -in FILE".to_owned());
        return Err(bad);
    }
    Ok(found)
}

/// The line on which the certificate after `count` others begins.
fn line_of(text: &[u8], count: usize) -> usize {
    let lines = text.split(|byte| *byte == b'\n').enumerate();
    lines.filter(|(_, line)| line.starts_with(b"-----BEGIN")).nth(count).map_or(1, |(at, _)| at + 1)
}

fn read(key: &'static str, path: &Path, wanted: &str, secret: bool) -> Result<Vec<u8>, Bad> {
    let shown = path.display();
    let failed = |error: std::io::Error| Bad::new(key, wanted, format!("{shown}: {error}"));
    let file = File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err(Bad::new(key, wanted, format!("{shown}, which is no file")));
    }
    if let Some(mode) = open_to_others(&meta).filter(|_| secret) {
        let mut bad = Bad::new(key, "a file that only its owner can read", format!("{shown} with mode {mode:03o}"));
        bad.help = Some(format!("chmod 600 {shown}"));
        return Err(bad);
    }
    let mut text = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut text).map_err(failed)?;
    Ok(text)
}

/// What the parser says, without what it was given: that may be a key.
fn words(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "the line -----END ...----- is missing",
        pem::Error::IllegalSectionStart { .. } => "a line -----BEGIN ...----- is malformed",
        pem::Error::Base64Decode(_) => "what stands between BEGIN and END is not base64",
        pem::Error::NoItemsFound => "nothing of the kind in it",
        _ => "not PEM",
    }
}
