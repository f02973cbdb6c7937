//! TLS in every place that has it, with real programs on the other side: Node-RED, openssl, curl, the launcher.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use hotspare_test_support::address::LoopbackBlock;
use hotspare_test_support::authority::Authority;
use hotspare_test_support::environment::hotspare;
use hotspare_test_support::fault;
use hotspare_test_support::flows::WHO;
use hotspare_test_support::http;
use hotspare_test_support::pair::{PATIENCE, Pair, Setup};
use hotspare_test_support::process::Process;
use hotspare_test_support::site::{SOON, Site};
use hotspare_test_support::wait::wait_until;
use serde_json::Value;

/// What `curl` gets over https: the body, or what it says of the failure.
fn curl(authority: &Authority, addr: SocketAddr, path: &str) -> Result<String, String> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail-with-body", "--max-time", "10", "--cacert"]);
    command.arg(authority.file("ca.crt"));
    command.args(["--resolve", &format!("line-1.example:{}:{}", addr.port(), addr.ip())]);
    command.arg(format!("https://line-1.example:{}{path}", addr.port()));
    text(command.output().unwrap())
}

fn text(output: Output) -> Result<String, String> {
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(said(&output.stdout)) } else { Err(said(&output.stderr) + &said(&output.stdout)) }
}

/// An instance of two plain members, which needn't be there.
fn plain_instance(block: &LoopbackBlock) -> String {
    let [front, a, b] = [1, 2, 3].map(|host| block.socket(host, 1880));
    format!(
        "[[instance]]\nname = \"line-1\"\nlisten = \"{front}\"\n\
         [[instance.member]]\nname = \"a\"\naddress = \"{a}\"\nlauncher = {{ kind = \"none\" }}\n\
         [[instance.member]]\nname = \"b\"\naddress = \"{b}\"\nlauncher = {{ kind = \"none\" }}\n"
    )
}

fn start_proxy(file: &Path, config: &str) -> Process {
    fs::write(file, config).unwrap();
    let mut command = Command::new(hotspare());
    command.arg("run").arg("--config").arg(file);
    Process::start("the proxy", command)
}

#[test]
fn a_pair_that_speaks_tls_everywhere_fails_over_and_keeps_its_flows_in_step() {
    let mut pair = Setup { tls: true, ..Setup::default() }.start();
    let before = pair.wait_until_steady();
    let who = |pair: &Pair| {
        let body = curl(pair.authority(), pair.https(), WHO).unwrap();
        let who: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
        who["member"].as_str().unwrap().to_owned()
    };
    assert_eq!(who(&pair), before.member);
    // The launchers compare flows over the link between them: it takes their certificates.
    wait_until(PATIENCE, "the spare to have the active's flows", || {
        let status = pair.status()?;
        if status["in_sync"] == true { Ok(()) } else { Err(status.to_string()) }
    });
    // Its undertaker hands in the receipt, over TLS too.
    let launcher = pair.launcher(&before.member).pid();
    fault::kill(launcher);
    let after = pair.wait_for_takeover(&before);
    assert_eq!(after.member, pair.other(&before.member).name);
    assert_eq!(who(&pair), after.member);
    let events = pair.get("/v1/events?last=200").send().unwrap().body;
    assert!(!events.contains("PRIVATE KEY"), "{events}");
}

/// A site whose second listener ends TLS and whose admin listener speaks https.
fn site() -> (Site, Authority, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path());
    authority.sign("line-1", &["line-1.example"]);
    let file = |name: &str| authority.file(name).display().to_string();
    let more = format!(
        "[[instance.listener]]\nname = \"tls\"\nlisten = \"PROXY:8883\"\n\
         tls = [{{ cert_file = \"{}\", key_file = \"{}\" }}]\n",
        file("line-1.crt"),
        file("line-1.key"),
    );
    (Site::start(&more), authority, folder)
}

fn openssl(addr: SocketAddr, more: &[&str]) -> (bool, String) {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &addr.to_string(), "-servername", "line-1.example"]).args(more);
    let output = command.stdin(Stdio::null()).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
fn old_protocols_are_refused_and_a_new_certificate_is_taken_over() {
    let (site, authority, _folder) = site();
    let addr = site.proxy(8883);
    let ca = authority.file("ca.crt").display().to_string();
    for version in ["-tls1_2", "-tls1_3"] {
        let (shaken, said) = openssl(addr, &[version, "-CAfile", &ca, "-verify_return_error"]);
        assert!(shaken, "{version}: {said}");
    }
    let (_, said) = openssl(addr, &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]);
    assert!(said.contains(" alert ") && said.contains("no peer certificate available"), "{said}");
    let alarm = |words: &str| {
        wait_until(SOON, words, || {
            let events = site.says(&["events"]);
            if events.contains(words) { Ok(()) } else { Err(events) }
        });
    };
    let subject = || openssl(addr, &["-CAfile", &ca, "-verify_return_error"]);
    fs::write(authority.file("line-1.crt"), "no certificate").unwrap();
    alarm("certificates were read again and not taken");
    assert!(subject().0, "the one before is still shown: {}", subject().1);
    authority.sign("line-1", &["line-1.example", "second.example"]);
    wait_until(SOON, "the new certificate", || {
        let (_, said) = openssl(addr, &["-CAfile", &ca, "-verify_hostname", "second.example", "-verify_return_error"]);
        if said.contains("Verify return code: 0") { Ok(()) } else { Err(said) }
    });
    assert!(site.metrics().contains("reason=\"bad_handshake\""), "{}", site.metrics());
}

