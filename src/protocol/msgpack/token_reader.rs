//! A reader of MessagePack bytes, token by token. It copies nothing and trusts no length.

use crate::protocol::transcode;
use crate::protocol::value::Proven;

/// One token. A container's token is its head only; its elements follow as tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Token<'a> {
    Nil,
    Bool(bool),
    /// Any integer that fits.
    Int(i64),
    /// Only what is above `i64::MAX`.
    BigInt(u64),
    F32(f32),
    F64(f64),
    /// Text; whether it is UTF-8 is checked by the caller.
    Str(&'a [u8]),
    Bin(&'a [u8]),
    Ext(i8, &'a [u8]),
    /// An array of that many elements; there are at least as many bytes.
    Array(usize),
    /// A map of that many entries; there are at least twice as many bytes.
    Map(usize),
}

/// Why bytes are no MessagePack, or not what was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenError {
    /// They end too early, or a length says more than there is.
    End,
    /// A code that never occurs, or one of another kind than wanted.
    Code(u8),
    /// Nested deeper than allowed.
    Depth,
}

/// What a scan notes on its way.
struct Noted {
    /// Whether all strings so far are UTF-8.
    is_text: bool,
    /// Whether all so far has a form in JSON.
    portable: bool,
    /// The room that was left at the deepest place.
    least_room: usize,
}

impl Noted {
    /// Opens a container where `room` may be opened; gives the room inside it.
    fn enter(&mut self, room: usize) -> Result<usize, TokenError> {
        let room = room.checked_sub(1).ok_or(TokenError::Depth)?;
        self.least_room = self.least_room.min(room);
        Ok(room)
    }
}

/// A place in MessagePack bytes.
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

    fn take(&mut self, length: usize) -> Result<&'a [u8], TokenError> {
        let end = self.at.checked_add(length).ok_or(TokenError::End)?;
        let part = self.bytes.get(self.at..end).ok_or(TokenError::End)?;
        self.at = end;
        Ok(part)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], TokenError> {
        let mut fixed = [0; N];
        fixed.copy_from_slice(self.take(N)?);
        Ok(fixed)
    }

    fn length(&mut self, width: u8) -> Result<usize, TokenError> {
        Ok(match width {
            0 => usize::from(u8::from_be_bytes(self.fixed()?)),
            1 => usize::from(u16::from_be_bytes(self.fixed()?)),
            _ => u32::from_be_bytes(self.fixed()?) as usize,
        })
    }

    fn ext(&mut self, length: usize) -> Result<Token<'a>, TokenError> {
        let kind = i8::from_be_bytes(self.fixed()?);
        Ok(Token::Ext(kind, self.take(length)?))
    }

    /// Each element takes a byte at least: a head that promises more than there is, is refused at once.
    fn array(&self, count: usize) -> Result<Token<'a>, TokenError> {
        if count > self.remaining() { Err(TokenError::End) } else { Ok(Token::Array(count)) }
    }

    fn map(&self, count: usize) -> Result<Token<'a>, TokenError> {
        if count > self.remaining() / 2 { Err(TokenError::End) } else { Ok(Token::Map(count)) }
    }

    /// The next token. After an error the position is undefined.
    pub(crate) fn token(&mut self) -> Result<Token<'a>, TokenError> {
        let [code] = self.fixed()?;
        Ok(match code {
            0x00..=0x7f => Token::Int(i64::from(code)),
            0x80..=0x8f => self.map(usize::from(code & 0x0f))?,
            0x90..=0x9f => self.array(usize::from(code & 0x0f))?,
            0xa0..=0xbf => Token::Str(self.take(usize::from(code & 0x1f))?),
            0xc0 => Token::Nil,
            0xc1 => return Err(TokenError::Code(code)),
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

    /// The code of the next token, not gone over.
    pub(crate) fn code(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Goes over one whole value that may open `room` containers inside each other.
    pub(crate) fn skip(&mut self, room: usize) -> Result<(), TokenError> {
        self.scan(room).map(drop)
    }

    /// The same; tells whether all its strings are UTF-8, and what else is proven of the value then.
    pub(crate) fn scan(&mut self, room: usize) -> Result<(bool, Proven), TokenError> {
        let mut noted = Noted { is_text: true, portable: true, least_room: room };
        let first = self.token()?;
        self.walk(first, room, &mut noted)?;
        let depth = u8::try_from(room - noted.least_room).unwrap_or(u8::MAX);
        Ok((noted.is_text, Proven { depth, portable: noted.portable }))
    }

    /// Goes over the rest of the value that begins with `first`.
    fn walk(&mut self, first: Token<'a>, room: usize, noted: &mut Noted) -> Result<(), TokenError> {
        match first {
            Token::Array(count) => {
                let room = noted.enter(room)?;
                for _ in 0..count {
                    let element = self.token()?;
                    self.walk(element, room, noted)?;
                }
            }
            Token::Map(count) => {
                let room = noted.enter(room)?;
                for _ in 0..count {
                    let key = self.token()?;
                    noted.portable &= matches!(key, Token::Str(_) | Token::Int(_) | Token::BigInt(_));
                    self.walk(key, room, noted)?;
                    let value = self.token()?;
                    self.walk(value, room, noted)?;
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

    /// Goes over one whole value of any depth, without recursion; tells whether all its strings are UTF-8.
    pub(crate) fn skip_any_depth_text(&mut self) -> Result<bool, TokenError> {
        let mut is_text = true;
        self.walk_any_depth(|bytes| is_text = is_text && std::str::from_utf8(bytes).is_ok())?;
        Ok(is_text)
    }

    /// Goes over one whole value of any depth, without recursion.
    pub(crate) fn skip_any_depth(&mut self) -> Result<(), TokenError> {
        self.walk_any_depth(|_| {})
    }

    fn walk_any_depth(&mut self, mut string: impl FnMut(&[u8])) -> Result<(), TokenError> {
        let mut left = 1usize;
        while left > 0 {
            left -= 1;
            match self.token()? {
                // A count is at most the number of bytes that are left, so the sum stays far from overflow.
                Token::Array(count) => left = left.saturating_add(count),
                Token::Map(count) => left = left.saturating_add(count * 2),
                Token::Str(bytes) => string(bytes),
                _ => {}
            }
        }
        Ok(())
    }
}
