//! An authority of a test's own, and the certificates that it signs: made when the test runs, never kept.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// An authority; its certificate is `ca.crt` in its folder.
pub struct Authority {
    folder: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// A new one, that writes into `folder`.
    ///
    /// # Panics
    /// If it can't be made or written.
    pub fn new(folder: &Path) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are good names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "the authority of a test");
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        fs::create_dir_all(folder).expect("a folder");
        fs::write(folder.join("ca.crt"), issuer.pem()).expect("a file to write");
        Authority { folder: folder.to_path_buf(), issuer }
    }

    /// The file of this name in its folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes `NAME.crt` and `NAME.key`: the common name, and these alternative names (DNS names, addresses, e-mail).
    /// Replaces those that are there.
    ///
    /// # Panics
    /// If they can't be made or written.
    pub fn sign(&self, name: &str, alternative: &[&str]) {
        let names: Vec<String> = alternative.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("names that are some");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &*self.issuer).expect("a certificate");
        let secret = self.file(&format!("{name}.key"));
        fs::write(&secret, key.serialize_pem()).expect("a file to write");
        fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).expect("a mode to set");
        fs::write(self.file(&format!("{name}.crt")), certificate.pem()).expect("a file to write");
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Authority({})", self.folder.display())
    }
}
