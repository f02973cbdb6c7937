//! Certificates in files: what is good, what is wrong and how it is said, and what happens when they change.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hotspare_tls::stream::{Expected, accept, connect};
use hotspare_tls::{Bad, ClientFiles, Keeper, Pair, ServerFiles, names};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// An authority, and a folder for what it signs.
struct Authority {
    folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "the authority of a test");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.crt"), issuer.pem()).unwrap();
        Self { folder, issuer }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes `NAME.crt` and `NAME.key` for these alternative names.
    fn sign(&self, name: &str, alternative: &[&str]) -> Pair {
        let names: Vec<String> = alternative.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let pair = Pair { cert_file: self.path(&format!("{name}.crt")), key_file: self.path(&format!("{name}.key")) };
        fs::write(&pair.cert_file, certificate.pem()).unwrap();
        write_secret(&pair.key_file, &key.serialize_pem());
        pair
    }

    fn client(&self, pair: Option<Pair>) -> ClientFiles {
        ClientFiles { ca_file: Some(self.path("ca.crt")), pair }
    }
}

fn write_secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
}

/// One connection from a client to a server: the names that the server was shown, and those that the client was.
async fn meet(server: &ServerFiles, client: &ClientFiles, name: &str) -> Result<(Vec<String>, String), String> {
    let keeper = Keeper::default();
    let server = keeper.server(server.clone()).unwrap();
    let expected = Expected { client: keeper.client(client.clone()).unwrap(), name: Some(name.to_owned()) };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (mut stream, shown) = accept(stream, Some(&server)).await.map_err(|e| e.to_string())?;
        stream.write_all(b"served").await.map_err(|e| e.to_string())?;
        stream.shutdown().await.map_err(|e| e.to_string())?;
        Ok::<_, String>(shown.map(|shown| names(&shown)).unwrap_or_default())
    });
    let mut stream = connect(TcpStream::connect(addr).await.unwrap(), Some(&expected), "ignored")
        .await
        .map_err(|e| e.to_string())?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.map_err(|e| e.to_string())?;
    Ok((serving.await.unwrap()?, text))
}

#[tokio::test]
async fn a_server_is_verified_by_name_and_authority() {
    let (ours, others) = (Authority::new(), Authority::new());
    let server = ServerFiles::of(vec![ours.sign("proxy", &["proxy.example", "127.0.0.1"])]);
    for name in ["proxy.example", "127.0.0.1"] {
        assert_eq!(meet(&server, &ours.client(None), name).await, Ok((vec![], "served".into())));
    }
    let wrong = meet(&server, &ours.client(None), "other.example").await.unwrap_err();
    assert!(wrong.contains("not valid for name"), "{wrong}");
    let wrong = meet(&server, &others.client(None), "proxy.example").await.unwrap_err();
    assert!(wrong.contains("invalid peer certificate"), "{wrong}");
}

#[tokio::test]
async fn a_client_must_show_a_certificate_where_one_is_asked_for() {
    let (ours, others) = (Authority::new(), Authority::new());
    let mut server = ServerFiles::of(vec![ours.sign("proxy", &["proxy.example"])]);
    server.client_ca_file = Some(ours.path("ca.crt"));
    let known = ours.client(Some(ours.sign("leader", &["leader@plant.example"])));
    let names = vec!["leader".to_owned(), "leader@plant.example".to_owned()];
    assert_eq!(meet(&server, &known, "proxy.example").await, Ok((names, "served".into())));
    let unknown = ours.client(Some(others.sign("leader", &["leader@plant.example"])));
    meet(&server, &unknown, "proxy.example").await.expect_err("a certificate of another authority");
    meet(&server, &ours.client(None), "proxy.example").await.expect_err("no certificate");
    server.client_may_be_nobody = true;
    assert_eq!(meet(&server, &ours.client(None), "proxy.example").await, Ok((vec![], "served".into())));
    meet(&server, &unknown, "proxy.example")
        .await
        .expect_err("a certificate of another authority, though it need not be");
}

