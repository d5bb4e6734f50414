//! Converts JSON values to MessagePack.

use super::{MAX_VALUE_DEPTH, Output, too_deep};
use crate::protocol::ValueError;
use crate::protocol::json::scanner::{Delimiter, Scanner, SyntaxError, ValueKind};
use crate::protocol::json::strings::{self, TextError};
use crate::protocol::msgpack::write;

impl From<SyntaxError> for ValueError {
    fn from(error: SyntaxError) -> Self {
        Self(format!("the value is not well-formed JSON at byte {}", error.at))
    }
}

impl From<TextError> for ValueError {
    fn from(error: TextError) -> Self {
        Self(
            match error {
                TextError::Utf8 => "a string in the value is not UTF-8",
                TextError::Surrogate => "a string in the value contains a lone surrogate, which is not Unicode text",
            }
            .to_owned(),
        )
    }
}

pub(super) fn convert(value: &[u8], out: &mut impl Output) -> Result<(), ValueError> {
    let mut scanner = Scanner::new(value);
    any(&mut scanner, MAX_VALUE_DEPTH, out)?;
    match scanner.peek() {
        None => Ok(()),
        Some(_) => Err(SyntaxError { at: scanner.at }.into()),
    }
}

fn any(scanner: &mut Scanner<'_>, max_depth: usize, out: &mut impl Output) -> Result<(), ValueError> {
    let kind = scanner.kind()?;
    match kind {
        ValueKind::Object => object(scanner, max_depth.checked_sub(1).ok_or_else(too_deep)?, out),
        ValueKind::Array => array(scanner, max_depth.checked_sub(1).ok_or_else(too_deep)?, out),
        ValueKind::String => string(scanner.string()?, out),
        ValueKind::Number => number(scanner.number()?, out),
        ValueKind::Null | ValueKind::True | ValueKind::False => {
            scanner.scalar(kind)?;
            out.write(|out| {
                out.push(match kind {
                    ValueKind::True => 0xc3,
                    ValueKind::False => 0xc2,
                    _ => write::NIL,
                });
            });
            Ok(())
        }
    }
}

fn array(scanner: &mut Scanner<'_>, max_depth: usize, out: &mut impl Output) -> Result<(), ValueError> {
    scanner.at += 1;
    let mark = begin(out);
    let mut count = 0;
    if scanner.peek() == Some(b']') {
        scanner.at += 1;
    } else {
        loop {
            any(scanner, max_depth, out)?;
            count += 1;
            if scanner.next(b']')? == Delimiter::End {
                break;
            }
        }
    }
    end(out, mark, count, write::array);
    Ok(())
}

fn object(scanner: &mut Scanner<'_>, max_depth: usize, out: &mut impl Output) -> Result<(), ValueError> {
    scanner.at += 1;
    let mark = begin(out);
    let mut count = 0;
    if scanner.peek() == Some(b'}') {
        scanner.at += 1;
    } else {
        loop {
            string(scanner.name()?, out)?;
            any(scanner, max_depth, out)?;
            count += 1;
            if scanner.next(b'}')? == Delimiter::End {
                break;
            }
        }
    }
    end(out, mark, count, write::map);
    Ok(())
}

/// Reserves one byte for the header of a container, whose count is not known yet. Returns its position.
fn begin(out: &mut impl Output) -> usize {
    let mut mark = 0;
    out.write(|out| {
        mark = out.len();
        out.push(0);
    });
    mark
}

/// Writes the header of a container. If it is longer than one byte, the content is moved, which is rare, and cheaper
/// than counting the elements beforehand.
fn end(out: &mut impl Output, mark: usize, count: usize, head: impl FnOnce(&mut Vec<u8>, usize)) {
    out.write(|out| {
        if count < 16 {
            let content = out.len();
            head(out, count);
            out.swap_remove(mark);
            debug_assert_eq!(out.len(), content);
        } else {
            let mut long = Vec::with_capacity(5);
            head(&mut long, count);
            out.splice(mark..=mark, long);
        }
    });
}

fn string<O: Output>(raw: &[u8], out: &mut O) -> Result<(), ValueError> {
    if O::KEEPS {
        let text = strings::unescape(raw)?;
        out.write(|out| write::text(out, &text));
    } else {
        strings::check(raw)?;
    }
    Ok(())
}

fn number(raw: &[u8], out: &mut impl Output) -> Result<(), ValueError> {
    // A scanned number is ASCII.
    let text = std::str::from_utf8(raw).unwrap_or_default();
    if let Ok(number) = text.parse() {
        out.write(|out| write::integer(out, number));
    } else if let Ok(number) = text.parse() {
        out.write(|out| write::unsigned(out, number));
    } else {
        let float: f64 = text.parse().unwrap_or(f64::INFINITY);
        if !float.is_finite() {
            return Err(ValueError("a number in the value is too large for MessagePack".to_owned()));
        }
        out.write(|out| {
            out.push(0xcb);
            out.extend_from_slice(&float.to_be_bytes());
        });
    }
    Ok(())
}
