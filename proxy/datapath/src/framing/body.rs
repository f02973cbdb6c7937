//! Bodies: how much of what comes belongs to the message.

use super::Bad;
use super::head::is_token;

/// Longest line of a chunk's size with its extensions, and most bytes of trailers.
const MAX_SIZE_LINE: u16 = 256;
const MAX_TRAILERS: u16 = 8 << 10;

/// What is still to come of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body(State);

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes; none left means the body is over.
    Length(u64),
    /// In a line with the size of the next chunk.
    Size {
        size: u64,
        digits: u8,
        part: SizePart,
        line: u16,
    },
    /// In a chunk's bytes.
    Data(u64),
    /// Before the CR and before the LF after a chunk's bytes.
    DataCr,
    DataLf,
    /// In the trailers after the last chunk: bytes so far, and what the line is like.
    Trailer {
        bytes: u16,
        line: TrailerLine,
    },
    /// Everything up to the end of the connection.
    UntilClose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SizePart {
    Digits,
    Extension,
    Lf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TrailerLine {
    /// At its first byte.
    Start,
    /// In its name, its value.
    Name,
    Value,
    /// After its CR, after the CR of the final empty line.
    Lf,
    FinalLf,
}

impl Body {
    /// No body.
    pub fn none() -> Self {
        Self::length(0)
    }

    /// So many bytes.
    pub fn length(bytes: u64) -> Self {
        Self(State::Length(bytes))
    }

    /// Chunks.
    pub fn chunked() -> Self {
        Self(FIRST_SIZE)
    }

    /// Everything that comes.
    pub fn until_close() -> Self {
        Self(State::UntilClose)
    }

    /// Whether the body is over.
    pub fn is_over(&self) -> bool {
        self.0 == State::Length(0)
    }

    /// How many bytes may pass without being looked at; none if each must be.
    pub fn opaque(&mut self) -> Option<&mut u64> {
        match &mut self.0 {
            State::Length(left) => Some(left),
            _ => None,
        }
    }

    /// Whether the end of the connection is the end of the body.
    pub fn ends_with_connection(&self) -> bool {
        self.0 == State::UntilClose
    }

    /// Follows the body through `bytes`; returns how many of them belong to it. Fewer than there are only when
    /// the body is over.
    ///
    /// # Errors
    /// [`Bad::Chunk`], [`Bad::LineEnd`], [`Bad::Header`], [`Bad::TooLarge`] for a malformed chunked body.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<usize, Bad> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = (bytes.len() - at) as u64;
            match &mut self.0 {
                State::Length(0) => break,
                State::UntilClose => at = bytes.len(),
                State::Length(left) | State::Data(left) => {
                    let step = rest.min(*left);
                    *left -= step;
                    at += step as usize;
                    if self.0 == State::Data(0) {
                        self.0 = State::DataCr;
                    }
                }
                _ => {
                    self.take(bytes[at])?;
                    at += 1;
                }
            }
        }
        Ok(at)
    }

    /// One byte of a chunked body's own framing.
    fn take(&mut self, byte: u8) -> Result<(), Bad> {
        self.0 = match (&self.0, byte) {
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => FIRST_SIZE,
            (&State::Size { size, digits, part, line }, _) => size_byte(byte, size, digits, part, line)?,
            (&State::Trailer { bytes, line }, _) => trailer_byte(byte, bytes, line)?,
            _ => return Err(Bad::Chunk),
        };
        Ok(())
    }
}

const FIRST_SIZE: State = State::Size { size: 0, digits: 0, part: SizePart::Digits, line: 0 };

fn size_byte(byte: u8, size: u64, digits: u8, part: SizePart, line: u16) -> Result<State, Bad> {
    let line = line + 1;
    if line > MAX_SIZE_LINE {
        return Err(Bad::TooLarge);
    }
    match (part, byte) {
        (SizePart::Digits, _) if byte.is_ascii_hexdigit() => {
            // 15 digits: far more than anyone sends, far less than overflows.
            let value = (byte as char).to_digit(16).map_or(0, u64::from);
            let (size, digits) = (size * 16 + value, digits + 1);
            if digits > 15 { Err(Bad::Chunk) } else { Ok(State::Size { size, digits, part, line }) }
        }
        (SizePart::Digits, b';') if digits > 0 => Ok(State::Size { size, digits, part: SizePart::Extension, line }),
        (SizePart::Digits, b'\r') if digits > 0 => Ok(State::Size { size, digits, part: SizePart::Lf, line }),
        (SizePart::Extension, b'\r') => Ok(State::Size { size, digits, part: SizePart::Lf, line }),
        (SizePart::Extension, b'\t' | b' '..=b'~' | 0x80..) => Ok(State::Size { size, digits, part, line }),
        (SizePart::Lf, b'\n') if size == 0 => Ok(State::Trailer { bytes: 0, line: TrailerLine::Start }),
        (SizePart::Lf, b'\n') => Ok(State::Data(size)),
        (SizePart::Lf, _) | (_, b'\n') => Err(Bad::LineEnd),
        _ => Err(Bad::Chunk),
    }
}

fn trailer_byte(byte: u8, bytes: u16, line: TrailerLine) -> Result<State, Bad> {
    use TrailerLine::{FinalLf, Lf, Name, Start, Value};
    let bytes = bytes + 1;
    if bytes > MAX_TRAILERS {
        return Err(Bad::TooLarge);
    }
    let line = match (line, byte) {
        (Start, b'\r') => FinalLf,
        (FinalLf, b'\n') => return Ok(State::Length(0)),
        (Start | Name, _) if is_token(byte) => Name,
        (Name, b':') => Value,
        (Value, b'\r') => Lf,
        (Value, b'\t' | b' '..=b'~' | 0x80..) => Value,
        (Lf, b'\n') => Start,
        (Lf | FinalLf, _) | (_, b'\n') => return Err(Bad::LineEnd),
        _ => return Err(Bad::Header),
    };
    Ok(State::Trailer { bytes, line })
}
