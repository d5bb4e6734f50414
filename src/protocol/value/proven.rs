//! [`Proven`]: what is known about a value, so that it need not be scanned again when it is passed on.

use crate::protocol::json::scanner::{Noted, Scanner};
use crate::protocol::msgpack::token_reader::{ReadError, TokenReader};
use crate::protocol::transcode::{self, MAX_VALUE_DEPTH};
use crate::protocol::{Protocol, ValueError};

/// What is known about a well-formed value, from a decoder's scan or from the way it was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Proven {
    /// The nesting depth of the value; 255 means 255 or more. How deep a value may be depends on where it is used.
    pub(crate) depth: u8,
    /// If true, everything in the value can be represented in the other protocol, apart from its depth. If false, this
    /// is not known, and the value must be scanned.
    pub(crate) portable: bool,
}

impl Proven {
    /// What is known about null and about any string.
    pub(crate) const SCALAR: Self = Self { depth: 0, portable: true };

    /// What is known about a value that consists of this one inside `levels` containers.
    pub(crate) fn inside(self, levels: u8) -> Self {
        Self { depth: self.depth.saturating_add(levels), ..self }
    }

    /// What is known about a sequence of two values.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { depth: self.depth.max(other.depth), portable: self.portable && other.portable }
    }

    /// Checks that the value is not nested too deeply for an argument of a message.
    pub(crate) fn check_depth(self) -> Result<(), ValueError> {
        if usize::from(self.depth) <= MAX_VALUE_DEPTH { Ok(()) } else { Err(transcode::too_deep()) }
    }

    /// Scans bytes that no decoder has scanned. Fails unless they are exactly one well-formed value.
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
                    Err(ReadError::Depth) => {
                        reader = TokenReader::new(bytes);
                        reader.skip_any_depth()?;
                        Self { depth: u8::MAX, portable: false }
                    }
                    scanned => scanned?.1,
                };
                if reader.at == bytes.len() { Ok(proven) } else { Err(ReadError::End.into()) }
            }
        }
    }

    /// Whether all of this is true for the bytes; used in assertions.
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
