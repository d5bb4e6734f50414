//! Reads MessagePack bytes token by token, without copying, and without trusting any length.

use crate::protocol::transcode;
use crate::protocol::value::Proven;

/// One token. The token of a container is only its header; its elements follow as further tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Token<'a> {
    Nil,
    Bool(bool),
    /// An integer that fits into `i64`, whatever its encoding.
    Int(i64),
    /// An integer above `i64::MAX`.
    BigInt(u64),
    F32(f32),
    F64(f64),
    /// A string. The caller checks whether it is UTF-8.
    Str(&'a [u8]),
    Bin(&'a [u8]),
    Ext(i8, &'a [u8]),
    /// An array with this many elements. At least as many bytes follow.
    Array(usize),
    /// A map with this many entries. At least twice as many bytes follow.
    Map(usize),
}

/// Why bytes are not valid MessagePack, or not of the expected type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadError {
    /// The bytes end too early, or a length is larger than what is left.
    End,
    /// A code that is not defined, or that has another type than expected.
    Code(u8),
    /// The value is nested too deeply.
    Depth,
}

/// What a scan notes about a value.
struct Noted {
    /// Whether all strings so far are UTF-8.
    is_text: bool,
    /// Whether everything so far can be represented in JSON.
    portable: bool,
    /// How many further levels were allowed at the deepest place.
    min_levels_left: usize,
}

impl Noted {
    /// Enters a container, where `levels_left` levels are allowed. Returns how many are allowed inside it.
    fn enter(&mut self, levels_left: usize) -> Result<usize, ReadError> {
        let inside = levels_left.checked_sub(1).ok_or(ReadError::Depth)?;
        self.min_levels_left = self.min_levels_left.min(inside);
        Ok(inside)
    }
}

/// A position in MessagePack bytes.
#[derive(Clone, Debug)]
pub(crate) struct TokenReader<'a> {
    bytes: &'a [u8],
    pub(crate) at: usize,
}

