//! The name that a TLS client asks for, read from its first bytes without answering them.
//!
//! A function of bytes: [`read`] may be asked again with more of them. It looks at the records and messages of RFC
//! 8446 (sections 4.1.2, 5.1) and RFC 6066 (section 3) as far as the name needs it, in pieces of any size, and at
//! [`MAX_BYTES`] at most. What it takes for TLS need not be a handshake that anybody completes: whoever ends the
//! connection checks the rest.

/// Most bytes that a first message may take with its framing. Browsers with post-quantum key shares send about 2 KiB.
pub const MAX_BYTES: usize = 16 << 10;
/// Longest name, as in DNS.
const MAX_NAME: usize = 253;

const HANDSHAKE_RECORD: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// What the first bytes of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hello {
    /// The beginning of a ClientHello, perhaps; more is needed.
    More,
    /// A ClientHello that asks for this name, in lower case and without a dot at its end.
    Name(String),
    /// A ClientHello that asks for no name.
    NoName,
    /// Something else, or a ClientHello that is malformed or too long.
    NotTls,
}

/// Reads the beginning of a connection.
pub fn read(bytes: &[u8]) -> Hello {
    let message = match message(bytes) {
        Ok(message) => message,
        Err(other) => return other,
    };
    match name(&message) {
        Some(Some(name)) => Hello::Name(name),
        Some(None) => Hello::NoName,
        None => Hello::NotTls,
    }
}

/// The whole ClientHello without its own header, put together from the records that carry it.
fn message(bytes: &[u8]) -> Result<Vec<u8>, Hello> {
    let short = || if bytes.len() >= MAX_BYTES { Hello::NotTls } else { Hello::More };
    let mut records = Input(bytes);
    let mut message = Vec::new();
    loop {
        if let [kind, rest @ ..] = message.as_slice() {
            if *kind != CLIENT_HELLO {
                return Err(Hello::NotTls);
            }
            if let [a, b, c, body @ ..] = rest {
                let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
                if length > MAX_BYTES {
                    return Err(Hello::NotTls);
                }
                if body.len() >= length {
                    return Ok(body[..length].to_vec());
                }
            }
        }
        // Told apart as early as possible: whoever speaks something else may wait for an answer.
        match records.0 {
            [] => return Err(short()),
            [kind, ..] if *kind != HANDSHAKE_RECORD => return Err(Hello::NotTls),
            [_, major, ..] if *major != 3 => return Err(Hello::NotTls),
            [_, _, _, high, low, rest @ ..] => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                if length == 0 || length > MAX_BYTES {
                    return Err(Hello::NotTls);
                }
                // What is there of a record that is not whole yet may tell already that it is none of ours.
                message.extend_from_slice(&rest[..length.min(rest.len())]);
                records.0 = rest.get(length..).unwrap_or(&[]);
            }
            _ => return Err(short()),
        }
    }
}

/// The name in a ClientHello; `None` when it is malformed.
fn name(hello: &[u8]) -> Option<Option<String>> {
    let mut hello = Input(hello);
    // Version and random.
    hello.take(2 + 32)?;
    let session = hello.u8()?;
    hello.take(session.into())?;
    let ciphers = hello.u16()?;
    hello.take(ciphers.into())?;
    let compressions = hello.u8()?;
    hello.take(compressions.into())?;
    if hello.0.is_empty() {
        // TLS 1.2 may come without extensions.
        return Some(None);
    }
    let length = hello.u16()?;
    let mut extensions = Input(hello.take(length.into())?);
    if !hello.0.is_empty() {
        return None;
    }
    let mut found = None;
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let length = extensions.u16()?;
        let body = extensions.take(length.into())?;
        if kind == SERVER_NAME && found.replace(host_name(body)?).is_some() {
            return None;
        }
    }
    Some(found)
}

/// The one host name of the extension.
fn host_name(extension: &[u8]) -> Option<String> {
    let mut extension = Input(extension);
    let length = extension.u16()?;
    let mut list = Input(extension.take(length.into())?);
    let kind = list.u8()?;
    let length = list.u16()?;
    let name = list.take(length.into())?;
    let name = name.strip_suffix(b".").unwrap_or(name);
    let fits = (1..=MAX_NAME).contains(&name.len()) && name.iter().all(|b| b.is_ascii_graphic());
    let alone = extension.0.is_empty() && list.0.is_empty();
    (alone && fits && kind == HOST_NAME).then(|| String::from_utf8_lossy(name).to_ascii_lowercase())
}

/// What is still to be read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }
}
