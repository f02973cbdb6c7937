//! Heads of requests and responses: checked strictly, read for what frames the message, nothing else.

use super::{Bad, Body};
use memchr::{memchr, memchr3};

/// Largest head, request or response, including its final empty line. Node's own limit for requests is 16 KiB.
pub const MAX_HEAD_BYTES: usize = 32 << 10;

/// What has to be known of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET` or `OPTIONS`: may be repeated.
    Repeatable,
    /// `HEAD`: may be repeated; its response has no body.
    Head,
    /// Any other.
    Other,
}

/// What a request's head says about framing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// Bytes of the head, final empty line included.
    pub length: usize,
    /// The method.
    pub method: Method,
    /// What follows the head.
    pub body: Body,
    /// The client wants the connection kept.
    pub keep_alive: bool,
    /// The client asks to leave HTTP.
    pub upgrade: bool,
}

/// What a response's head says about framing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// Bytes of the head, final empty line included.
    pub length: usize,
    /// The status.
    pub status: u16,
    /// What follows the head.
    pub body: Body,
    /// The member keeps the connection.
    pub keep_alive: bool,
    /// For how many seconds at least, if it says so.
    pub keep_for: Option<u32>,
}

impl ResponseHead {
    /// Whether another head follows (1xx other than 101).
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }
}

/// Reads a request's head from the beginning of `bytes`; none while it is incomplete. Empty lines before the
/// request line are allowed and counted in.
///
/// # Errors
/// [`Bad`] as soon as the head can no longer be accepted, whatever follows.
pub fn request_head(bytes: &[u8]) -> Result<Option<RequestHead>, Bad> {
    let mut skipped = 0;
    while bytes[skipped..].starts_with(b"\r\n") {
        skipped += 2;
    }
    let Some(mut lines) = Lines::of(bytes, skipped)? else { return Ok(None) };
    let line = lines.next_line();
    let mut words = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Bad::RequestLine);
    };
    if method.is_empty() || !method.iter().all(|&byte| is_token(byte)) || target.is_empty() {
        return Err(Bad::RequestLine);
    }
    if target.iter().any(|&byte| byte <= b' ' || byte == 0x7f) {
        return Err(Bad::RequestLine);
    }
    let minor = version_minor(version, Bad::RequestLine)?;
    let method = match method {
        b"GET" | b"OPTIONS" => Method::Repeatable,
        b"HEAD" => Method::Head,
        b"CONNECT" => return Err(Bad::Method),
        _ => Method::Other,
    };
    let fields = Fields::read(&mut lines)?;
    if fields.hosts > 1 {
        return Err(Bad::Host);
    }
    let body = match (fields.coding, fields.content_length) {
        (Coding::None, None) => Body::none(),
        (Coding::None, Some(length)) => Body::length(length),
        (Coding::Chunked, None) if minor == 1 => Body::chunked(),
        (Coding::Chunked, Some(_)) => return Err(Bad::Length),
        (Coding::Chunked | Coding::ChunkedLast | Coding::Other, _) => return Err(Bad::Coding),
    };
    Ok(Some(RequestHead {
        length: lines.end,
        method,
        body,
        keep_alive: fields.keep_alive(minor),
        upgrade: fields.upgrade && fields.connection_upgrade,
    }))
}

/// Reads a response's head from the beginning of `bytes`; none while it is incomplete. `to` is the method of the
/// request that it answers.
///
/// # Errors
/// [`Bad`] as soon as the head can no longer be accepted, whatever follows.
pub fn response_head(bytes: &[u8], to: Method) -> Result<Option<ResponseHead>, Bad> {
    let Some(mut lines) = Lines::of(bytes, 0)? else { return Ok(None) };
    let line = lines.next_line();
    let (version, rest) = line.split_at_checked(8).ok_or(Bad::StatusLine)?;
    let minor = version_minor(version, Bad::StatusLine)?;
    let status = match rest {
        [b' ', digits @ ..] if digits.len() == 3 || digits.get(3) == Some(&b' ') => &digits[..3],
        _ => return Err(Bad::StatusLine),
    };
    if !status.iter().all(u8::is_ascii_digit) || status[0] == b'0' {
        return Err(Bad::StatusLine);
    }
    let status = status.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
    let fields = Fields::read(&mut lines)?;
    let bodyless = to == Method::Head || status < 200 || status == 204 || status == 304;
    let body = match (fields.coding, fields.content_length) {
        _ if bodyless => Body::none(),
        (Coding::None, None) => Body::until_close(),
        (Coding::None, Some(length)) => Body::length(length),
        (Coding::Chunked | Coding::ChunkedLast, None) if minor == 1 => Body::chunked(),
        (Coding::Chunked | Coding::ChunkedLast, Some(_)) => return Err(Bad::Length),
        _ => return Err(Bad::Coding),
    };
    let keep_alive = fields.keep_alive(minor) && body != Body::until_close();
    Ok(Some(ResponseHead { length: lines.end, status, body, keep_alive, keep_for: fields.keep_for }))
}

/// The lines of a complete head, without their ends.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Just after the final empty line.
    end: usize,
}

