//! Replaces invalid UTF-8 in the strings of MessagePack values by U+FFFD.
//!
//! ASP.NET Core reads all MessagePack strings this way (tests/probes/FINDINGS.md#2, hub protocol), and clients depend
//! on it: if a text was cut in the middle of an emoji, the JavaScript client encodes the lone surrogate as three bytes
//! that are not UTF-8.

use super::token_reader::{Token, TokenReader};
use super::write;

/// Copies a well-formed value, and replaces invalid UTF-8 in its strings. Everything else can stay unchanged, because
/// the headers of containers count elements, not bytes.
pub(super) fn with_replacements(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() + value.len() / 4);
    let mut reader = TokenReader::new(value);
    while reader.at < value.len() {
        let start = reader.at;
        match reader.token() {
            Ok(Token::Str(bytes)) if std::str::from_utf8(bytes).is_err() => {
                write::text(&mut out, &String::from_utf8_lossy(bytes));
            }
            Ok(_) => out.extend_from_slice(&value[start..reader.at]),
            // Does not happen in a well-formed value.
            Err(_) => break,
        }
    }
    out
}
