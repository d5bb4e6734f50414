//! Checks that all strings of a value are Unicode text, independently of the server's code.

use std::fmt;

use hubplane::Protocol;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// Panics unless these bytes are one value whose strings, including keys, are Unicode text.
pub fn assert_text(protocol: Protocol, value: &[u8]) {
    match protocol {
        Protocol::Json => {
            std::str::from_utf8(value).expect("JSON is UTF-8");
            if let Err(error) = serde_json::from_slice::<Everything>(value) {
                // serde_json stops at a number that does not fit into any Rust type.
                assert!(error.to_string().starts_with("number out of range"), "{error}");
            }
        }
        Protocol::MessagePack => {
            let mut rest = value;
            one(&mut rest);
        }
    }
}

/// Deserializes every string of a value, so that `serde_json` checks them.
struct Everything;

impl<'de> Deserialize<'de> for Everything {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Everything {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self, A::Error> {
        while entries.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

/// Reads one MessagePack value from the front of `rest` and checks its strings.
fn one(rest: &mut &[u8]) {
    let code = take(rest, 1)[0];
    let count = match code {
        0x80..=0x8f => 2 * usize::from(code & 0x0f),
        0x90..=0x9f => usize::from(code & 0x0f),
        0xa0..=0xbf => return string(rest, usize::from(code & 0x1f)),
        0xc4..=0xc6 => return skip(rest, 1 << (code - 0xc4), 0),
        0xc7..=0xc9 => return skip(rest, 1 << (code - 0xc7), 1),
        0xca | 0xce | 0xd2 => return pass(rest, 4),
        0xcb | 0xcf | 0xd3 => return pass(rest, 8),
        0xcc | 0xd0 => return pass(rest, 1),
        0xcd | 0xd1 => return pass(rest, 2),
        0xd4..=0xd8 => return pass(rest, 1 + (1 << (code - 0xd4))),
        0xd9..=0xdb => {
            let length = length(rest, 1 << (code - 0xd9));
            return string(rest, length);
        }
        0xdc | 0xdd => length(rest, 2 << (code - 0xdc)),
        0xde | 0xdf => 2 * length(rest, 2 << (code - 0xde)),
        0xc1 => panic!("a code that does not exist"),
        _ => 0,
    };
    for _ in 0..count {
        one(rest);
    }
}

fn pass(rest: &mut &[u8], length: usize) {
    take(rest, length);
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, left) = rest.split_at_checked(length).expect("a complete value");
    *rest = left;
    taken
}

fn length(rest: &mut &[u8], width: usize) -> usize {
    take(rest, width).iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
}

fn string(rest: &mut &[u8], length: usize) {
    std::str::from_utf8(take(rest, length)).expect("a string is UTF-8");
}

/// Skips binary, or an extension with its type (`kind` bytes).
fn skip(rest: &mut &[u8], width: usize, kind: usize) {
    let length = length(rest, width);
    take(rest, kind + length);
}
