//! Clients of the instances: those that only hold a connection, and those that ask who is active.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::site;

const PATIENCE: Duration = Duration::from_secs(10);
/// Between two questions of a client that waits for the other member.
const AGAIN: Duration = Duration::from_millis(1);

/// Connections that those who ask may need at once.
const LEFT: usize = 200;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Opens up to `count` connections, spread over all instances, each with one request answered. Fewer where descriptors
/// run out; then some are left to those that ask.
pub(super) fn hold(instances: usize, count: usize) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for number in 0..count {
        match ask(site::listener(number % instances), "") {
            Ok((stream, _)) => held.push(stream),
            Err(_) => {
                held.truncate(number.saturating_sub(LEFT));
                break;
            }
        }
    }
    held
}

/// Who answers.
pub(super) fn who(at: SocketAddr) -> Result<String> {
    Ok(ask(at, "Connection: close\r\n")?.1)
}

/// When somebody other than `before` answered first.
pub(super) fn until_other(at: SocketAddr, before: &str) -> std::result::Result<Instant, String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match who(at) {
            Ok(name) if name != before => return Ok(Instant::now()),
            _ if Instant::now() > deadline => return Err(format!("{at}: still {before} after {PATIENCE:?}")),
            _ => std::thread::sleep(AGAIN),
        }
    }
}

/// How long a page of the admin listener takes, in ms; the quickest of three.
pub(super) fn page_ms(admin: SocketAddr, path: &str) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let began = Instant::now();
        let mut stream = TcpStream::connect(admin)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
        let mut page = Vec::new();
        stream.read_to_end(&mut page)?;
        if !page.starts_with(b"HTTP/1.1 200") {
            return Err(format!("{path}: {}", String::from_utf8_lossy(&page[..page.len().min(200)])).into());
        }
        best = best.min(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(best)
}

fn ask(at: SocketAddr, header: &str) -> Result<(TcpStream, String)> {
    let mut stream = TcpStream::connect_timeout(&at, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET / HTTP/1.1\r\nHost: x\r\n{header}\r\n")?;
    let mut answer = Vec::new();
    let mut buffer = [0; 512];
    let end = loop {
        if let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n")
            && answer.len() > end + 4
        {
            break end + 4;
        }
        match stream.read(&mut buffer)? {
            0 => return Err(format!("{at}: an end instead of an answer").into()),
            read => answer.extend_from_slice(&buffer[..read]),
        }
    };
    Ok((stream, String::from_utf8(answer[end..].to_vec())?))
}
