//! One value of an argument list, a result or a stream item: raw bytes and the protocol they are in.
//!
//! A value is never taken apart on its way from one client to others of the same protocol. It is converted once,
//! when a receiver of the other protocol needs it (see [`super::transcode`]), and read into a Rust type only when a
//! hub written in Rust asks for one.
//!
//! `serde_json` and `rmp-serde` convert between values and Rust types. Scanning, checking and transcoding raw values
//! is ours, because both crates would build a tree of every value that only passes through.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::json::scanner::{Scanner, ValueKind};
use super::json::strings;
use super::msgpack::token_reader::{Token, TokenReader};
use super::transcode::MAX_VALUE_DEPTH;
use super::{MAX_DEPTH, Protocol, transcode};

/// One well-formed value in the encoding of one protocol.
///
/// Invariant: `bytes` holds exactly one value, and every string in it, names of members included, is Unicode text:
/// UTF-8 in both protocols, and in JSON without escapes of lone surrogates. So JSON is valid UTF-8 as a whole and may
/// go to any client in a text frame, and no string fails to convert. The codecs and the constructors see to it.
///
/// Equality is that of bytes and protocol: `1` and `1.0`, or `1` in JSON and in MessagePack, are different.
#[derive(Clone, PartialEq, Eq)]
pub struct RawValue {
    protocol: Protocol,
    bytes: Bytes,
}

/// A value that has no form in a protocol, or not the form that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ValueError(pub String);

// === making one ===

impl RawValue {
    /// Wraps bytes for which the caller guarantees the invariant above: a codec that has scanned them, or code that has
    /// built them from checked values.
    pub(crate) fn from_checked(protocol: Protocol, bytes: Bytes) -> Self {
        debug_assert!(is_text(protocol, &bytes), "a value with a string that is not Unicode text");
        Self { protocol, bytes }
    }

    /// Null.
    pub fn null() -> Self {
        Self { protocol: Protocol::Json, bytes: Bytes::from_static(b"null") }
    }

    /// A text, as JSON with the reference's escapes.
    pub fn text(text: &str) -> Self {
        let mut bytes = Vec::new();
        strings::write_string(&mut bytes, text);
        Self { protocol: Protocol::Json, bytes: bytes.into() }
    }

    /// Any Rust value. It is kept as MessagePack, the richer of the two: bytes stay bytes, integers keep their width.
    /// Structs become maps with their fields' names, enums as serde has them by default (a unit variant its name).
    ///
    /// Fails for what serde cannot write, such as a map without a known length, and for a type whose `Serialize` writes
    /// more or fewer elements than it said. That a value has no form in JSON is found later, by
    /// [`Self::check_portable`].
    pub fn new<T: Serialize + ?Sized>(value: &T) -> Result<Self, ValueError> {
        let bytes = rmp_serde::to_vec_named(value).map_err(|error| ValueError(error.to_string()))?;
        // Text is text: serde takes a `str`. But counts are what the type's own code says.
        let mut reader = TokenReader::new(&bytes);
        if reader.skip_any_depth().is_err() || reader.at != bytes.len() {
            return Err(ValueError("the type writes another number of elements than it says".to_owned()));
        }
        Ok(Self::from_checked(Protocol::MessagePack, bytes.into()))
    }
}

// === reading it ===

impl RawValue {
    /// The encoding of [`Self::bytes`].
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The raw bytes, exactly one value, without framing.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Reads it as a Rust type. Fails when it is none of that type, with serde's reason.
    pub fn to<T: DeserializeOwned>(&self) -> Result<T, ValueError> {
        match self.protocol {
            Protocol::Json => serde_json::from_slice(&self.bytes).map_err(|error| ValueError(error.to_string())),
            Protocol::MessagePack => rmp_serde::from_slice(&self.bytes).map_err(|error| ValueError(error.to_string())),
        }
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        match self.protocol {
            Protocol::Json => self.bytes[..] == *b"null",
            Protocol::MessagePack => self.bytes[..] == [0xc0],
        }
    }

    /// The text, if it is a string.
    pub fn as_text(&self) -> Option<Cow<'_, str>> {
        match self.protocol {
            Protocol::Json => {
                let mut scanner = Scanner::new(&self.bytes);
                if scanner.kind().ok()? != ValueKind::String {
                    return None;
                }
                strings::unescape(scanner.string().ok()?).ok()
            }
            Protocol::MessagePack => match TokenReader::new(&self.bytes).token().ok()? {
                Token::Str(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
                _ => None,
            },
        }
    }

    /// How it is inserted in a text: null is empty, strings are as they are, numbers as written, booleans `true` and
    /// `false`, objects and arrays JSON, binary base64 (docs/design.md#3). Fails when it has no such form.
    pub fn display_text(&self) -> Result<String, ValueError> {
        if self.is_null() {
            return Ok(String::new());
        }
        if let Some(text) = self.as_text() {
            return Ok(text.into_owned());
        }
        let json = self.encoded(Protocol::Json)?;
        let mut scanner = Scanner::new(&json);
        if scanner.kind()? == ValueKind::String {
            return Ok(strings::unescape(scanner.string()?)?.into_owned());
        }
        String::from_utf8(json.into()).map_err(|_| strings::TextError::Utf8.into())
    }

    /// The bytes in `protocol`: as they are, or converted by the rules of docs/design.md#7, "Values".
    pub fn encoded(&self, protocol: Protocol) -> Result<Bytes, ValueError> {
        if self.protocol == protocol {
            return Ok(self.bytes.clone());
        }
        transcode::transcode(&self.bytes, self.protocol).map(Bytes::from)
    }

    /// Appends the bytes in `protocol`. After an error `out` may hold a part of them.
    pub(super) fn append(&self, protocol: Protocol, out: &mut Vec<u8>) -> Result<(), ValueError> {
        if self.protocol == protocol {
            out.extend_from_slice(&self.bytes);
            return Ok(());
        }
        transcode::append(&self.bytes, self.protocol, out)
    }

    /// Whether it has a form in both protocols, found by a scan that converts nothing (docs/design.md#7, "Values").
    pub fn check_portable(&self) -> Result<(), ValueError> {
        transcode::check(&self.bytes, self.protocol)
    }
}

impl RawValue {
    /// Whether it is nested no deeper than what a message may carry, in whichever protocol. What a client sent is;
    /// what is built around it may not be.
    pub fn check_depth(&self) -> Result<(), ValueError> {
        let fits = match self.protocol {
            Protocol::Json => Scanner::new(&self.bytes).value(MAX_DEPTH - MAX_VALUE_DEPTH).is_ok(),
            Protocol::MessagePack => TokenReader::new(&self.bytes).skip(MAX_VALUE_DEPTH).is_ok(),
        };
        if fits { Ok(()) } else { Err(transcode::too_deep()) }
    }
}

/// Whether every string is Unicode text.
fn is_text(protocol: Protocol, bytes: &[u8]) -> bool {
    match protocol {
        Protocol::Json => strings::check(bytes).is_ok(),
        Protocol::MessagePack => TokenReader::new(bytes).skip_any_depth_text() == Ok(true),
    }
}

impl fmt::Debug for RawValue {
    /// Never the content: payloads do not reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} value of {} bytes", self.protocol.name(), self.bytes.len())
    }
}

#[cfg(test)]
mod tests;