#[tokio::test]
async fn of_several_certificates_the_one_with_the_name_is_shown() {
    let authority = Authority::new();
    let pairs = vec![authority.sign("one", &["one.example"]), authority.sign("two", &["two.example", "*.two.example"])];
    let server = ServerFiles::of(pairs);
    for name in ["one.example", "two.example", "deep.two.example"] {
        assert!(meet(&server, &authority.client(None), name).await.is_ok(), "{name}");
    }
    let wrong = meet(&server, &authority.client(None), "three.example").await.unwrap_err();
    assert!(wrong.contains("one.example"), "the first is shown: {wrong}");
}

#[test]
fn each_bad_file_is_named_with_what_was_expected() {
    let authority = Authority::new();
    let good = authority.sign("good", &["good.example"]);
    let other = authority.sign("other", &["other.example"]);
    let file = |name: &str, text: &[u8], mode: u32| {
        let path = authority.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        path
    };
    let key = fs::read(&good.key_file).unwrap();
    let encrypted = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let two =
        [fs::read(&good.cert_file).unwrap(), b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n".to_vec()];
    let with = |cert: PathBuf, key: PathBuf| Pair { cert_file: cert, key_file: key }.load().map(drop).unwrap_err();
    let cases = [
        (with(authority.path("none.crt"), good.key_file.clone()), "cert_file", "No such file"),
        (with(file("empty.crt", b"", 0o644), good.key_file.clone()), "cert_file", "no certificate in it"),
        (with(file("der.crt", b"\x30\x82\x01", 0o644), good.key_file.clone()), "cert_file", "no certificate in it"),
        (with(file("two.crt", &two.concat(), 0o644), good.key_file.clone()), "cert_file", "base64"),
        (with(good.cert_file.clone(), other.key_file.clone()), "key_file", "the key of another certificate"),
        (with(good.cert_file.clone(), file("open.key", &key, 0o640)), "key_file", "with mode 640"),
        (with(good.cert_file.clone(), file("encrypted.key", encrypted, 0o600)), "key_file", "nothing of the kind"),
        (with(good.cert_file.clone(), good.cert_file.clone()), "key_file", "with mode"),
    ];
    for (bad, key, found) in cases {
        assert_eq!(bad.key, key, "{bad}");
        assert!(bad.found.contains(found), "{found:?} is not in: {bad}");
        assert!(bad.found.contains(authority.folder.path().to_str().unwrap()), "no file is named: {bad}");
    }
    assert!(good.load().is_ok());
}

#[test]
fn a_secret_is_in_no_message() {
    let authority = Authority::new();
    let good = authority.sign("good", &["good.example"]);
    let key = fs::read_to_string(&good.key_file).unwrap();
    let secret = key.lines().nth(1).unwrap().to_owned();
    write_secret(&good.key_file, &key.replace("-----END", "-----UND"));
    let bad = good.load().map(drop).unwrap_err();
    let said = format!("{bad} {bad:?} {:?}", ServerFiles::of(vec![good]).load().map(drop));
    assert!(!said.contains(&secret), "{said}");
}

#[tokio::test]
async fn a_change_is_taken_over_and_a_bad_one_is_not() {
    let authority = Authority::new();
    let files = ServerFiles::of(vec![authority.sign("proxy", &["old.example"])]);
    let keeper = Keeper::default();
    let server = keeper.server(files.clone()).unwrap();
    let first = server.load_full();
    assert!(keeper.look().is_empty(), "nothing has changed");

    authority.sign("proxy", &["new.example"]);
    assert!(matches!(keeper.look().as_slice(), [(_, Ok(()))]));
    let second = server.load_full();
    assert!(!std::sync::Arc::ptr_eq(&first, &second));

    fs::write(&files.pairs[0].cert_file, "half a file").unwrap();
    let changes = keeper.look();
    let [(_, Err(Bad { key: "cert_file", .. }))] = changes.as_slice() else { panic!("{changes:?}") };
    assert!(std::sync::Arc::ptr_eq(&second, &server.load_full()), "a bad file changes nothing");
    assert!(keeper.look().is_empty(), "it is said once");

    authority.sign("proxy", &["newer.example"]);
    assert!(matches!(keeper.look().as_slice(), [(_, Ok(()))]));
    drop(server);
    authority.sign("proxy", &["newest.example"]);
    assert!(keeper.look().is_empty(), "nobody uses it any more");
}
