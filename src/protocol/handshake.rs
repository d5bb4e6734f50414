//! The handshake: the first message in each direction, which is always one JSON record
//! (docs/builders/signalr-protocol.md#2).

use bytes::{Bytes, BytesMut};

use super::framing::{self, RECORD_SEPARATOR};
use super::json::read::{int32, line_and_column, object_start, string};
use super::json::scanner::{Delimiter, Scanner, SyntaxError, ValueKind};
use super::json::strings::{self, write_string};
use super::{Protocol, ProtocolError};
use crate::exception::Exception;
use crate::logging::Escaped;

/// A client's handshake request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeRequest {
    /// The name of the protocol, as sent; [`Protocol::from_name`] may not know it.
    pub protocol: String,
    /// The requested version. There is no minimum (docs/builders/signalr-protocol.md#2.2).
    pub version: i32,
}

/// Why a handshake failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandshakeError {
    /// The request is longer than a message may be, whether or not its end has arrived.
    TooLarge,
    /// No request arrived in time.
    Timeout,
    /// The message is not a valid request. The fields describe the exception that ASP.NET Core throws.
    Malformed {
        /// The exception's short name.
        exception: &'static str,
        /// The exception's message.
        detail: String,
    },
    /// A protocol that the hub does not support; the name as sent.
    UnknownProtocol(String),
    /// A version above the supported ones.
    UnsupportedVersion {
        /// The protocol.
        protocol: Protocol,
        /// The requested version.
        version: i32,
    },
    /// A binary protocol on a transport that can carry only text.
    BinaryOnTextTransport(Protocol),
}

impl HandshakeError {
    /// Exactly the text that ASP.NET Core answers with (docs/builders/signalr-protocol.md#2.3). `detailed` adds the
    /// cause where ASP.NET Core does.
    pub fn text(&self, detailed: bool) -> String {
        match self {
            Self::TooLarge | Self::Timeout => "Handshake was canceled.".to_owned(),
            Self::Malformed { exception, detail } => {
                let base = "An unexpected error occurred during connection handshake.";
                if detailed { format!("{base} {exception}: {detail}") } else { base.to_owned() }
            }
            Self::UnknownProtocol(name) => format!("The protocol '{name}' is not supported."),
            Self::UnsupportedVersion { protocol, version } => {
                format!("The server does not support version {version} of the '{}' protocol.", protocol.name())
            }
            Self::BinaryOnTextTransport(protocol) => format!(
                "Cannot use the '{}' protocol on the current transport. \
                 The transport does not support 'Binary' transfer format.",
                protocol.name()
            ),
        }
    }
}

impl HandshakeError {
    /// The text for log lines, which contains nothing of the request except the name of the protocol.
    pub(crate) fn log_text(&self) -> String {
        match self {
            Self::TooLarge => "the request is larger than maximum_receive_message_size".to_owned(),
            Self::Timeout => "no request arrived within handshake_timeout".to_owned(),
            // The detail is left out because it may contain the whole request.
            Self::Malformed { exception, .. } => format!("the request cannot be read ({exception})"),
            Self::UnknownProtocol(name) => format!("the protocol '{}' is not supported", Escaped::new(name)),
            Self::UnsupportedVersion { .. } | Self::BinaryOnTextTransport(_) => self.text(false),
        }
    }
}

impl From<ProtocolError> for HandshakeError {
    fn from(error: ProtocolError) -> Self {
        Self::Malformed { exception: error.exception, detail: error.detail }
    }
}

// === server ===

