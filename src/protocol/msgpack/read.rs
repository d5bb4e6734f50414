//! Decodes MessagePack bodies to hub messages (docs/builders/signalr-protocol.md#3.2, tests/probes/FINDINGS.md#1). As
//! in ASP.NET Core, element counts are mostly not checked: only the elements that a message needs are read, and
//! everything after them is ignored.

use std::borrow::Cow;

use bytes::Bytes;

use super::repair;
use super::token_reader::{ReadError, Token, TokenReader};
use crate::exception::Exception;
use crate::ids::InvocationId;
use crate::protocol::{
    BindingError, Headers, HubMessage, Invocation, MAX_DEPTH, Outcome, Protocol, ProtocolError, RawValue,
};

/// The maximum nesting depth of a value that is an element of the message's array.
const MAX_VALUE_NESTING: usize = MAX_DEPTH - 1;

/// Decodes one body, without its prefix. Returns `None` for a message of unknown type.
pub(super) fn message(body: &Bytes) -> Result<Option<HubMessage>, ProtocolError> {
    let mut reader = TokenReader::new(body);
    let count = match reader.code() {
        Some(0x90..=0x9f | 0xdc | 0xdd) => match reader.token() {
            Ok(Token::Array(count)) => count,
            _ => return Err(malformed(ReadError::End)),
        },
        Some(code) => return Err(malformed(ReadError::Code(code))),
        None => return Err(malformed(ReadError::End)),
    };
    let mut fields = MessageFields { body, reader };
    Ok(Some(match fields.int32("messageType")? {
        1 => HubMessage::Invocation(fields.invocation("Invocation", count)?),
        2 => {
            let headers = fields.headers()?;
            let id = fields.filled_id("StreamItem")?;
            let item = Ok(fields.raw(MAX_VALUE_NESTING).map_err(malformed)?);
            HubMessage::StreamItem { id, item, headers }
        }
        3 => {
            let headers = fields.headers()?;
            let id = fields.filled_id("Completion")?;
            let outcome = fields.outcome()?;
            HubMessage::Completion { id, outcome, headers }
        }
        4 => HubMessage::StreamInvocation(fields.invocation("StreamInvocation", count)?),
        5 => {
            let headers = fields.headers()?;
            HubMessage::CancelInvocation { id: fields.filled_id("CancelInvocation")?, headers }
        }
        6 => HubMessage::Ping,
        7 => {
            let error = fields.text("error")?.map(Cow::into_owned);
            let allow_reconnect = count > 2 && fields.boolean("allowReconnect")?;
            HubMessage::Close { error, allow_reconnect }
        }
        8 => HubMessage::Ack { sequence_id: fields.int64("sequenceId")? },
        9 => HubMessage::Sequence { sequence_id: fields.int64("sequenceId")? },
        _ => return Ok(None),
    }))
}

/// Reads the remaining elements of one message.
struct MessageFields<'a> {
    body: &'a Bytes,
    reader: TokenReader<'a>,
}

impl<'a> MessageFields<'a> {
    fn invocation(&mut self, message: &str, count: usize) -> Result<Invocation, ProtocolError> {
        let headers = self.headers()?;
        let id = if message == "Invocation" {
            self.text("invocationId")?.filter(|id| !id.is_empty()).map(|id| InvocationId::from(&*id))
        } else {
            Some(self.filled_id(message)?)
        };
        let target = self
            .text("target")?
            .filter(|target| !target.is_empty())
            .ok_or_else(|| null_or_empty(&format!("target for {message} message")))?
            .into();
        let arguments = self.arguments();
        // After arguments that cannot be read, the position of the next element is unknown. ASP.NET Core does not read
        // it either.
        let stream_ids = if arguments.is_ok() && count > 5 { self.stream_ids()? } else { Vec::new() };
        Ok(Invocation { id, target, arguments, stream_ids, headers })
    }

    fn arguments(&mut self) -> Result<Vec<RawValue>, BindingError> {
        let Ok(Token::Array(count)) = self.reader.token() else {
            return Err(BindingError::invalid_data("Reading array length for 'arguments' failed."));
        };
        // The count is at most the number of remaining bytes, but that may still be many: allocate as elements are
        // read.
        let mut values = Vec::with_capacity(count.min(16));
        for _ in 0..count {
            values.push(self.raw(MAX_VALUE_NESTING - 1).map_err(|_| BindingError::argument_type())?);
        }
        Ok(values)
    }

    fn stream_ids(&mut self) -> Result<Vec<InvocationId>, ProtocolError> {
        let Ok(Token::Array(count)) = self.reader.token() else {
            return Err(ProtocolError::invalid_data("Reading array length for 'streamIds' failed."));
        };
        let mut ids = Vec::with_capacity(count.min(16));
        for _ in 0..count {
            // An empty id is refused later, when the method is known (probes `*-stream-id*`).
            let id = self.text("streamIds")?;
            ids.push(InvocationId::from(&*id.ok_or_else(|| null_or_empty("value in streamIds received"))?));
        }
        Ok(ids)
    }

    fn headers(&mut self) -> Result<Headers, ProtocolError> {
        let Ok(Token::Map(count)) = self.reader.token() else {
            return Err(ProtocolError::invalid_data("Reading map length for 'headers' failed."));
        };
        let mut headers = Vec::with_capacity(count.min(16));
        for index in 0..count {
            let mut part = |part: &str, name: &str| {
                self.text_or(|| format!("headers[{index}].{part}"))?
                    .filter(|text| !text.is_empty())
                    .map(Cow::into_owned)
                    .ok_or_else(|| null_or_empty(&format!("{name} in header")))
            };
            let name = part("Key", "key")?;
            headers.push((name, part("Value", "value")?));
        }
        Ok(Headers(headers))
    }

