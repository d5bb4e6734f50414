//! What is known of a value, so that nobody scans it a second time on its way: [`Proven`].

use crate::protocol::json::scanner::{Noted, Scanner};
use crate::protocol::msgpack::token_reader::{TokenError, TokenReader};
use crate::protocol::transcode::{self, MAX_VALUE_DEPTH};
use crate::protocol::{Protocol, ValueError};

/// What a decoder's scan has shown of a value beyond its being well-formed, or what is true of it by the way it was
/// built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Proven {
    /// How many containers are open at its deepest place; 255 also for more. Places differ in how deep a value may be.
    pub(crate) depth: u8,
    /// Nothing in it lacks a form in the other protocol, its depth aside. Where it is false nothing is known, and a
    /// scan decides.
    pub(crate) portable: bool,
}

impl Proven {
    /// Of null, and of any text.
    pub(crate) const SCALAR: Self = Self { depth: 0, portable: true };

    /// What is true of a value that has `levels` containers around this one, and nothing else in them.
    pub(crate) fn inside(self, levels: u8) -> Self {
        Self { depth: self.depth.saturating_add(levels), ..self }
    }

    /// What is true of two values that stand beside each other.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { depth: self.depth.max(other.depth), portable: self.portable && other.portable }
    }

    /// Whether a message can carry the value as an argument.
    pub(crate) fn check_depth(self) -> Result<(), ValueError> {
        if usize::from(self.depth) <= MAX_VALUE_DEPTH { Ok(()) } else { Err(transcode::too_deep()) }
    }

    /// Scans bytes that no decoder has seen. Fails unless they are one well-formed value.
    pub(super) fn by_scanning(protocol: Protocol, bytes: &[u8]) -> Result<Self, ValueError> {
        match protocol {
            Protocol::Json => {
                let mut scanner = Scanner::new(bytes);
                scanner.value(0)?;
                Ok(scanner.noted.into())
            }
            Protocol::MessagePack => {
                let mut reader = TokenReader::new(bytes);
                let proven = match reader.scan(usize::from(u8::MAX) - 1) {
                    Err(TokenError::Depth) => {
                        reader = TokenReader::new(bytes);
                        reader.skip_any_depth()?;
                        Self { depth: u8::MAX, portable: false }
                    }
                    scanned => scanned?.1,
                };
                if reader.at == bytes.len() { Ok(proven) } else { Err(TokenError::End.into()) }
            }
        }
    }

    /// Whether all this is true of the bytes: for assertions.
    pub(super) fn holds(self, protocol: Protocol, bytes: &[u8]) -> bool {
        let depth = Self::by_scanning(protocol, bytes).map_or(u8::MAX, |scanned| scanned.depth);
        let portable = transcode::check(bytes, protocol);
        depth == self.depth && (!self.portable || portable.is_ok() || self.check_depth() == portable)
    }
}

impl From<Noted> for Proven {
    fn from(noted: Noted) -> Self {
        Self { depth: noted.depth, portable: !noted.large_number }
    }
}
