//! Health checks against servers that misbehave: the cases of Envoy's corpus and of HAProxy's tests, told anew. Each ends
//! with the spare counted out, and each is forgiven once it answers well again.
#![allow(clippy::unwrap_used, reason = "a test that can't go on should stop")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;

use hotspare_test_support::site::{SOON, Site};
use hotspare_test_support::wait::wait_until;

/// What the spare does with a check.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// Sends this, then closes.
    Says(&'static str),
    /// Closes at once.
    Closes,
    /// Takes the request and never answers.
    KeepsSilent,
    /// Sends a byte of a good answer now and then.
    Trickles,
}

const GOOD: &str = "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";

static SPARE: Mutex<Option<(String, Way)>> = Mutex::new(None);

fn serve(name: &str, stream: TcpStream) {
    let way =
        SPARE.lock().unwrap().as_ref().filter(|(spare, _)| spare == name).map_or(Way::Says(GOOD), |(_, way)| *way);
    if matches!(way, Way::Closes) {
        return;
    }
    let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
    if lines.by_ref().all(|line| !line.is_empty()) {
        return;
    }
    let mut to = &stream;
    match way {
        Way::Says(text) => drop(to.write_all(text.as_bytes())),
        // Until the check has lost its patience.
        Way::KeepsSilent => drop(to.read(&mut [0])),
        Way::Trickles => {
            for byte in GOOD.bytes() {
                std::thread::sleep(std::time::Duration::from_millis(50));
                if to.write_all(&[byte]).is_err() {
                    return;
                }
            }
        }
        Way::Closes => {}
    }
}

#[test]
fn a_spare_that_answers_checks_badly_is_counted_out_until_it_answers_well() {
    let site = Site::serving("[[instance.health.check]]\nkind = \"http\"\npath = \"/health\"\n", serve);
    let active = site.active();
    let spare = if active == "a" { "b" } else { "a" };
    let becomes = |ready: bool, when: &str| {
        wait_until(SOON, &format!("ready to be {ready}: {when}"), || {
            let status = site.json(&["status", "line-1", "--json"])?;
            let member = status["members"].as_array().unwrap().iter().find(|member| member["name"] == spare).unwrap();
            if member["ready"] == ready { Ok(()) } else { Err(member.to_string()) }
        });
    };
    let set = |way| *SPARE.lock().unwrap() = Some((spare.to_owned(), way));
    for (case, way) in [
        ("closes at once", Way::Closes),
        ("never answers", Way::KeepsSilent),
        ("answers a byte at a time, past the timeout", Way::Trickles),
        ("closes without an answer", Way::Says("")),
        ("a status below 100", Way::Says("HTTP/1.1 99 x\r\ncontent-length: 0\r\n\r\n")),
        ("a status of 600", Way::Says("HTTP/1.1 600 x\r\ncontent-length: 0\r\n\r\n")),
        ("a status that is no number", Way::Says("HTTP/1.1 2OO OK\r\ncontent-length: 0\r\n\r\n")),
        ("a status of 503", Way::Says("HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n")),
        ("a status of 404", Way::Says("HTTP/1.1 404 x\r\ncontent-length: 0\r\n\r\n")),
        ("an answer that is cut off", Way::Says("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")),
        ("only an interim answer", Way::Says("HTTP/1.1 100 Continue\r\n\r\n")),
        ("another protocol", Way::Says("SSH-2.0-OpenSSH_9.2\r\n")),
    ] {
        set(way);
        becomes(false, case);
        set(Way::Says(GOOD));
        becomes(true, &format!("well again after: {case}"));
    }
    assert_eq!(site.active(), active, "a bad spare moved the active");
}