impl<'a> TokenReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], ReadError> {
        let end = self.at.checked_add(length).ok_or(ReadError::End)?;
        let part = self.bytes.get(self.at..end).ok_or(ReadError::End)?;
        self.at = end;
        Ok(part)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let mut fixed = [0; N];
        fixed.copy_from_slice(self.take(N)?);
        Ok(fixed)
    }

    fn length(&mut self, width: u8) -> Result<usize, ReadError> {
        Ok(match width {
            0 => usize::from(u8::from_be_bytes(self.fixed()?)),
            1 => usize::from(u16::from_be_bytes(self.fixed()?)),
            _ => u32::from_be_bytes(self.fixed()?) as usize,
        })
    }

    fn ext(&mut self, length: usize) -> Result<Token<'a>, ReadError> {
        let kind = i8::from_be_bytes(self.fixed()?);
        Ok(Token::Ext(kind, self.take(length)?))
    }

    /// Checks the header of an array. Each element takes at least one byte, so a count that is larger than the number
    /// of remaining bytes is refused at once.
    fn array(&self, count: usize) -> Result<Token<'a>, ReadError> {
        if count > self.remaining() { Err(ReadError::End) } else { Ok(Token::Array(count)) }
    }

    fn map(&self, count: usize) -> Result<Token<'a>, ReadError> {
        if count > self.remaining() / 2 { Err(ReadError::End) } else { Ok(Token::Map(count)) }
    }

    /// Reads the next token. After an error the position is unspecified.
    pub(crate) fn token(&mut self) -> Result<Token<'a>, ReadError> {
        let [code] = self.fixed()?;
        Ok(match code {
            0x00..=0x7f => Token::Int(i64::from(code)),
            0x80..=0x8f => self.map(usize::from(code & 0x0f))?,
            0x90..=0x9f => self.array(usize::from(code & 0x0f))?,
            0xa0..=0xbf => Token::Str(self.take(usize::from(code & 0x1f))?),
            0xc0 => Token::Nil,
            0xc1 => return Err(ReadError::Code(code)),
            0xc2 => Token::Bool(false),
            0xc3 => Token::Bool(true),
            0xc4..=0xc6 => {
                let length = self.length(code - 0xc4)?;
                Token::Bin(self.take(length)?)
            }
            0xc7..=0xc9 => {
                let length = self.length(code - 0xc7)?;
                self.ext(length)?
            }
            0xca => Token::F32(f32::from_be_bytes(self.fixed()?)),
            0xcb => Token::F64(f64::from_be_bytes(self.fixed()?)),
            0xcc => Token::Int(i64::from(u8::from_be_bytes(self.fixed()?))),
            0xcd => Token::Int(i64::from(u16::from_be_bytes(self.fixed()?))),
            0xce => Token::Int(i64::from(u32::from_be_bytes(self.fixed()?))),
            0xcf => {
                let number = u64::from_be_bytes(self.fixed()?);
                i64::try_from(number).map_or(Token::BigInt(number), Token::Int)
            }
            0xd0 => Token::Int(i64::from(i8::from_be_bytes(self.fixed()?))),
            0xd1 => Token::Int(i64::from(i16::from_be_bytes(self.fixed()?))),
            0xd2 => Token::Int(i64::from(i32::from_be_bytes(self.fixed()?))),
            0xd3 => Token::Int(i64::from_be_bytes(self.fixed()?)),
            0xd4..=0xd8 => self.ext(1 << (code - 0xd4))?,
            0xd9..=0xdb => {
                let length = self.length(code - 0xd9)?;
                Token::Str(self.take(length)?)
            }
            0xdc..=0xdd => {
                let count = self.length(code - 0xdc + 1)?;
                self.array(count)?
            }
            0xde..=0xdf => {
                let count = self.length(code - 0xde + 1)?;
                self.map(count)?
            }
            0xe0..=0xff => Token::Int(i64::from(code as i8)),
        })
    }

    /// The code of the next token, which is not consumed.
    pub(crate) fn code(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Skips one value, which may be nested up to `max_depth` levels deep.
    pub(crate) fn skip(&mut self, max_depth: usize) -> Result<(), ReadError> {
        self.scan(max_depth).map(drop)
    }

    /// Like [`Self::skip`]. Returns whether all strings of the value are UTF-8, and what else is known about it.
    pub(crate) fn scan(&mut self, max_depth: usize) -> Result<(bool, Proven), ReadError> {
        let mut noted = Noted { is_text: true, portable: true, min_levels_left: max_depth };
        let first = self.token()?;
        self.walk(first, max_depth, &mut noted)?;
        let depth = u8::try_from(max_depth - noted.min_levels_left).unwrap_or(u8::MAX);
        Ok((noted.is_text, Proven { depth, portable: noted.portable }))
    }

    /// Consumes the rest of the value that begins with `first`.
    fn walk(&mut self, first: Token<'a>, levels_left: usize, noted: &mut Noted) -> Result<(), ReadError> {
        match first {
            Token::Array(count) => {
                let inside = noted.enter(levels_left)?;
                for _ in 0..count {
                    let element = self.token()?;
                    self.walk(element, inside, noted)?;
                }
            }
            Token::Map(count) => {
                let inside = noted.enter(levels_left)?;
                for _ in 0..count {
                    let key = self.token()?;
                    noted.portable &= matches!(key, Token::Str(_) | Token::Int(_) | Token::BigInt(_));
                    self.walk(key, inside, noted)?;
                    let value = self.token()?;
                    self.walk(value, inside, noted)?;
                }
            }
            Token::Str(bytes) => noted.is_text = noted.is_text && std::str::from_utf8(bytes).is_ok(),
            Token::F32(float) => noted.portable &= float.is_finite(),
            Token::F64(float) => noted.portable &= float.is_finite(),
            Token::Ext(kind, bytes) => noted.portable &= transcode::has_json_form(kind, bytes),
            Token::Nil | Token::Bool(_) | Token::Int(_) | Token::BigInt(_) | Token::Bin(_) => {}
        }
        Ok(())
    }

    /// Skips one value of any depth, without recursion. Returns whether all its strings are UTF-8.
    pub(crate) fn skip_any_depth_text(&mut self) -> Result<bool, ReadError> {
        let mut is_text = true;
        self.walk_any_depth(|bytes| is_text = is_text && std::str::from_utf8(bytes).is_ok())?;
        Ok(is_text)
    }

    /// Skips one value of any depth, without recursion.
    pub(crate) fn skip_any_depth(&mut self) -> Result<(), ReadError> {
        self.walk_any_depth(|_| {})
    }

    fn walk_any_depth(&mut self, mut string: impl FnMut(&[u8])) -> Result<(), ReadError> {
        let mut left = 1usize;
        while left > 0 {
            left -= 1;
            match self.token()? {
                // A count is at most the number of remaining bytes, so the sum is far from an overflow.
                Token::Array(count) => left = left.saturating_add(count),
                Token::Map(count) => left = left.saturating_add(count * 2),
                Token::Str(bytes) => string(bytes),
                _ => {}
            }
        }
        Ok(())
    }
}
