//! JSON to MessagePack.

use super::{MAX_VALUE_DEPTH, Out, too_deep};
use crate::protocol::ValueError;
use crate::protocol::json::scan::{Kind, Next, Scanner, Syntax};
use crate::protocol::json::text::{self, BadText};
use crate::protocol::msgpack::write;

impl From<Syntax> for ValueError {
    fn from(bad: Syntax) -> Self {
        Self(format!("the value is not well-formed JSON at byte {}", bad.at))
    }
}

impl From<BadText> for ValueError {
    fn from(bad: BadText) -> Self {
        Self(
            match bad {
                BadText::Utf8 => "a string in the value is not UTF-8",
                BadText::Surrogate => "a string in the value holds a lone surrogate, which is no Unicode text",
            }
            .to_owned(),
        )
    }
}

pub(super) fn convert(value: &[u8], out: &mut impl Out) -> Result<(), ValueError> {
    let mut scanner = Scanner::new(value);
    any(&mut scanner, MAX_VALUE_DEPTH, out)?;
    match scanner.peek() {
        None => Ok(()),
        Some(_) => Err(Syntax { at: scanner.at }.into()),
    }
}

fn any(scanner: &mut Scanner<'_>, room: usize, out: &mut impl Out) -> Result<(), ValueError> {
    let kind = scanner.kind()?;
    match kind {
        Kind::Object => object(scanner, room.checked_sub(1).ok_or_else(too_deep)?, out),
        Kind::Array => array(scanner, room.checked_sub(1).ok_or_else(too_deep)?, out),
        Kind::String => string(scanner.string()?, out),
        Kind::Number => number(scanner.number()?, out),
        Kind::Null | Kind::True | Kind::False => {
            scanner.scalar(kind)?;
            out.write(|out| {
                out.push(match kind {
                    Kind::True => 0xc3,
                    Kind::False => 0xc2,
                    _ => write::NIL,
                });
            });
            Ok(())
        }
    }
}

fn array(scanner: &mut Scanner<'_>, room: usize, out: &mut impl Out) -> Result<(), ValueError> {
    scanner.at += 1;
    let mark = begin(out);
    let mut count = 0;
    if scanner.peek() == Some(b']') {
        scanner.at += 1;
    } else {
        loop {
            any(scanner, room, out)?;
            count += 1;
            if scanner.next(b']')? == Next::End {
                break;
            }
        }
    }
    end(out, mark, count, write::array);
    Ok(())
}

fn object(scanner: &mut Scanner<'_>, room: usize, out: &mut impl Out) -> Result<(), ValueError> {
    scanner.at += 1;
    let mark = begin(out);
    let mut count = 0;
    if scanner.peek() == Some(b'}') {
        scanner.at += 1;
    } else {
        loop {
            string(scanner.name()?, out)?;
            any(scanner, room, out)?;
            count += 1;
            if scanner.next(b'}')? == Next::End {
                break;
            }
        }
    }
    end(out, mark, count, write::map);
    Ok(())
}

/// Leaves one byte for the head of a container, whose count is not known yet.
fn begin(out: &mut impl Out) -> usize {
    let mut mark = 0;
    out.write(|out| {
        mark = out.len();
        out.push(0);
    });
    mark
}

/// Writes the head. One longer than a byte moves the content: rarer and cheaper than to count before.
fn end(out: &mut impl Out, mark: usize, count: usize, head: impl FnOnce(&mut Vec<u8>, usize)) {
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

fn string<O: Out>(raw: &[u8], out: &mut O) -> Result<(), ValueError> {
    if O::KEEPS {
        let text = text::unescape(raw)?;
        out.write(|out| write::text(out, &text));
    } else {
        text::check(raw)?;
    }
    Ok(())
}

fn number(raw: &[u8], out: &mut impl Out) -> Result<(), ValueError> {
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
