//! Hooks from outside: signed, tried again, and one whose receiver hangs delays neither a decision nor another hook.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use hotspare_test_support::fault::Signal;
use hotspare_test_support::site::{SOON, Site};
use hotspare_test_support::wait::wait_until;
use serde_json::Value;
use sha2::Sha256;

const SECRET: &str = "what-the-receiver-knows";

/// One POST: the signature it carried, and its body.
type Told = (String, Vec<u8>);

/// Takes POSTs: refuses the first, agrees to all others, and hands over each.
fn receiver() -> (u16, Receiver<Told>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for (n, stream) in listener.incoming().flatten().enumerate() {
            let Some(post) = read(&stream) else { continue };
            let status = if n == 0 { "500 No" } else { "200 OK" };
            let _ = write!(&stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            if tell.send(post).is_err() {
                return;
            }
        }
    });
    (port, told)
}

fn read(stream: &TcpStream) -> Option<Told> {
    let mut reader = BufReader::new(stream);
    let (mut length, mut signature) = (0, String::new());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else {
            if line.trim().is_empty() { break } else { continue }
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "x-hotspare-signature" => signature = value.trim().to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((signature, body))
}

fn signed(body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length");
    mac.update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

#[test]
fn a_receiver_that_hangs_delays_nothing_and_a_refusal_is_tried_again() {
    let hanging = TcpListener::bind("127.0.0.1:0").expect("a port");
    let hangs_on = hanging.local_addr().expect("an address");
    let (port, told) = receiver();
    let mut site = Site::start("");
    let secret = site.folder().join("hook.secret");
    fs::write(&secret, SECRET)
        .and_then(|()| fs::set_permissions(&secret, Permissions::from_mode(0o600)))
        .expect("a file");
    let config = site.folder().join("hotspare.toml");
    let mut text = fs::read_to_string(&config).expect("the configuration");
    text.push_str(&format!(
        "[[hook]]\nname = \"hangs\"\nurl = \"http://{hangs_on}/\"\ntimeout = \"60s\"\n\
         [[hook]]\nname = \"sleeps\"\ncommand = [\"sleep\", \"60\"]\ntimeout = \"60s\"\n\
         [[hook]]\nname = \"signed\"\non = [\"switchover\"]\nurl = \"http://127.0.0.1:{port}/told\"\n\
         secret_file = \"hook.secret\"\nretries = 2\n"
    ));
    fs::write(&config, text).expect("the configuration");
    // Hooks are read at the start only.
    site.restart_proxy();

    // The hanging receiver has been asked and has not answered: from then on its hook is stuck.
    site.says(&["pause", "line-1", "--reason", "something to be told of"]);
    site.says(&["resume", "line-1"]);
    hanging.set_nonblocking(true).expect("a listener that can be looked at");
    let _stuck =
        wait_until(SOON, "a connection of the hook that hangs", || hanging.accept().map_err(|e| e.to_string()));
    let before = site.active();
    for reason in ["first", "second"] {
        site.says(&["switchover", "line-1", "--reason", reason]);
    }
    assert_eq!(site.active(), before, "two switchovers");

    // The first try was refused: the same event comes again, signed as before, and then the other one.
    let next = || told.recv_timeout(Duration::from_secs(60)).expect("a POST");
    let (refused, again, second) = (next(), next(), next());
    assert_eq!(refused, again);
    for (signature, body) in [&again, &second] {
        assert_eq!(*signature, signed(body), "the signature is not that of the body");
    }
    let id = |told: &Told| serde_json::from_slice::<Value>(&told.1).expect("JSON")["id"].as_u64();
    assert!(id(&again) < id(&second), "{again:?}, then {second:?}");
    assert!(told.try_recv().is_err(), "told more often than asked for");

    // Nor do stuck hooks keep the proxy from ending.
    site.process().signal(Signal::INT);
    site.process().wait(SOON);
}
