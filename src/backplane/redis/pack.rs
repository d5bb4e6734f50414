//! The few MessagePack primitives of the envelopes: minimal on the way out, tolerant on the way in
//! (reference/redis-backplane.md A.2). Nothing is copied, and no claimed length is believed before the bytes are there.

use bytes::{BufMut, Bytes, BytesMut};

// === writing ===

pub(super) fn array(out: &mut BytesMut, length: usize) {
    match length {
        0..=15 => out.put_u8(0x90 | length as u8),
        16..=0xffff => {
            out.put_u8(0xdc);
            out.put_u16(length as u16);
        }
        _ => {
            out.put_u8(0xdd);
            out.put_u32(length as u32);
        }
    }
}

pub(super) fn map(out: &mut BytesMut, length: usize) {
    match length {
        0..=15 => out.put_u8(0x80 | length as u8),
        16..=0xffff => {
            out.put_u8(0xde);
            out.put_u16(length as u16);
        }
        _ => {
            out.put_u8(0xdf);
            out.put_u32(length as u32);
        }
    }
}

pub(super) fn text(out: &mut BytesMut, text: &str) {
    match text.len() {
        length @ 0..=31 => out.put_u8(0xa0 | length as u8),
        length @ 32..=0xff => out.put_slice(&[0xd9, length as u8]),
        length @ 0x100..=0xffff => {
            out.put_u8(0xda);
            out.put_u16(length as u16);
        }
        length => {
            out.put_u8(0xdb);
            out.put_u32(length as u32);
        }
    }
    out.put_slice(text.as_bytes());
}

pub(super) fn binary(out: &mut BytesMut, bytes: &[u8]) {
    match bytes.len() {
        length @ 0..=0xff => out.put_slice(&[0xc4, length as u8]),
        length @ 0x100..=0xffff => {
            out.put_u8(0xc5);
            out.put_u16(length as u16);
        }
        length => {
            out.put_u8(0xc6);
            out.put_u32(length as u32);
        }
    }
    out.put_slice(bytes);
}

pub(super) fn nil(out: &mut BytesMut) {
    out.put_u8(0xc0);
}

pub(super) fn unsigned(out: &mut BytesMut, value: u64) {
    match value {
        0..=0x7f => out.put_u8(value as u8),
        0x80..=0xff => out.put_slice(&[0xcc, value as u8]),
        0x100..=0xffff => {
            out.put_u8(0xcd);
            out.put_u16(value as u16);
        }
        0x1_0000..=0xffff_ffff => {
            out.put_u8(0xce);
            out.put_u32(value as u32);
        }
        _ => {
            out.put_u8(0xcf);
            out.put_u64(value);
        }
    }
}

pub(super) fn integer(out: &mut BytesMut, value: i32) {
    match value {
        0.. => unsigned(out, value as u64),
        -32..=-1 => out.put_i8(value as i8),
        -128..=-33 => {
            out.put_u8(0xd0);
            out.put_i8(value as i8);
        }
        -32768..=-129 => {
            out.put_u8(0xd1);
            out.put_i16(value as i16);
        }
        _ => {
            out.put_u8(0xd2);
            out.put_i32(value);
        }
    }
}

// === reading ===

/// Walks over one payload. Every answer of `None` means: not that, or not enough bytes.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    source: &'a Bytes,
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(source: &'a Bytes) -> Self {
        Self { source, at: 0 }
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let bytes = self.source.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    /// A big-endian number of 1, 2, 4 or 8 bytes.
    fn number(&mut self, width: usize) -> Option<u64> {
        Some(self.take(width)?.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte)))
    }

    fn length(&mut self, width: usize) -> Option<usize> {
        usize::try_from(self.number(width)?).ok()
    }

    pub(super) fn array(&mut self) -> Option<usize> {
        match self.byte()? {
            code @ 0x90..=0x9f => Some(usize::from(code & 0x0f)),
            0xdc => self.length(2),
            0xdd => self.length(4),
            _ => None,
        }
    }

    pub(super) fn map(&mut self) -> Option<usize> {
        match self.byte()? {
            code @ 0x80..=0x8f => Some(usize::from(code & 0x0f)),
            0xde => self.length(2),
            0xdf => self.length(4),
            _ => None,
        }
    }

    /// A text; the inner None is nil.
    pub(super) fn text(&mut self) -> Option<Option<&'a str>> {
        let length = match self.byte()? {
            0xc0 => return Some(None),
            code @ 0xa0..=0xbf => usize::from(code & 0x1f),
            0xd9 => self.length(1)?,
            0xda => self.length(2)?,
            0xdb => self.length(4)?,
            _ => return None,
        };
        std::str::from_utf8(self.take(length)?).ok().map(Some)
    }

    /// Bytes, as a slice of the payload; the inner None is nil.
    pub(super) fn binary(&mut self) -> Option<Option<Bytes>> {
        let length = match self.byte()? {
            0xc0 => return Some(None),
            0xc4 | 0xd9 => self.length(1)?,
            0xc5 | 0xda => self.length(2)?,
            0xc6 | 0xdb => self.length(4)?,
            code @ 0xa0..=0xbf => usize::from(code & 0x1f),
            _ => return None,
        };
        let start = self.at;
        self.take(length)?;
        Some(Some(self.source.slice(start..self.at)))
    }

    /// An integer of any width that fits.
    pub(super) fn integer(&mut self) -> Option<i64> {
        match self.byte()? {
            code @ 0..=0x7f => Some(i64::from(code)),
            code @ 0xe0..=0xff => Some(i64::from(code as i8)),
            0xcc => self.number(1).map(|value| value as i64),
            0xcd => self.number(2).map(|value| value as i64),
            0xce => self.number(4).map(|value| value as i64),
            0xcf => i64::try_from(self.number(8)?).ok(),
            0xd0 => self.number(1).map(|value| i64::from(value as i8)),
            0xd1 => self.number(2).map(|value| i64::from(value as i16)),
            0xd2 => self.number(4).map(|value| i64::from(value as i32)),
            0xd3 => self.number(8).map(|value| value as i64),
            _ => None,
        }
    }

    /// Steps over one value, whatever it is, without recursion.
    pub(super) fn skip(&mut self) -> Option<()> {
        let mut left: u64 = 1;
        while left > 0 {
            left -= 1;
            let (body, children) = match self.byte()? {
                0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => (0, 0),
                code @ 0x80..=0x8f => (0, u64::from(code & 0x0f) * 2),
                code @ 0x90..=0x9f => (0, u64::from(code & 0x0f)),
                code @ 0xa0..=0xbf => (usize::from(code & 0x1f), 0),
                0xc1 => return None,
                0xc4 | 0xd9 => (self.length(1)?, 0),
                0xc5 | 0xda => (self.length(2)?, 0),
                0xc6 | 0xdb => (self.length(4)?, 0),
                0xc7 => (self.length(1)? + 1, 0),
                0xc8 => (self.length(2)? + 1, 0),
                0xc9 => (self.length(4)?.checked_add(1)?, 0),
                0xcc | 0xd0 => (1, 0),
                0xcd | 0xd1 => (2, 0),
                0xca | 0xce | 0xd2 => (4, 0),
                0xcb | 0xcf | 0xd3 => (8, 0),
                code @ 0xd4..=0xd8 => (1 + (1 << (code - 0xd4)), 0),
                0xdc => (0, self.number(2)?),
                0xdd => (0, self.number(4)?),
                0xde => (0, self.number(2)? * 2),
                0xdf => (0, self.number(4)? * 2),
            };
            self.take(body)?;
            left = left.checked_add(children)?;
        }
        Some(())
    }
}
