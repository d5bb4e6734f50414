//! JSON strings: writing them with ASP.NET Core's escapes, unescaping and checking them.

use std::borrow::Cow;

use memchr::memchr;

use super::escape_table::is_escaped;

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Appends `text` as a JSON string with quotes, byte for byte as ASP.NET Core writes it
/// (tests/probes/FINDINGS.md#1, row 3.1).
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    write_content(out, text);
    out.push(b'"');
}

/// Appends the content of a JSON string, without quotes. Several texts may be appended one after the other to form one
/// string.
pub(crate) fn write_content(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    // The bytes between `done` and `at` need no escaping and are copied together.
    let (mut done, mut at) = (0, 0);
    while at < bytes.len() {
        if matches!(bytes[at], 0x20..=0x7e) && bytes[at] != b'"' && bytes[at] != b'\\' {
            at += 1;
            continue;
        }
        let Some(character) = text[at..].chars().next() else { break };
        let length = character.len_utf8();
        if !needs_escape(character) {
            at += length;
            continue;
        }
        out.extend_from_slice(&bytes[done..at]);
        at += length;
        done = at;
        let short = match character {
            '"' => b'"',
            '\\' => b'\\',
            '\u{8}' => b'b',
            '\u{c}' => b'f',
            '\n' => b'n',
            '\r' => b'r',
            '\t' => b't',
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write_escape(out, *unit);
                }
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
    }
    out.extend_from_slice(&bytes[done..]);
}

fn needs_escape(character: char) -> bool {
    match u32::from(character) {
        0..0x20 | 0x22 | 0x5c => true,
        code => u16::try_from(code).map_or(true, is_escaped),
    }
}

fn write_escape(out: &mut Vec<u8>, unit: u16) {
    let digit = |shift: u16| HEX[usize::from(unit >> shift & 15)];
    out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}

/// What is wrong with the content of a string that is syntactically valid JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextError {
    /// Its bytes are not UTF-8.
    Utf8,
    /// It contains an escape of a lone surrogate.
    Surrogate,
}

impl TextError {
    /// ASP.NET Core's error text for such a string.
    pub(crate) fn detail(self) -> &'static str {
        match self {
            Self::Utf8 => "Cannot transcode invalid UTF-8 JSON text to UTF-16 string.",
            Self::Surrogate => "Cannot read incomplete UTF-16 JSON text as string with missing low surrogate.",
        }
    }
}

/// The text of a scanned string. `raw` is the bytes between the quotes, which are borrowed if there are no escapes.
pub(crate) fn unescape(raw: &[u8]) -> Result<Cow<'_, str>, TextError> {
    let Some(first) = memchr(b'\\', raw) else {
        return std::str::from_utf8(raw).map(Cow::Borrowed).map_err(|_| TextError::Utf8);
    };
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    let mut escape = Some(first);
    while let Some(found) = escape {
        text.push_str(std::str::from_utf8(&rest[..found]).map_err(|_| TextError::Utf8)?);
        let (character, used) = read_escape(&rest[found..]).ok_or(TextError::Surrogate)?;
        text.push(character);
        rest = &rest[found + used..];
        escape = memchr(b'\\', rest);
    }
    text.push_str(std::str::from_utf8(rest).map_err(|_| TextError::Utf8)?);
    Ok(Cow::Owned(text))
}

/// Checks whether [`unescape`] would succeed, without allocating. It can also check all strings of a whole value or
/// message at once, because escapes occur only in strings and everything else is ASCII. Bytes that pass are UTF-8,
/// whether or not they are JSON.
pub(crate) fn check(raw: &[u8]) -> Result<(), TextError> {
    // Checked in the same order as in `unescape`, so that both return the same error if there are several.
    let mut rest = raw;
    while let Some(found) = memchr(b'\\', rest) {
        std::str::from_utf8(&rest[..found]).map_err(|_| TextError::Utf8)?;
        let (_, used) = read_escape(&rest[found..]).ok_or(TextError::Surrogate)?;
        rest = &rest[found + used..];
    }
    std::str::from_utf8(rest).map(drop).map_err(|_| TextError::Utf8)
}

/// The character of the escape that `raw` begins with, and the escape's length. `None` for a lone surrogate or, in
/// bytes that have not been scanned, an invalid escape.
fn read_escape(raw: &[u8]) -> Option<(char, usize)> {
    let character = match raw.get(1)? {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let first = unit(raw)?;
            if !is_surrogate(first) {
                return Some((char::from_u32(first)?, 6));
            }
            let second = unit(&raw[6..])?;
            if !is_pair(first, second) {
                return None;
            }
            return Some((char::from_u32(0x10000 + ((first - 0xd800) << 10 | (second - 0xdc00)))?, 12));
        }
        other @ (b'"' | b'\\' | b'/') => char::from(*other),
        _ => return None,
    };
    Some((character, 2))
}

/// Whether a UTF-16 code unit is one half of a surrogate pair.
pub(super) fn is_surrogate(unit: u32) -> bool {
    (0xd800..0xe000).contains(&unit)
}

/// Whether two UTF-16 code units are a surrogate pair, in this order.
pub(super) fn is_pair(high: u32, low: u32) -> bool {
    (0xd800..0xdc00).contains(&high) && (0xdc00..0xe000).contains(&low)
}

/// The UTF-16 code unit of the `\uXXXX` that `raw` begins with.
pub(super) fn unit(raw: &[u8]) -> Option<u32> {
    let digits = raw.strip_prefix(b"\\u")?.get(..4)?;
    let mut unit = 0;
    for digit in digits {
        unit = unit << 4 | char::from(*digit).to_digit(16)?;
    }
    Some(unit)
}
