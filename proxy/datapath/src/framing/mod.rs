//! Where HTTP/1.1 messages begin and end. No I/O, no clock: bytes in, decisions out.
//!
//! Owns: the rules by which a head is accepted and by which a body's length is known (RFC 9112). What two
//! parsers could read in two ways is refused, since the difference is what request smuggling lives on: a length
//! together with a transfer coding, two lengths, a coding that isn't exactly `chunked`, space before a colon, a
//! folded line, a bare CR or LF, a chunk size that isn't plain hex.
//!
//! Never: changes a byte, buffers (the caller keeps what is incomplete), follows an upgraded connection.
//!
//! Decisions don't depend on how the bytes were cut into reads. [`request_head`] and [`response_head`] read
//! heads; [`Body::advance`] follows a body.

mod body;
mod head;

pub use body::Body;
pub use head::{MAX_HEAD_BYTES, Method, RequestHead, ResponseHead, request_head, response_head};

/// Why a message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// A line that is no request line.
    #[error("malformed request line")]
    RequestLine,
    /// A line that is no status line.
    #[error("malformed status line")]
    StatusLine,
    /// A version other than 1.0 and 1.1.
    #[error("HTTP version not supported")]
    Version,
    /// A method this proxy cannot carry.
    #[error("method not supported")]
    Method,
    /// A malformed header line: no colon, space before it, a folded line, a character that may not be there.
    #[error("malformed header")]
    Header,
    /// A line that does not end in CR LF.
    #[error("bare CR or LF")]
    LineEnd,
    /// Lengths that contradict one another or are no numbers.
    #[error("ambiguous length")]
    Length,
    /// A transfer coding that is not exactly `chunked`, or where there can be none.
    #[error("transfer coding not supported")]
    Coding,
    /// More than one host.
    #[error("more than one host")]
    Host,
    /// More head than there is room for.
    #[error("head too large")]
    TooLarge,
    /// Malformed chunked body.
    #[error("malformed chunk")]
    Chunk,
}

impl Bad {
    /// The status that tells a client so.
    pub fn status(self) -> u16 {
        match self {
            Self::Version => 505,
            Self::Method => 501,
            Self::TooLarge => 431,
            _ => 400,
        }
    }
}
