//! One value of an argument list, a result or a stream item: raw bytes and the protocol they are in.
//!
//! A value is never taken apart on its way from one client to others of the same protocol. It is converted once,
//! when a receiver of the other protocol needs it (see [`super::transcode`]), and read into a Rust type only when a
//! hub written in Rust asks for one.

use std::fmt;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Protocol, transcode};

/// One well-formed value in the encoding of one protocol.
///
/// Invariant: `bytes` holds exactly one value, checked by whoever made it (a codec, or serde).
#[derive(Clone, PartialEq, Eq)]
pub struct RawValue {
    protocol: Protocol,
    bytes: Bytes,
}

/// A value that has no form in a protocol, or not the form that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ValueError(pub String);

impl RawValue {
    /// Wraps bytes that hold exactly one value of `protocol`; the codecs call this with slices they have scanned.
    pub(crate) fn from_scanned(protocol: Protocol, bytes: Bytes) -> Self {
        Self { protocol, bytes }
    }

    /// Null.
    pub fn null() -> Self {
        Self { protocol: Protocol::Json, bytes: Bytes::from_static(b"null") }
    }

    /// A text.
    pub fn text(text: &str) -> Self {
        Self::json(&text).unwrap_or_else(|_| Self::null())
    }

    /// Any Rust value. It is kept as MessagePack, the richer of the two: bytes stay bytes, integers keep their width.
    pub fn new<T: Serialize + ?Sized>(value: &T) -> Result<Self, ValueError> {
        let bytes = rmp_serde::to_vec_named(value).map_err(|error| ValueError(error.to_string()))?;
        Ok(Self { protocol: Protocol::MessagePack, bytes: bytes.into() })
    }

    fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, ValueError> {
        let bytes = serde_json::to_vec(value).map_err(|error| ValueError(error.to_string()))?;
        Ok(Self { protocol: Protocol::Json, bytes: bytes.into() })
    }

    /// The encoding of [`Self::bytes`].
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The raw bytes, exactly one value, without framing.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Reads it as a Rust type.
    pub fn to<T: DeserializeOwned>(&self) -> Result<T, ValueError> {
        match self.protocol {
            Protocol::Json => serde_json::from_slice(&self.bytes).map_err(|error| ValueError(error.to_string())),
            Protocol::MessagePack => rmp_serde::from_slice(&self.bytes).map_err(|error| ValueError(error.to_string())),
        }
    }

    /// The bytes in `protocol`: as they are, or converted by the rules of design.md section 7, "Values".
    pub fn encoded(&self, protocol: Protocol) -> Result<Bytes, ValueError> {
        if self.protocol == protocol {
            return Ok(self.bytes.clone());
        }
        transcode::transcode(&self.bytes, self.protocol).map(Bytes::from)
    }

    /// Whether it has a form in both protocols, found by a scan that converts nothing (design.md section 7, "Values").
    pub fn check_portable(&self) -> Result<(), ValueError> {
        transcode::check(&self.bytes, self.protocol)
    }
}

impl fmt::Debug for RawValue {
    /// Never the content: payloads do not reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} value of {} bytes", self.protocol.name(), self.bytes.len())
    }
}

// Stand-ins, until the codecs are there.
impl RawValue {
    /// The text it holds; None where it is something else.
    pub fn as_text(&self) -> Option<std::borrow::Cow<'_, str>> {
        match self.protocol {
            Protocol::Json => serde_json::from_slice::<String>(&self.bytes).ok().map(Into::into),
            Protocol::MessagePack if matches!(self.bytes.first(), Some(0xa0..=0xbf | 0xd9..=0xdb)) => {
                rmp_serde::from_slice::<String>(&self.bytes).ok().map(Into::into)
            }
            Protocol::MessagePack => None,
        }
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        match self.protocol {
            Protocol::Json => &self.bytes[..] == b"null",
            Protocol::MessagePack => &self.bytes[..] == [0xc0],
        }
    }

    /// It as a piece of a text: null is empty, numbers as written, objects as JSON, binary as base64.
    pub fn display_text(&self) -> Result<String, ValueError> {
        if let Some(text) = self.as_text() {
            return Ok(text.into_owned());
        }
        if self.is_null() {
            return Ok(String::new());
        }
        let json = self.encoded(Protocol::Json)?;
        String::from_utf8(json.to_vec()).map_err(|error| ValueError(error.to_string()))
    }
}
