//! One value from one encoding to the other, and the check that it could be (docs/design.md#7, "Values").
//!
//! | MessagePack | JSON |
//! | --- | --- |
//! | nil, booleans, strings, arrays | the same |
//! | integers | integers, every digit kept |
//! | floats | the shortest text that reads back the same, as .NET writes it; NaN and the infinities: an error |
//! | binary | a base64 string |
//! | timestamp (extension -1) | an ISO 8601 string in UTC, to 100 ns as .NET has them |
//! | other extensions | an error |
//! | maps with string or integer keys | objects; other keys: an error |
//!
//! The other way JSON strings stay strings, integers that fit 64 bits become integers in their shortest form, and all
//! other numbers float 64; one that is too large for it is an error. Strings that are no Unicode text (bytes that are
//! not UTF-8, lone surrogates) are errors both ways.
//!
//! Nothing is built in between: tokens are written as they are read.

mod from_json;
mod from_msgpack;
mod number;
mod timestamp;

use super::{MAX_DEPTH, Protocol, ValueError};

/// The deepest nesting a value may have: what is left of [`MAX_DEPTH`] inside a message and its arguments.
pub(crate) const MAX_VALUE_DEPTH: usize = MAX_DEPTH - 2;

/// Converts one value that is encoded in `from` to the other protocol.
pub fn transcode(value: &[u8], from: Protocol) -> Result<Vec<u8>, ValueError> {
    let mut out = Vec::with_capacity(value.len() + value.len() / 4 + 8);
    append(value, from, &mut out)?;
    Ok(out)
}

/// The same, behind what `out` holds. After an error `out` may hold a part of the value.
pub(super) fn append(value: &[u8], from: Protocol, out: &mut Vec<u8>) -> Result<(), ValueError> {
    convert(value, from, out)
}

/// Whether [`transcode`] would succeed; allocates nothing.
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

/// Where a converted value goes. That [`check`] and [`transcode`] run the same code is what keeps them of one mind.
trait Output {
    /// Whether anything is kept.
    const KEEPS: bool;

    /// Lets `write` append, if anything is kept.
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
