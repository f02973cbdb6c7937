//! Members that are named and not numbered: one that moves to another address is followed (HAProxy's `cli_set_fqdn` and
//! stolon's members with new addresses, told anew).
#![allow(clippy::unwrap_used, reason = "a test that can't go on should stop")]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use hotspare_test_support::address::LoopbackBlock;
use hotspare_test_support::environment::hotspare;
use hotspare_test_support::process::Process;
use hotspare_test_support::site::SOON;
use hotspare_test_support::wait::wait_until;

/// Tells every client this word.
fn telling(at: SocketAddr, word: &'static str) {
    let listener = TcpListener::bind(at).unwrap();
    std::thread::spawn(move || listener.incoming().flatten().for_each(|mut to| drop(to.write_all(word.as_bytes()))));
}

#[test]
fn a_member_whose_name_gets_another_address_is_followed() {
    let block = LoopbackBlock::take();
    for (host, word) in [(2, "a, where it was"), (3, "a, where it is now"), (4, "b")] {
        telling(block.socket(host, 1880), word);
    }
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts");
    // Written in place: the proxy has this very file as its /etc/hosts, in a mount namespace of its own.
    let name = |a: u8| fs::write(&hosts, format!("{} a.test\n{} b.test\n", block.ip(a), block.ip(4))).unwrap();
    name(2);
    let config = folder.path().join("hotspare.toml");
    let text = format!(
        "[admin]\nlisten = \"{}\"\n[store]\ndir = \"store\"\n[[instance]]\nname = \"line-1\"\nlisten = \"{}\"\nprefer = \"a\"\n\
         [[instance.member]]\nname = \"a\"\naddress = \"a.test:1880\"\nlauncher = {{ kind = \"none\" }}\n\
         [[instance.member]]\nname = \"b\"\naddress = \"b.test:1880\"\nlauncher = {{ kind = \"none\" }}\n",
        block.socket(1, 9480),
        block.socket(1, 1880),
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", "mount --bind \"$1\" /etc/hosts && exec \"$2\" run --config \"$3\"", "sh"]);
    command.arg(&hosts).arg(hotspare()).arg(&config);
    let mut proxy = Process::start("the proxy", command);
    let told = |what: &str, wanted: &str, proxy: &mut Process| {
        wait_until(SOON, what, || {
            assert!(proxy.is_running(), "{}", proxy.output());
            let mut said = String::new();
            let answer = TcpStream::connect(block.socket(1, 1880)).and_then(|mut to| to.read_to_string(&mut said));
            if said == wanted { Ok(()) } else { Err(format!("{said:?} {answer:?}")) }
        });
    };
    told("a client at the member's address", "a, where it was", &mut proxy);
    name(3);
    told("a client at its new address", "a, where it is now", &mut proxy);
}
