//! A small HTTP/1.1 client that hides nothing: one request on a connection of its own, every error as it came.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Answers longer than this are refused.
const MAX_ANSWER: u64 = 8 << 20;

/// An answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers as sent, without the status line.
    pub head: String,
    /// The body, decoded if it came in chunks.
    pub body: String,
}

impl Response {
    /// The body as JSON, `Null` if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }
}

/// A request under construction.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    to: SocketAddr,
    method: &'a str,
    path: &'a str,
    token: Option<&'a str>,
    header: Option<(&'a str, &'a str)>,
    body: Option<String>,
    timeout: Duration,
}

/// GET of a path.
pub fn get(to: SocketAddr, path: &str) -> Request<'_> {
    Request { to, method: "GET", path, token: None, header: None, body: None, timeout: Duration::from_secs(5) }
}

/// POST of a JSON body.
pub fn post<'a>(to: SocketAddr, path: &'a str, body: &Value) -> Request<'a> {
    Request { method: "POST", body: Some(body.to_string()), ..get(to, path) }
}

impl<'a> Request<'a> {
    /// Sends `Authorization: Bearer`.
    pub fn token(self, token: &'a str) -> Self {
        Request { token: Some(token), ..self }
    }

    /// Sends one more header.
    pub fn header(self, name: &'a str, value: &'a str) -> Self {
        Request { header: Some((name, value)), ..self }
    }

    /// The time for the whole exchange.
    pub fn within(self, timeout: Duration) -> Self {
        Request { timeout, ..self }
    }

    /// Connects, sends, and reads until the answer is complete.
    ///
    /// # Errors
    /// Any error of the socket, `TimedOut`, `UnexpectedEof` for an answer that was cut off, `InvalidData` for one that
    /// isn't HTTP.
    pub fn send(&self) -> io::Result<Response> {
        let deadline = Instant::now() + self.timeout;
        let mut stream = TcpStream::connect_timeout(&self.to, self.timeout)?;
        stream.set_nodelay(true)?;
        let body = self.body.as_deref().unwrap_or_default();
        let mut text = format!("{} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.method, self.path, self.to);
        if let Some(token) = self.token {
            text.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        if let Some((name, value)) = self.header {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.body.is_some() {
            text.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        text.push_str(body);
        stream.set_write_timeout(Some(self.timeout))?;
        stream.write_all(text.as_bytes())?;
        parse(&read_to_end(&mut stream, deadline)?)
    }
}

/// Uploads a file as a browser's form does, in the field `field`.
///
/// # Errors
/// As for [`Request::send`].
pub fn upload(
    to: SocketAddr,
    path: &str,
    field: &str,
    file: &str,
    bytes: &[u8],
    within: Duration,
) -> io::Result<Response> {
    const BOUNDARY: &str = "the-boundary-of-this-test";
    let name = file.rsplit('/').next().unwrap_or(file);
    let mut body = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{name}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(bytes);
    body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
    let mut stream = TcpStream::connect_timeout(&to, within)?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\
         Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.set_write_timeout(Some(within))?;
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body)?;
    parse(&read_to_end(&mut stream, Instant::now() + within)?)
}

fn read_to_end(stream: &mut TcpStream, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    let mut chunk = [0; 16 << 10];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("no end after {} bytes", answer.len())));
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(answer),
            Ok(count) => answer.extend_from_slice(&chunk[..count]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
        if answer.len() as u64 > MAX_ANSWER {
            return Err(invalid("answer too long"));
        }
    }
}

fn parse(answer: &[u8]) -> io::Result<Response> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(|| cut_off(answer.len()))?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let (first, head) = head.split_once("\r\n").unwrap_or((&head, ""));
    let status = first.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(|| invalid(first))?;
    let body = &answer[end + 4..];
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let body = if header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        unchunk(body)?
    } else {
        let length = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(body.len());
        body.get(..length).ok_or_else(|| cut_off(answer.len()))?.to_vec()
    };
    Ok(Response { status, head: head.to_owned(), body: String::from_utf8_lossy(&body).into_owned() })
}

fn unchunk(mut rest: &[u8]) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n").ok_or_else(|| cut_off(body.len()))?;
        let size = std::str::from_utf8(&rest[..line]).ok().and_then(|size| usize::from_str_radix(size.trim(), 16).ok());
        let size = size.ok_or_else(|| invalid("size of a chunk"))?;
        if size == 0 {
            return Ok(body);
        }
        let chunk = rest.get(line + 2..line + 2 + size).ok_or_else(|| cut_off(body.len()))?;
        body.extend_from_slice(chunk);
        rest = rest.get(line + 2 + size + 2..).ok_or_else(|| cut_off(body.len()))?;
    }
}

fn cut_off(seen: usize) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, format!("answer cut off after {seen} bytes"))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP: {what}"))
}
