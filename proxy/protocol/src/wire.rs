//! One JSON text frame a message.

use hotspare_decide::message::{Down, Heartbeat, Up};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Largest frame either side accepts, in bytes. A status with every field at its longest stays below 4 KiB; flows
/// and logs travel by HTTP, not here.
pub const MAX_MESSAGE_BYTES: usize = 64 << 10;

/// How a heartbeat begins as [`encode_up`] writes it.
const HEARTBEAT: &str = r#"{"type":"heartbeat","#;

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
    // Nearly all are heartbeats. One is read in a single pass once it is known to be one; any message at all takes two.
    if text.starts_with(HEARTBEAT)
        && text.len() <= MAX_MESSAGE_BYTES
        && let Ok(beat) = serde_json::from_str::<Heartbeat>(text)
    {
        return Ok(Up::Heartbeat(beat));
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use hotspare_decide::message::MemberStatus;

    #[test]
    fn a_heartbeat_is_read_alike_however_its_fields_are_ordered() {
        let beat = Up::Heartbeat(Heartbeat { seq: 7, echo: Some(6), status: MemberStatus::default() });
        let text = encode_up(&beat);
        assert!(text.starts_with(HEARTBEAT), "{text}");
        let other = format!("{{{},\"type\":\"heartbeat\"}}", &text[HEARTBEAT.len()..text.len() - 1]);
        for text in [text, other] {
            assert_eq!(decode_up(&text).ok(), Some(beat.clone()), "{text}");
        }
        assert!(decode_up(r#"{"type":"heartbeat","seq":"x"}"#).is_err());
    }
}
