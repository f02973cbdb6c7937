//! The editor's websocket goes through the proxy: it is served by the active, is ended with it, and comes back at the
//! next one.

#![allow(clippy::unwrap_used)]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use hotspare_test_support::fault;
use hotspare_test_support::pair::{PATIENCE, Setup};
use hotspare_test_support::wait::wait_until;

/// Node-RED says `hb` on `/comms` every 15 s if there is nothing else to say.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// An open websocket to `/comms`, as the editor has one (RFC 6455; the key is the RFC's example).
struct Comms(TcpStream);

impl Comms {
    fn open(at: SocketAddr) -> Result<Self, String> {
        let mut stream = TcpStream::connect(at).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(HEARTBEAT)).unwrap();
        let request = format!(
            "GET /comms HTTP/1.1\r\nHost: {at}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).map_err(|error| format!("{error} after {head:?}"))?;
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        if head.starts_with("HTTP/1.1 101") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") {
            Ok(Comms(stream))
        } else {
            Err(head)
        }
    }

    /// The text of the next frame.
    fn next(&mut self) -> io::Result<String> {
        let mut head = [0; 2];
        self.0.read_exact(&mut head)?;
        let length = match head[1] & 0x7f {
            126 => {
                let mut long = [0; 2];
                self.0.read_exact(&mut long)?;
                usize::from(u16::from_be_bytes(long))
            }
            short => usize::from(short),
        };
        let mut text = vec![0; length];
        self.0.read_exact(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

#[test]
fn comms_goes_through_is_ended_with_its_active_and_comes_back() {
    let pair = Setup::default().start();
    let before = pair.wait_until_steady();
    let mut comms = Comms::open(pair.front()).unwrap();
    let first = comms.next().unwrap();
    assert!(first.contains("topic"), "{first}");

    fault::kill(pair.node_red_pid(&before.member));
    pair.wait_for_takeover(&before);
    let end = wait_until(PATIENCE, "the end of the old connection", || match comms.next() {
        Ok(frame) => Err(frame),
        Err(error) => Ok(error),
    });
    assert!(matches!(end.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset), "{end}");

    let mut again = wait_until(PATIENCE, "the websocket at the new active", || Comms::open(pair.front()));
    let first = again.next().unwrap();
    assert!(first.contains("topic"), "{first}");
}
