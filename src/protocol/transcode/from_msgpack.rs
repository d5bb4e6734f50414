//! Converts MessagePack values to JSON.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{MAX_VALUE_DEPTH, Output, number, timestamp, too_deep};
use crate::protocol::ValueError;
use crate::protocol::json::strings::write_string;
use crate::protocol::msgpack::token_reader::{ReadError, Token, TokenReader};

/// The extension type of timestamps (MessagePack specification, "Timestamp extension type").
pub(super) const TIMESTAMP: i8 = -1;

impl From<ReadError> for ValueError {
    fn from(_: ReadError) -> Self {
        Self("the value is not well-formed MessagePack".to_owned())
    }
}

pub(super) fn convert(value: &[u8], out: &mut impl Output) -> Result<(), ValueError> {
    let mut reader = TokenReader::new(value);
    any(&mut reader, MAX_VALUE_DEPTH, out)?;
    if reader.at == value.len() { Ok(()) } else { Err(ReadError::End.into()) }
}

fn any(reader: &mut TokenReader<'_>, max_depth: usize, out: &mut impl Output) -> Result<(), ValueError> {
    match reader.token()? {
        Token::Nil => put(out, b"null"),
        Token::Bool(true) => put(out, b"true"),
        Token::Bool(false) => put(out, b"false"),
        Token::Int(number) => integer(out, number),
        Token::BigInt(number) => integer(out, number),
        Token::F32(float) => {
            finite(float.is_finite())?;
            out.write(|out| number::write_f32(out, float));
        }
        Token::F64(float) => {
            finite(float.is_finite())?;
            out.write(|out| number::write_f64(out, float));
        }
        Token::Str(bytes) => string(out, bytes)?,
        Token::Bin(bytes) => out.write(|out| {
            // Base64 needs no escaping.
            let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
            STANDARD.encode_string(bytes, &mut text);
            quoted(out, text.as_bytes());
        }),
        Token::Ext(TIMESTAMP, bytes) => {
            let moment = timestamp::Timestamp::read(bytes)?;
            out.write(|out| quoted(out, moment.to_string().as_bytes()));
        }
        Token::Ext(kind, _) => {
            return Err(ValueError(format!(
                "the value contains a MessagePack extension of type {kind}, which cannot be represented in JSON"
            )));
        }
        Token::Array(count) => array(reader, count, max_depth.checked_sub(1).ok_or_else(too_deep)?, out)?,
        Token::Map(count) => map(reader, count, max_depth.checked_sub(1).ok_or_else(too_deep)?, out)?,
    }
    Ok(())
}

fn array(
    reader: &mut TokenReader<'_>,
    count: usize,
    max_depth: usize,
    out: &mut impl Output,
) -> Result<(), ValueError> {
    put(out, b"[");
    for index in 0..count {
        if index > 0 {
            put(out, b",");
        }
        any(reader, max_depth, out)?;
    }
    put(out, b"]");
    Ok(())
}

fn map(reader: &mut TokenReader<'_>, count: usize, max_depth: usize, out: &mut impl Output) -> Result<(), ValueError> {
    put(out, b"{");
    for index in 0..count {
        if index > 0 {
            put(out, b",");
        }
        match reader.token()? {
            Token::Str(bytes) => string(out, bytes)?,
            Token::Int(number) => key(out, number),
            Token::BigInt(number) => key(out, number),
            _ => {
                return Err(ValueError(
                    "a map in the value has a key that is neither a string nor an integer".to_owned(),
                ));
            }
        }
        put(out, b":");
        any(reader, max_depth, out)?;
    }
    put(out, b"}");
    Ok(())
}

fn put(out: &mut impl Output, bytes: &[u8]) {
    out.write(|out| out.extend_from_slice(bytes));
}

fn quoted(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(bytes);
    out.push(b'"');
}

fn integer(out: &mut impl Output, number: impl std::fmt::Display) {
    // Writing to a Vec does not fail.
    out.write(|out| drop(write!(out, "{number}")));
}

fn key(out: &mut impl Output, number: impl std::fmt::Display) {
    out.write(|out| drop(write!(out, "\"{number}\"")));
}

fn string(out: &mut impl Output, bytes: &[u8]) -> Result<(), ValueError> {
    let text = std::str::from_utf8(bytes).map_err(|_| ValueError("a string in the value is not UTF-8".to_owned()))?;
    out.write(|out| write_string(out, text));
    Ok(())
}

fn finite(finite: bool) -> Result<(), ValueError> {
    if finite {
        return Ok(());
    }
    Err(ValueError("the value contains NaN or an infinity, which cannot be represented in JSON".to_owned()))
}
