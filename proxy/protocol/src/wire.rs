//! One JSON text frame a message.

use hotspare_decide::message::{Down, Up};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Largest frame either side accepts, in bytes. A status with every field at its longest stays below 4 KiB; flows
/// and logs travel by HTTP, not here.
pub const MAX_MESSAGE_BYTES: usize = 64 << 10;

/// Why a frame was not taken.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Larger than [`MAX_MESSAGE_BYTES`].
    #[error("a message of {0} bytes; {MAX_MESSAGE_BYTES} is the most")]
    TooLarge(usize),
    /// Not a message of this protocol.
    #[error("not a message: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// What the controller reads from a launcher.
///
/// # Errors
/// [`DecodeError`]; the link is then closed with the reason.
pub fn decode_up(text: &str) -> Result<Up, DecodeError> {
    decode(text)
}

/// What a launcher reads from a controller.
///
/// # Errors
/// [`DecodeError`]; the link is then closed with the reason.
pub fn decode_down(text: &str) -> Result<Down, DecodeError> {
    decode(text)
}

/// The frame for a controller.
pub fn encode_up(message: &Up) -> String {
    encode(message)
}

/// The frame for a launcher.
pub fn encode_down(message: &Down) -> String {
    encode(message)
}

fn decode<T: DeserializeOwned>(text: &str) -> Result<T, DecodeError> {
    if text.len() > MAX_MESSAGE_BYTES {
        return Err(DecodeError::TooLarge(text.len()));
    }
    Ok(serde_json::from_str(text)?)
}

fn encode<T: Serialize>(message: &T) -> String {
    serde_json::to_string(message).expect("a message holds nothing that JSON cannot express")
}
