//! The one place that knows the encoding of a frame's body: bincode, little endian, variable-length integers.
//!
//! bincode 2.0.1 is unmaintained (RUSTSEC-2025-0141): it is used here only, always under a limit, so that it can be
//! swapped.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use super::frame::MAX_BODY;
use crate::diagnostics::printable;

/// The most bytes that decoding a body makes this process hold for a moment: a list's room is reserved by its announced
/// length, up to 1 MiB and before its elements come, and an element takes more room than in a frame.
pub const MAX_DECODED: usize = 32 * MAX_BODY;

const CONFIG: Configuration<LittleEndian, Varint, Limit<MAX_BODY>> =
    bincode::config::standard().with_limit::<MAX_BODY>();

/// A frame's body that is not the message expected.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not such a message.
    #[error("a frame of {len} bytes is not a known message")]
    Body {
        /// Length of the body in bytes.
        len: usize,
        /// What the decoder found.
        source: bincode::error::DecodeError,
    },
    /// A message was found and bytes are left over.
    #[error("a frame of {len} bytes holds a message of {used} bytes")]
    Trailing {
        /// Length of the body in bytes.
        len: usize,
        /// Bytes that the message took.
        used: usize,
    },
}

/// Encodes a frame's body.
///
/// # Errors
/// The message is larger than [`MAX_BODY`]: a caller that lets a peer choose what goes into a message sees to it
/// that it is not.
pub fn encode<T: Serialize>(message: &T) -> std::io::Result<Vec<u8>> {
    let body = bincode::serde::encode_to_vec(message, CONFIG).map_err(std::io::Error::other)?;
    if body.len() > MAX_BODY {
        return Err(std::io::Error::other(format!("a message of {} bytes; {MAX_BODY} at most", body.len())));
    }
    Ok(body)
}

/// Decodes a frame's body, which must hold one message and nothing else.
///
/// # Errors
/// See [`DecodeError`]. It never holds more than [`MAX_DECODED`] bytes, whatever the body says.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, DecodeError> {
    let (message, used) = bincode::serde::decode_from_slice(body, CONFIG)
        .map_err(|source| DecodeError::Body { len: body.len(), source })?;
    if used != body.len() {
        return Err(DecodeError::Trailing { len: body.len(), used });
    }
    Ok(message)
}

/// Decodes text that a peer has chosen, with its control characters escaped: a terminal may show it.
pub(super) fn text<'de, D: Deserializer<'de>, T: Text + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    T::deserialize(from).map(Text::escaped)
}

/// What [`text`] decodes.
pub(super) trait Text {
    fn escaped(self) -> Self;
}

impl Text for String {
    fn escaped(self) -> Self {
        printable(&self, &[]).into_owned()
    }
}

impl Text for Option<String> {
    fn escaped(self) -> Self {
        self.map(Text::escaped)
    }
}

impl Text for Vec<String> {
    fn escaped(self) -> Self {
        self.into_iter().map(Text::escaped).collect()
    }
}