impl<'a> Lines<'a> {
    /// None while the final empty line is not there.
    fn of(bytes: &'a [u8], from: usize) -> Result<Option<Self>, Bad> {
        let seen = &bytes[..bytes.len().min(MAX_HEAD_BYTES)];
        let mut start = from;
        // Each line ends at its first CR, NUL or LF, and only a CR with a LF behind it is a right end.
        while let Some(length) = memchr3(b'\r', b'\n', 0, &seen[start..]) {
            let at = start + length;
            match (seen[at], seen.get(at + 1)) {
                (b'\r', Some(b'\n')) if length == 0 => return Ok(Some(Self { bytes, at: from, end: at + 2 })),
                (b'\r', Some(b'\n')) => start = at + 2,
                (b'\r', None) => break,
                (0, _) => return Err(Bad::Header),
                _ => return Err(Bad::LineEnd),
            }
        }
        if bytes.len() >= MAX_HEAD_BYTES { Err(Bad::TooLarge) } else { Ok(None) }
    }

    /// The next line; empty at the end.
    fn next_line(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.at..self.end];
        let length = memchr(b'\r', rest).unwrap_or(rest.len());
        self.at = (self.at + length + 2).min(self.end);
        &rest[..length]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    None,
    /// Exactly `chunked`.
    Chunked,
    /// Others, and `chunked` last.
    ChunkedLast,
    /// Anything else.
    Other,
}

/// What the header lines say about framing.
struct Fields {
    content_length: Option<u64>,
    coding: Coding,
    close: bool,
    keep: bool,
    keep_for: Option<u32>,
    connection_upgrade: bool,
    upgrade: bool,
    hosts: u32,
}

impl Fields {
    fn read(lines: &mut Lines<'_>) -> Result<Self, Bad> {
        let mut fields = Self {
            content_length: None,
            coding: Coding::None,
            close: false,
            keep: false,
            keep_for: None,
            connection_upgrade: false,
            upgrade: false,
            hosts: 0,
        };
        loop {
            let line = lines.next_line();
            if line.is_empty() {
                return Ok(fields);
            }
            let colon = line.iter().position(|&byte| !is_token(byte)).unwrap_or(0);
            // A folded line and a space before the colon fail here: neither begins with a token and a colon.
            if colon == 0 || line[colon] != b':' {
                return Err(Bad::Header);
            }
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            // Without an early end, so that many bytes are looked at in one go.
            let is_bad = |byte: u8| (byte < b' ') & (byte != b'\t') | (byte == 0x7f);
            if value.iter().fold(false, |bad, &byte| bad | is_bad(byte)) {
                return Err(Bad::Header);
            }
            fields.note(name, value)?;
        }
    }

    fn note(&mut self, name: &[u8], value: &[u8]) -> Result<(), Bad> {
        let is = |wanted: &[u8]| name.eq_ignore_ascii_case(wanted);
        // Few names have these lengths; the others are not looked at twice.
        match name.len() {
            4 if is(b"host") => self.hosts += 1,
            7 if is(b"upgrade") => self.upgrade = true,
            10 if is(b"connection") => {
                for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep |= option.eq_ignore_ascii_case(b"keep-alive");
                    self.connection_upgrade |= option.eq_ignore_ascii_case(b"upgrade");
                }
            }
            10 if is(b"keep-alive") => self.keep_for = timeout(value),
            // Even two equal ones: somebody else may join them to a list.
            14 if is(b"content-length") && self.content_length.is_some() => return Err(Bad::Length),
            14 if is(b"content-length") => self.content_length = Some(decimal(value).ok_or(Bad::Length)?),
            17 if is(b"transfer-encoding") => {
                self.coding = if self.coding == Coding::None { coding(value) } else { Coding::Other };
            }
            _ => {}
        }
        Ok(())
    }

    fn keep_alive(&self, minor: u8) -> bool {
        !self.close && (minor == 1 || self.keep)
    }
}

/// N of `timeout=N`, one of the parameters of a Keep-Alive field.
fn timeout(value: &[u8]) -> Option<u32> {
    let parameters = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    let seconds = parameters.filter_map(|parameter| parameter.strip_prefix(b"timeout=")).next()?;
    u32::try_from(decimal(seconds)?).ok()
}

fn coding(value: &[u8]) -> Coding {
    let is_chunked = |coding: &[u8]| coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
    if is_chunked(value) {
        return Coding::Chunked;
    }
    let count = value.split(|&byte| byte == b',').filter(|coding| is_chunked(coding)).count();
    let last = value.rsplit(|&byte| byte == b',').next().is_some_and(is_chunked);
    if count == 1 && last { Coding::ChunkedLast } else { Coding::Other }
}

fn decimal(value: &[u8]) -> Option<u64> {
    let plain = !value.is_empty() && value.len() <= 18 && value.iter().all(u8::is_ascii_digit);
    plain.then(|| value.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

fn version_minor(version: &[u8], otherwise: Bad) -> Result<u8, Bad> {
    match version {
        b"HTTP/1.1" => Ok(1),
        b"HTTP/1.0" => Ok(0),
        [b'H', b'T', b'T', b'P', b'/', digits @ ..] if digits.first().is_some_and(u8::is_ascii_digit) => {
            Err(Bad::Version)
        }
        _ => Err(otherwise),
    }
}

/// Characters of a token (RFC 9110, 5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let marks = b"!#$%&'*+-.^_`|~";
    let mut at = 0;
    while at < marks.len() {
        table[marks[at] as usize] = true;
        at += 1;
    }
    table
};
