//! Decodes JSON records to hub messages. Errors are found in the same order as in ASP.NET Core, which reads the members
//! one by one and checks for missing ones at the end (docs/builders/signalr-protocol.md#3.1,
//! tests/probes/FINDINGS.md#1).

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use super::scanner::{Delimiter, Noted, Scanner, SyntaxError, ValueKind};
use super::strings::{self, TextError};
use crate::exception::Exception;
use crate::ids::InvocationId;
use crate::protocol::{BindingError, Headers, HubMessage, Invocation, Outcome, Protocol, ProtocolError, RawValue};

impl From<SyntaxError> for ProtocolError {
    /// The error of a hub message does not say where it is (docs/builders/signalr-protocol.md#3.1); that of the
    /// handshake does.
    fn from(_: SyntaxError) -> Self {
        Self::invalid_data("Error reading JSON.")
    }
}

impl From<TextError> for ProtocolError {
    fn from(bad: TextError) -> Self {
        Self { exception: Exception::InvalidOperation.name(), detail: bad.detail().to_owned() }
    }
}

/// The bytes of one message.
struct RecordText<'a> {
    bytes: &'a Bytes,
    /// Whether all of them are UTF-8, which is checked once here instead of for each value.
    is_utf8: bool,
}

/// The members of one message that have been read so far. A repeated member overwrites the earlier one.
#[derive(Default)]
struct MessageMembers {
    kind: Option<i32>,
    id: Option<InvocationId>,
    target: Option<Arc<str>>,
    arguments: Option<Result<Vec<RawValue>, BindingError>>,
    stream_ids: Vec<InvocationId>,
    item: Option<Result<RawValue, TextError>>,
    result: Option<Result<RawValue, TextError>>,
    error: Option<String>,
    allow_reconnect: bool,
    sequence_id: Option<i64>,
    headers: Headers,
}

/// ASP.NET Core's error for a result with a string that is not Unicode text (docs/builders/signalr-protocol.md#4.8).
const BAD_RESULT: &str =
    "Error trying to deserialize result to String. The JSON value could not be converted to System.String.";

/// Decodes one record, without its separator. Returns `None` for a message of unknown type. As in ASP.NET Core,
/// anything after the closing brace is ignored.
pub(super) fn message(record: &Bytes) -> Result<Option<HubMessage>, ProtocolError> {
    let mut scanner = Scanner::new(record);
    object_start(&mut scanner)?;
    let record = RecordText { bytes: record, is_utf8: std::str::from_utf8(record).is_ok() };
    let mut members = MessageMembers::default();
    if scanner.peek() == Some(b'}') {
        return members.finish();
    }
    loop {
        let name = scanner.name()?;
        members.read(&mut scanner, name, &record)?;
        if scanner.next(b'}')? == Delimiter::End {
            return members.finish();
        }
    }
}

/// Consumes the `{` of a message. The error names the token that is there instead.
pub(crate) fn object_start(scanner: &mut Scanner<'_>) -> Result<(), ProtocolError> {
    match scanner.kind()? {
        ValueKind::Object => scanner.at += 1,
        kind => {
            if kind != ValueKind::Array {
                scanner.scalar(kind)?;
            }
            return Err(ProtocolError::invalid_data(format!(
                "Unexpected JSON Token Type '{}'. Expected a JSON Object.",
                kind.name()
            )));
        }
    }
    Ok(())
}

