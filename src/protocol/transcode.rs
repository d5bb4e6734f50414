//! Converts a value from one protocol to the other, and checks whether that is possible (docs/design.md#7, "Values").
//!
//! | MessagePack | JSON |
//! | --- | --- |
//! | nil, booleans, strings, arrays | the same |
//! | integers | integers, with all digits |
//! | floats | the shortest text that reads back as the same number, as .NET writes it; NaN and infinities: an error |
//! | binary | a base64 string |
//! | timestamp (extension -1) | an ISO 8601 string in UTC, with .NET's precision of 100 ns |
//! | other extensions | an error |
//! | maps with string or integer keys | objects; other keys: an error |
//!
//! In the other direction, JSON strings stay strings, integers that fit into 64 bits become integers in their shortest
//! form, and all other numbers become float 64; a number that is too large for that is an error. In both directions,
//! strings that are not Unicode text (invalid UTF-8, lone surrogates) are errors.
//!
//! Values are converted token by token, without an intermediate representation.

mod from_json;
mod from_msgpack;
mod number;
mod timestamp;

use super::{MAX_DEPTH, Protocol, ValueError};

/// The maximum nesting depth of a value: [`MAX_DEPTH`] without the message and its arguments array.
pub(crate) const MAX_VALUE_DEPTH: usize = MAX_DEPTH - 2;

/// Converts one value that is encoded in `from` to the other protocol.
pub fn transcode(value: &[u8], from: Protocol) -> Result<Vec<u8>, ValueError> {
    let mut out = Vec::with_capacity(value.len() + value.len() / 4 + 8);
    append(value, from, &mut out)?;
    Ok(out)
}

/// Like [`transcode`], but appends to `out`. After an error, `out` may contain a part of the value.
pub(super) fn append(value: &[u8], from: Protocol, out: &mut Vec<u8>) -> Result<(), ValueError> {
    convert(value, from, out)
}

/// Checks whether [`transcode`] would succeed, without allocating.
pub fn check(value: &[u8], from: Protocol) -> Result<(), ValueError> {
    convert(value, from, &mut Discard)
}

/// Whether a MessagePack extension can be converted.
pub(super) fn has_json_form(kind: i8, bytes: &[u8]) -> bool {
    kind == from_msgpack::TIMESTAMP && timestamp::Timestamp::read(bytes).is_ok()
}

fn convert(value: &[u8], from: Protocol, out: &mut impl Output) -> Result<(), ValueError> {
    match from {
        Protocol::Json => from_json::convert(value, out),
        Protocol::MessagePack => from_msgpack::convert(value, out),
    }
}

/// The destination of a converted value. [`check`] and [`transcode`] run the same code with different outputs, so that
/// they always agree.
trait Output {
    /// Whether the output is kept.
    const KEEPS: bool;

    /// Calls `write` with the buffer to append to, if the output is kept.
    fn write(&mut self, write: impl FnOnce(&mut Vec<u8>));
}

impl Output for Vec<u8> {
    const KEEPS: bool = true;

    fn write(&mut self, write: impl FnOnce(&mut Self)) {
        write(self);
    }
}

struct Discard;

impl Output for Discard {
    const KEEPS: bool = false;

    fn write(&mut self, _: impl FnOnce(&mut Vec<u8>)) {}
}

pub(super) fn too_deep() -> ValueError {
    ValueError(format!("the value is nested deeper than {MAX_VALUE_DEPTH} levels"))
}

#[cfg(test)]
mod tests;
