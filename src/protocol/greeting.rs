//! The greeting: what both sides send first. Its layout never changes, whatever becomes of the protocol.
//!
//! | bytes | content |
//! |---|---|
//! | 0–7 | magic: `ipcd`, 0, `ctl` |
//! | 8–9 | protocol version, little endian |
//! | 10–15 | zero when sent, ignored when received |

/// Length of a greeting in bytes.
pub const GREETING_LEN: usize = 16;

/// The version of the messages that follow the greeting, and of the proof on data channels. Any change of a layout is a new
/// version.
pub const PROTOCOL_VERSION: u16 = 3;

const MAGIC: &[u8; 8] = b"ipcd\0ctl";

/// One side's greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Greeting {
    /// The protocol version that the sender speaks.
    pub version: u16,
}

/// Why a greeting is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GreetingError {
    /// The peer is something else.
    #[error("the peer is not ipcd: it sent {}", show(.0))]
    NotIpcd(Vec<u8>),
    /// The peer is an ipcd of another version.
    #[error("the peer speaks protocol version {theirs}, this program speaks version {ours}")]
    Version {
        /// This program's version.
        ours: u16,
        /// The peer's version.
        theirs: u16,
    },
}

impl Greeting {
    /// This program's greeting.
    pub const OURS: Self = Self { version: PROTOCOL_VERSION };

    /// The bytes to send.
    #[must_use]
    pub fn to_bytes(self) -> [u8; GREETING_LEN] {
        let mut bytes = [0; GREETING_LEN];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&self.version.to_le_bytes());
        bytes
    }

    /// Whether `bytes`, the start of what a peer sent, may still become a greeting.
    #[must_use]
    pub fn may_start_with(bytes: &[u8]) -> bool {
        let n = bytes.len().min(MAGIC.len());
        bytes[..n] == MAGIC[..n]
    }

    /// Reads a peer's greeting.
    ///
    /// # Errors
    /// [`GreetingError::NotIpcd`] if the magic is wrong.
    pub fn from_bytes(bytes: &[u8; GREETING_LEN]) -> Result<Self, GreetingError> {
        if !Self::may_start_with(bytes) {
            return Err(GreetingError::NotIpcd(bytes.to_vec()));
        }
        Ok(Self { version: u16::from_le_bytes([bytes[8], bytes[9]]) })
    }

    /// Whether a peer with this greeting can be talked to.
    ///
    /// # Errors
    /// [`GreetingError::Version`] if it speaks another version.
    pub fn accept(self) -> Result<(), GreetingError> {
        if self.version == PROTOCOL_VERSION {
            Ok(())
        } else {
            Err(GreetingError::Version { ours: PROTOCOL_VERSION, theirs: self.version })
        }
    }
}

fn show(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_never_changes() {
        assert_eq!(&Greeting { version: 0x0201 }.to_bytes(), b"ipcd\0ctl\x01\x02\0\0\0\0\0\0");
    }

    #[test]
    fn reserved_bytes_are_ignored() {
        let mut bytes = Greeting::OURS.to_bytes();
        bytes[10..].fill(0xff);
        assert_eq!(Greeting::from_bytes(&bytes), Ok(Greeting::OURS));
    }

    #[test]
    fn another_version_names_both() {
        let error = Greeting { version: 7 }.accept().unwrap_err().to_string();
        assert!(
            error.contains("version 7") && error.contains(&format!("version {PROTOCOL_VERSION}")),
            "{error}"
        );
    }

    #[test]
    fn garbage_is_shown() {
        let error = Greeting::from_bytes(b"HTTP/1.1 400 Bad").unwrap_err().to_string();
        assert!(error.contains("HTTP/1.1"), "{error}");
    }
}
