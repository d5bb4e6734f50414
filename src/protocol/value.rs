//! One value of an argument list, a result or a stream item: raw bytes and the protocol they are in.
//!
//! A value is never taken apart on its way from one client to others of the same protocol. It is converted once,
//! when a receiver of the other protocol needs it (see [`super::transcode`]), and read into a Rust type only when a
//! hub written in Rust asks for one.
//!
//! Nor is it scanned again on that way: what the first scan has shown is kept with it ([`Proven`]).
//!
//! `serde_json` and `rmp-serde` convert between values and Rust types. Scanning, checking and transcoding raw values
//! is ours, because both crates would build a tree of every value that only passes through.

mod proven;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::json::scanner::{Scanner, ValueKind};
use super::json::strings;
use super::msgpack::token_reader::{Token, TokenReader};
use super::{Protocol, transcode};
pub(crate) use proven::Proven;

/// One well-formed value in the encoding of one protocol.
///
/// Invariant: `bytes` holds exactly one value, and every string in it, names of members included, is Unicode text:
/// UTF-8 in both protocols, and in JSON without escapes of lone surrogates. So JSON is valid UTF-8 as a whole and may
/// go to any client in a text frame, and no string fails to convert. The codecs and the constructors see to it.
///
/// Equality is that of bytes and protocol: `1` and `1.0`, or `1` in JSON and in MessagePack, are different.
#[derive(Clone)]
pub struct RawValue {
    protocol: Protocol,
    bytes: Bytes,
    proven: Proven,
    /// The bytes in the other protocol, where they were made beforehand.
    converted: Option<Arc<Bytes>>,
}

impl PartialEq for RawValue {
    fn eq(&self, other: &Self) -> bool {
        self.protocol == other.protocol && self.bytes == other.bytes
    }
}

impl Eq for RawValue {}

/// A value that has no form in a protocol, or not the form that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ValueError(pub String);

// === making one ===

impl RawValue {
    /// Wraps bytes for which the caller guarantees the invariant above, and what it says is proven: a codec that has
    /// scanned them, or code that has built them from checked values.
    pub(crate) fn from_proven(protocol: Protocol, bytes: Bytes, proven: Proven) -> Self {
        debug_assert!(is_text(protocol, &bytes), "a value with a string that is not Unicode text");
        debug_assert!(proven.holds(protocol, &bytes), "a value of which something else is true than is proven");
        Self { protocol, bytes, proven, converted: None }
    }

    /// Wraps bytes for which the caller guarantees the invariant above, and scans them for the rest.
    pub(crate) fn from_checked(protocol: Protocol, bytes: Bytes) -> Self {
        let unknown = Proven { depth: u8::MAX, portable: false };
        let proven = Proven::by_scanning(protocol, &bytes).unwrap_or(unknown);
        Self::from_proven(protocol, bytes, proven)
    }

    /// Null.
    pub fn null() -> Self {
        Self::from_proven(Protocol::Json, Bytes::from_static(b"null"), Proven::SCALAR)
    }

    /// A text, as JSON with the reference's escapes.
    pub fn text(text: &str) -> Self {
        let mut bytes = Vec::new();
        strings::write_string(&mut bytes, text);
        Self::from_proven(Protocol::Json, bytes.into(), Proven::SCALAR)
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
        let proven = Proven::by_scanning(Protocol::MessagePack, &bytes)
            .map_err(|_| ValueError("the type writes another number of elements than it says".to_owned()))?;
        Ok(Self::from_proven(Protocol::MessagePack, bytes.into(), proven))
    }

    /// The same value, converted to the other protocol now instead of for each message that carries it. One that has no
    /// form there stays as it is, and is refused where it is sent.
    pub(crate) fn with_both_forms(self) -> Self {
        let converted = transcode::transcode(&self.bytes, self.protocol).ok().map(|bytes| Arc::new(bytes.into()));
        Self { converted, ..self }
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
        if let Some(bytes) = self.ready(protocol) {
            return Ok(bytes.clone());
        }
        transcode::transcode(&self.bytes, self.protocol).map(Bytes::from)
    }

    /// Appends the bytes in `protocol`. After an error `out` may hold a part of them.
    pub(crate) fn append(&self, protocol: Protocol, out: &mut Vec<u8>) -> Result<(), ValueError> {
        if let Some(bytes) = self.ready(protocol) {
            out.extend_from_slice(bytes);
            return Ok(());
        }
        transcode::append(&self.bytes, self.protocol, out)
    }

    /// The bytes in `protocol`, where nothing must be converted.
    fn ready(&self, protocol: Protocol) -> Option<&Bytes> {
        if self.protocol == protocol { Some(&self.bytes) } else { self.converted.as_deref() }
    }

    /// What is known of it without reading it again.
    pub(crate) fn proven(&self) -> Proven {
        self.proven
    }

    /// Whether it has a form in both protocols (docs/design.md#7, "Values"). Where that is not known already, a scan
    /// that converts nothing finds it out.
    pub fn check_portable(&self) -> Result<(), ValueError> {
        if self.proven.portable { self.check_depth() } else { transcode::check(&self.bytes, self.protocol) }
    }

    /// Whether it is nested no deeper than what a message may carry, in whichever protocol. What a client sent as an
    /// argument is; what is built around it may not be.
    pub fn check_depth(&self) -> Result<(), ValueError> {
        self.proven.check_depth()
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