impl MessageMembers {
    fn read(&mut self, scanner: &mut Scanner<'_>, name: &[u8], record: &RecordText<'_>) -> Result<(), ProtocolError> {
        // A name that is not Unicode text matches none of these, and is skipped like any unknown name.
        let plain = if name.contains(&b'\\') { strings::unescape(name).ok() } else { None };
        match plain.as_deref().map_or(name, str::as_bytes) {
            b"type" => self.kind = Some(int32(scanner, "type")?),
            b"invocationId" => self.id = Some(InvocationId::from(&*string(scanner, "invocationId")?)),
            b"target" => self.target = Some(string(scanner, "target")?.into()),
            b"arguments" => self.arguments = Some(arguments(scanner, record)?),
            b"streamIds" => self.stream_ids = stream_ids(scanner)?,
            b"item" => self.item = Some(raw(scanner, record, 1)?),
            b"result" => self.result = Some(raw(scanner, record, 1)?),
            b"error" => self.error = Some(string(scanner, "error")?.into_owned()),
            b"allowReconnect" => self.allow_reconnect = boolean(scanner, "allowReconnect")?,
            b"sequenceId" => self.sequence_id = int64_or_null(scanner, "sequenceId")?,
            b"headers" => self.headers = headers(scanner)?,
            _ => {
                scanner.value(1)?;
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Option<HubMessage>, ProtocolError> {
        let Some(kind) = self.kind else { return Err(missing("type")) };
        let headers = std::mem::take(&mut self.headers);
        Ok(Some(match kind {
            1 => HubMessage::Invocation(self.call(headers, false)?),
            2 => {
                // An item that precedes its id in the record is read like any other. In ASP.NET Core it closes the
                // connection if the stream is over (tests/probes/FINDINGS.md#1, row 4.6), but no known client sends
                // such records. An empty id has the error of an unknown stream, as in ASP.NET Core.
                let id = self.id.ok_or_else(|| missing("invocationId"))?;
                let item = self.item.ok_or_else(|| missing("item"))?;
                if id.as_str().is_empty() {
                    return Err(ProtocolError {
                        exception: Exception::KeyNotFound.name(),
                        detail: "No stream with id '' could be found.".to_owned(),
                    });
                }
                let item = item.map_err(|_| BindingError::item_type());
                HubMessage::StreamItem { id, item, headers }
            }
            3 => {
                let id = self.filled_id()?;
                let outcome = match (self.error, self.result) {
                    (Some(_), Some(_)) => {
                        return Err(ProtocolError::invalid_data(
                            "The 'error' and 'result' properties are mutually exclusive.",
                        ));
                    }
                    (Some(error), None) => Outcome::Error(error),
                    (None, Some(Ok(result))) => Outcome::Value(result),
                    // The error goes to the code that waits for the result; the connection stays open.
                    (None, Some(Err(_))) => Outcome::Error(BAD_RESULT.to_owned()),
                    (None, None) => Outcome::Void,
                };
                HubMessage::Completion { id, outcome, headers }
            }
            4 => HubMessage::StreamInvocation(self.call(headers, true)?),
            5 => HubMessage::CancelInvocation { id: self.filled_id()?, headers },
            6 => HubMessage::Ping,
            7 => HubMessage::Close { error: self.error, allow_reconnect: self.allow_reconnect },
            8 => HubMessage::Ack { sequence_id: self.sequence_id.ok_or_else(|| missing("sequenceId"))? },
            9 => HubMessage::Sequence { sequence_id: self.sequence_id.ok_or_else(|| missing("sequenceId"))? },
            _ => return Ok(None),
        }))
    }

    fn filled_id(&mut self) -> Result<InvocationId, ProtocolError> {
        self.id.take().filter(|id| !id.as_str().is_empty()).ok_or_else(|| missing("invocationId"))
    }

    fn call(mut self, headers: Headers, id_needed: bool) -> Result<Invocation, ProtocolError> {
        let target = self.target.take().ok_or_else(|| missing("target"))?;
        let id = if id_needed { Some(self.filled_id()?) } else { self.id.take().filter(|id| !id.as_str().is_empty()) };
        let arguments = self.arguments.ok_or_else(|| missing("arguments"))?;
        Ok(Invocation { id, target, arguments, stream_ids: self.stream_ids, headers })
    }
}

fn missing(name: &str) -> ProtocolError {
    ProtocolError::invalid_data(format!("Missing required property '{name}'."))
}

fn expected(name: &str, kind: &str) -> ProtocolError {
    ProtocolError::invalid_data(format!("Expected '{name}' to be of type {kind}."))
}

/// Whether the next token is of the wanted kind. If it is not, a syntax error in it takes precedence.
fn is_kind(scanner: &mut Scanner<'_>, wanted: ValueKind) -> Result<bool, SyntaxError> {
    let kind = scanner.kind()?;
    if kind == wanted {
        return Ok(true);
    }
    if !matches!(kind, ValueKind::Object | ValueKind::Array) {
        scanner.scalar(kind)?;
    }
    Ok(false)
}

/// Reads the string value of the member `name`.
pub(crate) fn string<'a>(scanner: &mut Scanner<'a>, name: &str) -> Result<Cow<'a, str>, ProtocolError> {
    if !is_kind(scanner, ValueKind::String)? {
        return Err(expected(name, "String"));
    }
    Ok(strings::unescape(scanner.string()?)?)
}

/// Reads the 32-bit integer value of the member `name`, which may have neither a fraction nor an exponent.
pub(crate) fn int32(scanner: &mut Scanner<'_>, name: &str) -> Result<i32, ProtocolError> {
    if !is_kind(scanner, ValueKind::Number)? {
        return Err(expected(name, "Number"));
    }
    integer(scanner.number()?).ok_or_else(|| out_of_bounds("Int32"))
}

fn int64_or_null(scanner: &mut Scanner<'_>, name: &str) -> Result<Option<i64>, ProtocolError> {
    if scanner.kind()? == ValueKind::Null {
        scanner.scalar(ValueKind::Null)?;
        return Ok(None);
    }
    if !is_kind(scanner, ValueKind::Number)? {
        return Err(expected(name, "Number"));
    }
    integer(scanner.number()?).map(Some).ok_or_else(|| out_of_bounds("Int64"))
}

fn integer<T: std::str::FromStr>(number: &[u8]) -> Option<T> {
    std::str::from_utf8(number).ok()?.parse().ok()
}

fn out_of_bounds(kind: &str) -> ProtocolError {
    ProtocolError {
        exception: Exception::Format.name(),
        detail: format!("Either the JSON value is not in a supported format, or is out of bounds for an {kind}."),
    }
}

fn boolean(scanner: &mut Scanner<'_>, name: &str) -> Result<bool, ProtocolError> {
    let kind = scanner.kind()?;
    if !matches!(kind, ValueKind::Object | ValueKind::Array) {
        scanner.scalar(kind)?;
    }
    match kind {
        ValueKind::True => Ok(true),
        ValueKind::False => Ok(false),
        _ => Err(ProtocolError::invalid_data(format!("Expected '{name}' to be true or false."))),
    }
}

/// Reads one value unchanged. The inner error says why one of its strings is not Unicode text.
fn raw(
    scanner: &mut Scanner<'_>,
    record: &RecordText<'_>,
    depth: usize,
) -> Result<Result<RawValue, TextError>, SyntaxError> {
    scanner.noted = Noted::default();
    let value = scanner.value(depth)?;
    Ok(if !record.is_utf8 && std::str::from_utf8(value).is_err() {
        Err(TextError::Utf8)
    } else if scanner.noted.lone_surrogate {
        Err(TextError::Surrogate)
    } else {
        Ok(RawValue::from_proven(Protocol::Json, record.bytes.slice_ref(value), scanner.noted.into()))
    })
}

fn arguments(
    scanner: &mut Scanner<'_>,
    record: &RecordText<'_>,
) -> Result<Result<Vec<RawValue>, BindingError>, ProtocolError> {
    if !is_kind(scanner, ValueKind::Array)? {
        return Err(expected("arguments", "Array"));
    }
    scanner.at += 1;
    let mut values = Vec::new();
    if scanner.peek() == Some(b']') {
        scanner.at += 1;
        return Ok(Ok(values));
    }
    let mut bad = None;
    loop {
        match raw(scanner, record, 2)? {
            Ok(value) => values.push(value),
            Err(_) => drop(bad.get_or_insert_with(BindingError::argument_type)),
        }
        if scanner.next(b']')? == Delimiter::End {
            break;
        }
        if scanner.peek() == Some(b']') {
            // The only syntax error that ASP.NET Core treats as a binding error (tests/probes/FINDINGS.md#1, row 3.1).
            bad.get_or_insert_with(|| trailing_comma(record.bytes, scanner.at));
            scanner.at += 1;
            break;
        }
    }
    Ok(match bad {
        Some(error) => Err(error),
        None => Ok(values),
    })
}

fn trailing_comma(record: &[u8], at: usize) -> BindingError {
    let (line, column) = line_and_column(record, at);
    BindingError {
        exception: Exception::JsonReader.name(),
        detail: format!(
            "The JSON array contains a trailing comma at the end which is not supported in this mode. \
             Change the reader options. LineNumber: {line} | BytePositionInLine: {column}."
        ),
    }
}

/// The line and column of an offset, as ASP.NET Core's reader counts them: from zero, in bytes.
pub(crate) fn line_and_column(bytes: &[u8], at: usize) -> (usize, usize) {
    let before = &bytes[..at.min(bytes.len())];
    let line = memchr::memchr_iter(b'\n', before).count();
    let start = memchr::memrchr(b'\n', before).map_or(0, |found| found + 1);
    (line, before.len() - start)
}

fn stream_ids(scanner: &mut Scanner<'_>) -> Result<Vec<InvocationId>, ProtocolError> {
    if !is_kind(scanner, ValueKind::Array)? {
        return Err(expected("streamIds", "Array"));
    }
    scanner.at += 1;
    let mut ids = Vec::new();
    if scanner.peek() == Some(b']') {
        scanner.at += 1;
        return Ok(ids);
    }
    loop {
        let kind = scanner.kind()?;
        match kind {
            ValueKind::String => ids.push(InvocationId::from(&*strings::unescape(scanner.string()?)?)),
            ValueKind::Null => {
                scanner.scalar(kind)?;
                return Err(ProtocolError::invalid_data("Null value for 'streamIds' is not valid."));
            }
            ValueKind::Object | ValueKind::Array => return Err(not_a_string(&format!("Start{}", kind.name()))),
            _ => {
                scanner.scalar(kind)?;
                return Err(not_a_string(kind.name()));
            }
        }
        if scanner.next(b']')? == Delimiter::End {
            return Ok(ids);
        }
    }
}

fn not_a_string(token: &str) -> ProtocolError {
    ProtocolError {
        exception: Exception::InvalidOperation.name(),
        detail: format!("Cannot get the value of a token type '{token}' as a string."),
    }
}

fn headers(scanner: &mut Scanner<'_>) -> Result<Headers, ProtocolError> {
    if !is_kind(scanner, ValueKind::Object)? {
        return Err(expected("headers", "StartObject"));
    }
    scanner.at += 1;
    let mut headers = Vec::new();
    if scanner.peek() == Some(b'}') {
        scanner.at += 1;
        return Ok(Headers(headers));
    }
    loop {
        let name = strings::unescape(scanner.name()?)?.into_owned();
        if !is_kind(scanner, ValueKind::String)? {
            return Err(ProtocolError::invalid_data(format!("Expected header '{name}' to be of type String.")));
        }
        headers.push((name, strings::unescape(scanner.string()?)?.into_owned()));
        if scanner.next(b'}')? == Delimiter::End {
            return Ok(Headers(headers));
        }
    }
}
