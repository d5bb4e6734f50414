//! [`RawValue`]: one argument, result or stream item as encoded bytes, with the protocol of the encoding.
//!
//! A value is passed on from one client to others with the same protocol without being decoded. It is converted once if
//! a receiver uses the other protocol (see [`super::transcode`]), and deserialized only if a hub written in Rust asks
//! for a Rust type. It is scanned only once, by its decoder: the results of the scan are kept with it ([`Proven`]).
//!
//! `serde_json` and `rmp-serde` convert between values and Rust types. Scanning, checking and transcoding raw values is
//! our own code, because both crates would build a tree of every value that is only passed on.

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
/// Invariant: `bytes` contains exactly one value, and every string in it, including the names of members, is Unicode
/// text: UTF-8 in both protocols, and in JSON without escapes of lone surrogates. Therefore JSON values are valid UTF-8
/// and can be sent to any client in a text frame, and every string can be converted. The codecs and the constructors
/// ensure this.
///
/// Equality compares the bytes and the protocol: `1` and `1.0`, or `1` in JSON and in MessagePack, are different.
#[derive(Clone)]
pub struct RawValue {
    protocol: Protocol,
    bytes: Bytes,
    proven: Proven,
    /// The value in the other protocol, if it has been converted beforehand.
    converted: Option<Arc<Bytes>>,
}

impl PartialEq for RawValue {
    fn eq(&self, other: &Self) -> bool {
        self.protocol == other.protocol && self.bytes == other.bytes
    }
}

impl Eq for RawValue {}

/// A value that cannot be represented in a protocol, or does not have the requested type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ValueError(pub(crate) String);

impl ValueError {
    /// An error with this text, for an [`crate::hub::Argument`] or [`crate::hub::IntoValue`] of a host.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

// === constructors ===

impl RawValue {
    /// Wraps bytes for which the caller guarantees the invariant and the facts in `proven`: a codec that has scanned
    /// them, or code that has built them from checked values.
    pub(crate) fn from_proven(protocol: Protocol, bytes: Bytes, proven: Proven) -> Self {
        debug_assert!(is_text(protocol, &bytes), "a value with a string that is not Unicode text");
        debug_assert!(proven.holds(protocol, &bytes), "a value that does not have its proven properties");
        Self { protocol, bytes, proven, converted: None }
    }

    /// Wraps bytes for which the caller guarantees the invariant, and scans them for everything else.
    pub(crate) fn from_checked(protocol: Protocol, bytes: Bytes) -> Self {
        let unknown = Proven { depth: u8::MAX, portable: false };
        let proven = Proven::by_scanning(protocol, &bytes).unwrap_or(unknown);
        Self::from_proven(protocol, bytes, proven)
    }

    /// The value null.
    pub fn null() -> Self {
        Self::from_proven(Protocol::Json, Bytes::from_static(b"null"), Proven::SCALAR)
    }

    /// A string, as JSON with ASP.NET Core's escapes.
    pub fn text(text: &str) -> Self {
        let mut bytes = Vec::new();
        strings::write_string(&mut bytes, text);
        Self::from_proven(Protocol::Json, bytes.into(), Proven::SCALAR)
    }

    /// Serializes a Rust value. It is kept as MessagePack, the more expressive protocol: bytes stay bytes, and integers
    /// stay integers. Structs become maps with the names of their fields; enums have serde's default form (a unit
    /// variant is its name).
    ///
    /// # Errors
    ///
    /// Fails for values that serde cannot serialize, such as a map without a known length, and for a type whose
    /// `Serialize` writes more or fewer elements than it has announced. Whether the value can be represented in JSON is
    /// checked later, by [`Self::check_portable`].
    pub fn new<T: Serialize + ?Sized>(value: &T) -> Result<Self, ValueError> {
        let bytes = rmp_serde::to_vec_named(value).map_err(|error| ValueError(error.to_string()))?;
        // Strings need no check, because serde takes a `str`. But counts come from the type's own code.
        let proven = Proven::by_scanning(Protocol::MessagePack, &bytes).map_err(|_| {
            ValueError("the type writes a different number of elements than it has announced".to_owned())
        })?;
        Ok(Self::from_proven(Protocol::MessagePack, bytes.into(), proven))
    }

    /// Converts the value to the other protocol in advance, instead of once per message that contains it. A value that
    /// cannot be represented there is returned unchanged, and refused when it is sent.
    pub(crate) fn with_both_forms(self) -> Self {
        let converted = transcode::transcode(&self.bytes, self.protocol).ok().map(|bytes| Arc::new(bytes.into()));
        Self { converted, ..self }
    }
}

// === reading and converting ===

impl RawValue {
    /// The protocol in which [`Self::bytes`] is encoded.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The encoded bytes: exactly one value, without framing.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Deserializes it to a Rust type. Fails with serde's error if it does not have that type.
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

    /// The form in which the value is inserted into a text: null is empty, strings and numbers are unchanged, booleans
    /// are `true` and `false`, objects and arrays are JSON, and binary is base64 (docs/design.md#3). Fails if the value
    /// has no such form.
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

    /// The value encoded in `protocol`: unchanged, or converted by the rules of docs/design.md#7, "Values".
    pub fn encoded(&self, protocol: Protocol) -> Result<Bytes, ValueError> {
        if let Some(bytes) = self.ready(protocol) {
            return Ok(bytes.clone());
        }
        transcode::transcode(&self.bytes, self.protocol).map(Bytes::from)
    }

    /// Appends the value encoded in `protocol`. After an error, `out` may contain a part of it.
    pub(crate) fn append(&self, protocol: Protocol, out: &mut Vec<u8>) -> Result<(), ValueError> {
        if let Some(bytes) = self.ready(protocol) {
            out.extend_from_slice(bytes);
            return Ok(());
        }
        transcode::append(&self.bytes, self.protocol, out)
    }

    /// The value encoded in `protocol`, if that needs no conversion.
    fn ready(&self, protocol: Protocol) -> Option<&Bytes> {
        if self.protocol == protocol { Some(&self.bytes) } else { self.converted.as_deref() }
    }

    /// What is known about the value without scanning it again.
    pub(crate) fn proven(&self) -> Proven {
        self.proven
    }

    /// Checks whether the value can be represented in both protocols (docs/design.md#7, "Values"). If that is not known
    /// yet, the value is scanned, but not converted.
    pub fn check_portable(&self) -> Result<(), ValueError> {
        if self.proven.portable { self.check_depth() } else { transcode::check(&self.bytes, self.protocol) }
    }

    /// Checks that the value is not nested too deeply for a message in either protocol. Arguments from clients never
    /// are; values that are built around them may be.
    pub fn check_depth(&self) -> Result<(), ValueError> {
        self.proven.check_depth()
    }
}

/// Whether every string of a value is Unicode text.
fn is_text(protocol: Protocol, bytes: &[u8]) -> bool {
    match protocol {
        Protocol::Json => strings::check(bytes).is_ok(),
        Protocol::MessagePack => TokenReader::new(bytes).skip_any_depth_text() == Ok(true),
    }
}

impl fmt::Debug for RawValue {
    /// Does not show the content, so that payloads never get into a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} value of {} bytes", self.protocol.name(), self.bytes.len())
    }
}

#[cfg(test)]
mod tests;