#[test]
fn roles_come_from_certificates_or_tokens_over_https() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path());
    let block = LoopbackBlock::take();
    let (admin, ip) = (block.socket(1, 9480), block.ip(1).to_string());
    authority.sign("admin", &[&ip]);
    authority.sign("leader", &["leader@plant.example"]);
    authority.sign("stranger", &["stranger@plant.example"]);
    let config = folder.path().join("hotspare.toml");
    let written = format!(
        "[admin]\nlisten = \"{admin}\"\n\
         tls = {{ cert_file = \"admin.crt\", key_file = \"admin.key\", client_ca_file = \"ca.crt\" }}\n\
         client = [{{ name = \"leader@plant.example\", role = \"operate\" }}]\n\
         [store]\ndir = \"store\"\n{}",
        plain_instance(&block)
    );
    let _proxy = start_proxy(&config, &written);
    let hotspare = |who: Option<&str>, arguments: &[&str]| {
        let mut command = Command::new(hotspare());
        command.args(arguments).args(["--admin", &format!("https://{admin}")]).env_remove("HOTSPARE_ADMIN_TOKEN");
        command.arg("--ca-file").arg(authority.file("ca.crt"));
        if let Some(who) = who {
            command.arg("--cert-file").arg(authority.file(&format!("{who}.crt")));
            command.arg("--key-file").arg(authority.file(&format!("{who}.key")));
        }
        text(command.stdin(Stdio::null()).output().unwrap())
    };
    let status = wait_until(SOON, "an answer", || hotspare(Some("leader"), &["status", "--json"]));
    assert!(serde_json::from_str::<Value>(&status).is_ok(), "{status}");
    assert!(hotspare(None, &["status"]).unwrap_err().contains("refused"), "somebody without a certificate");
    assert!(hotspare(Some("stranger"), &["status"]).unwrap_err().contains("refused"), "a certificate that has no role");
    let fence = hotspare(Some("leader"), &["fence", "line-1", "--member", "a", "--yes"]);
    assert!(fence.as_ref().is_err_and(|said| said.contains("role")), "{fence:?}");
    let paused = hotspare(Some("leader"), &["pause", "line-1", "--reason", "test"]);
    assert!(paused.is_ok(), "{paused:?}");
    // What is not TLS gets no answer.
    let plain = http::get(admin, "/livez").send();
    assert!(plain.is_err(), "{plain:?}");
}

#[test]
fn a_proxy_leads_by_an_etcd_that_asks_for_its_certificate_and_says_why_it_does_not_yet() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new(&folder.path().join("ours"));
    let theirs = Authority::new(&folder.path().join("theirs"));
    let block = LoopbackBlock::take();
    let (etcd, peers, admin) = (block.socket(4, 2379), block.socket(4, 2380), block.socket(1, 9480));
    ours.sign("etcd", &[&etcd.ip().to_string()]);
    ours.sign("proxy", &[]);
    let mut command = Command::new("etcd");
    for (option, value) in [
        ("name", "n0".to_owned()),
        ("data-dir", folder.path().join("etcd").display().to_string()),
        ("listen-client-urls", format!("https://{etcd}")),
        ("advertise-client-urls", format!("https://{etcd}")),
        ("listen-peer-urls", format!("http://{peers}")),
        ("initial-advertise-peer-urls", format!("http://{peers}")),
        ("initial-cluster", format!("n0=http://{peers}")),
        ("cert-file", ours.file("etcd.crt").display().to_string()),
        ("key-file", ours.file("etcd.key").display().to_string()),
        ("trusted-ca-file", ours.file("ca.crt").display().to_string()),
        ("client-cert-auth", "true".to_owned()),
    ] {
        command.arg(format!("--{option}={value}"));
    }
    let _etcd = Process::start("etcd", command);
    // What keeps the proxy away is told once: it must be the certificate.
    wait_until(SOON, "etcd to listen", || std::net::TcpStream::connect(etcd));
    let trusted = folder.path().join("trusted.crt");
    fs::copy(theirs.file("ca.crt"), &trusted).unwrap();
    let config = folder.path().join("hotspare.toml");
    let written = format!(
        "[admin]\nlisten = \"{admin}\"\n[store]\ndir = \"store\"\nkind = \"etcd\"\n\
         [store.etcd]\nendpoints = [\"https://{etcd}\"]\nca_file = {trusted:?}\n\
         cert_file = \"ours/proxy.crt\"\nkey_file = \"ours/proxy.key\"\n{}",
        plain_instance(&block)
    );
    let _proxy = start_proxy(&config, &written);
    let says = |path: &str, wanted: &str| {
        wait_until(SOON, wanted, || {
            let said = http::get(admin, path).send().map_err(|error| error.to_string())?.body;
            if said.contains(wanted) { Ok(()) } else { Err(said) }
        });
    };
    says("/v1/events", "the store does not answer (etcd: invalid peer certificate");
    // Made good under the running proxy.
    fs::copy(ours.file("ca.crt"), &trusted).unwrap();
    says("/v1/events", "the store answers again");
    says("/status", "\"leader\":true");
}