/// Removes the request from `buffer`, and leaves what follows. Returns `None` if the request is incomplete. `limit` is
/// its maximum size in bytes, including the separator; `None` means no limit. For `scanned` see `framing::take_record`.
pub fn read_request(
    buffer: &mut BytesMut,
    limit: Option<usize>,
    scanned: &mut usize,
) -> Result<Option<HandshakeRequest>, HandshakeError> {
    let record = framing::take_record(buffer, limit, scanned).map_err(|_| HandshakeError::TooLarge)?;
    let Some(record) = record else { return Ok(None) };
    let (mut protocol, mut version) = (None, None);
    members(&record, |scanner, name| {
        match name {
            b"protocol" => protocol = Some(string(scanner, "protocol")?.into_owned()),
            b"version" => version = Some(int32(scanner, "version")?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let missing = |name: &str| {
        let content = String::from_utf8_lossy(&record);
        HandshakeError::from(ProtocolError::invalid_data(format!(
            "Missing required property '{name}'. Message content: {content}"
        )))
    };
    let protocol = protocol.ok_or_else(|| missing("protocol"))?;
    let version = version.ok_or_else(|| missing("version"))?;
    Ok(Some(HandshakeRequest { protocol, version }))
}

/// The answer to a valid request.
pub(crate) fn success() -> &'static [u8] {
    b"{}\x1e"
}

/// The answer to an invalid request; the connection ends after it.
pub fn failure(text: &str) -> Vec<u8> {
    let mut out = b"{\"error\":".to_vec();
    write_string(&mut out, text);
    out.extend_from_slice(&[b'}', RECORD_SEPARATOR]);
    out
}

// === client ===

/// Encodes a request.
pub fn request(protocol: &str, version: i32) -> Vec<u8> {
    let mut out = b"{\"protocol\":".to_vec();
    write_string(&mut out, protocol);
    out.extend_from_slice(format!(",\"version\":{version}}}").as_bytes());
    out.push(RECORD_SEPARATOR);
    out
}

/// A server's answer to a handshake request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeResponse {
    /// `None` if the handshake succeeded.
    pub error: Option<String>,
}

/// Removes a response from `buffer`, and leaves what follows. Returns `None` if the response is incomplete.
pub fn read_response(buffer: &mut BytesMut, limit: Option<usize>) -> Result<Option<HandshakeResponse>, HandshakeError> {
    let record = framing::take_record(buffer, limit, &mut 0).map_err(|_| HandshakeError::TooLarge)?;
    let Some(record) = record else { return Ok(None) };
    let mut error = None;
    members(&record, |scanner, name| {
        match name {
            b"error" => error = Some(string(scanner, "error")?.into_owned()),
            // A hub message instead of a response (docs/builders/signalr-protocol.md#2.1).
            b"type" => return Err(ProtocolError::invalid_data("Expected a handshake response from the server.").into()),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(Some(HandshakeResponse { error }))
}

// === both directions ===

/// Why a member could not be read. Unlike in hub messages, syntax errors say where they are.
enum MemberError {
    Syntax(SyntaxError),
    Content(HandshakeError),
}

impl From<SyntaxError> for MemberError {
    fn from(syntax: SyntaxError) -> Self {
        Self::Syntax(syntax)
    }
}

impl From<ProtocolError> for MemberError {
    fn from(error: ProtocolError) -> Self {
        Self::Content(error.into())
    }
}

/// Reads the members of the record's object. `member` reads the values of the members that it knows, and returns
/// whether it did.
fn members<F>(record: &Bytes, mut member: F) -> Result<(), HandshakeError>
where
    F: FnMut(&mut Scanner<'_>, &[u8]) -> Result<bool, MemberError>,
{
    let mut scanner = Scanner::new(record);
    let mut walk = || -> Result<(), MemberError> {
        well_formed(&scanner)?;
        object_start(&mut scanner)?;
        if scanner.peek() == Some(b'}') {
            return Ok(());
        }
        loop {
            let name = scanner.name()?;
            let plain = if name.contains(&b'\\') { strings::unescape(name).ok() } else { None };
            well_formed(&scanner)?;
            if !member(&mut scanner, plain.as_deref().map_or(name, str::as_bytes))? {
                scanner.value(1)?;
            }
            if scanner.next(b'}')? == Delimiter::End {
                return Ok(());
            }
        }
    };
    walk().map_err(|bad| match bad {
        MemberError::Syntax(bad) => bad_token(record, bad),
        MemberError::Content(error) => error,
    })
}

/// Checks that the next token is valid JSON, without consuming it. This is done before its type is checked, because
/// only syntax errors say where they are.
fn well_formed(scanner: &Scanner<'_>) -> Result<(), SyntaxError> {
    let mut ahead = scanner.clone();
    match ahead.kind()? {
        ValueKind::Object | ValueKind::Array => Ok(()),
        scalar => ahead.scalar(scalar),
    }
}

/// The error text of ASP.NET Core's JSON reader, as far as it is known.
fn bad_token(record: &[u8], bad: SyntaxError) -> HandshakeError {
    let (line, column) = line_and_column(record, bad.at);
    let what = match record.get(bad.at) {
        _ if record.iter().all(u8::is_ascii_whitespace) => "The input does not contain any JSON tokens. \
             Expected the input to start with a valid JSON token, when isFinalBlock is true."
            .to_owned(),
        None => "Expected more JSON, but the end of the data was reached.".to_owned(),
        Some(byte @ 0x20..=0x7e) => format!("'{}' is an invalid start of a value.", char::from(*byte)),
        Some(byte) => format!("'0x{byte:02X}' is an invalid start of a value."),
    };
    HandshakeError::Malformed {
        exception: Exception::JsonReader.name(),
        detail: format!("{what} LineNumber: {line} | BytePositionInLine: {column}."),
    }
}

#[cfg(test)]
mod tests;