    fn outcome(&mut self) -> Result<Outcome, ProtocolError> {
        Ok(match self.int32("resultKind")? {
            // A null error means no error.
            1 => self.text("error")?.map_or(Outcome::Void, |error| Outcome::Error(error.into_owned())),
            2 => Outcome::Void,
            3 => Outcome::Value(self.raw(MAX_VALUE_NESTING).map_err(malformed)?),
            _ => return Err(ProtocolError::invalid_data("Invalid invocation result kind.")),
        })
    }

    /// Reads one value unchanged, unless it has strings that are not UTF-8: see [`super::repair`].
    fn raw(&mut self, max_depth: usize) -> Result<RawValue, ReadError> {
        let start = self.reader.at;
        let (is_text, proven) = self.reader.scan(max_depth)?;
        let value = self.body.slice(start..self.reader.at);
        let value = if is_text { value } else { repair::with_replacements(&value).into() };
        Ok(RawValue::from_proven(Protocol::MessagePack, value, proven))
    }

    fn filled_id(&mut self, message: &str) -> Result<InvocationId, ProtocolError> {
        self.text("invocationId")?
            .filter(|id| !id.is_empty())
            .map(|id| InvocationId::from(&*id))
            .ok_or_else(|| null_or_empty(&format!("invocation ID for {message} message")))
    }

    fn text(&mut self, field: &str) -> Result<Option<Cow<'a, str>>, ProtocolError> {
        self.text_or(|| field.to_owned())
    }

    /// Reads a string or nil. As in ASP.NET Core, invalid UTF-8 is replaced by U+FFFD.
    fn text_or(&mut self, field: impl FnOnce() -> String) -> Result<Option<Cow<'a, str>>, ProtocolError> {
        match self.reader.token() {
            Ok(Token::Str(text)) => Ok(Some(String::from_utf8_lossy(text))),
            Ok(Token::Nil) => Ok(None),
            _ => Err(failed(&field(), "String")),
        }
    }

    fn int32(&mut self, field: &str) -> Result<i32, ProtocolError> {
        match self.reader.token() {
            Ok(Token::Int(number)) => i32::try_from(number).map_err(|_| failed(field, "Int32")),
            _ => Err(failed(field, "Int32")),
        }
    }

    fn int64(&mut self, field: &str) -> Result<i64, ProtocolError> {
        match self.reader.token() {
            Ok(Token::Int(number)) => Ok(number),
            _ => Err(failed(field, "Int64")),
        }
    }

    fn boolean(&mut self, field: &str) -> Result<bool, ProtocolError> {
        match self.reader.token() {
            Ok(Token::Bool(value)) => Ok(value),
            _ => Err(failed(field, "Boolean")),
        }
    }
}

fn failed(field: &str, kind: &str) -> ProtocolError {
    ProtocolError::invalid_data(format!("Reading '{field}' as {kind} failed."))
}

fn null_or_empty(what: &str) -> ProtocolError {
    ProtocolError::invalid_data(format!("Null or empty {what}."))
}

/// The error of ASP.NET Core's MessagePack reader (tests/probes/FINDINGS.md#1, row 3.1, 2.3).
fn malformed(error: ReadError) -> ProtocolError {
    match error {
        ReadError::End => ProtocolError {
            exception: Exception::EndOfStream.name(),
            detail: "Attempted to read past the end of the stream.".to_owned(),
        },
        ReadError::Code(code) => ProtocolError {
            exception: Exception::MessagePackSerialization.name(),
            detail: format!("Unexpected msgpack code {code} ({}) encountered.", code_name(code)),
        },
        ReadError::Depth => ProtocolError {
            exception: Exception::InsufficientExecutionStack.name(),
            detail: format!("The message is nested deeper than the {MAX_DEPTH} levels allowed."),
        },
    }
}

fn code_name(code: u8) -> &'static str {
    match code {
        0x00..=0x7f => "positive fixint",
        0x80..=0x8f => "fixmap",
        0x90..=0x9f => "fixarray",
        0xa0..=0xbf => "fixstr",
        0xc0 => "nil",
        0xc1 => "(never used)",
        0xc2 => "false",
        0xc3 => "true",
        0xc4 => "bin 8",
        0xc5 => "bin 16",
        0xc6 => "bin 32",
        0xc7 => "ext 8",
        0xc8 => "ext 16",
        0xc9 => "ext 32",
        0xca => "float 32",
        0xcb => "float 64",
        0xcc => "uint 8",
        0xcd => "uint 16",
        0xce => "uint 32",
        0xcf => "uint 64",
        0xd0 => "int 8",
        0xd1 => "int 16",
        0xd2 => "int 32",
        0xd3 => "int 64",
        0xd4 => "fixext 1",
        0xd5 => "fixext 2",
        0xd6 => "fixext 4",
        0xd7 => "fixext 8",
        0xd8 => "fixext 16",
        0xd9 => "str 8",
        0xda => "str 16",
        0xdb => "str 32",
        0xdc => "array 16",
        0xdd => "array 32",
        0xde => "map 16",
        0xdf => "map 32",
        0xe0..=0xff => "negative fixint",
    }
}
