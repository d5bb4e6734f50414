//! A strict scanner for JSON bytes (RFC 8259). It finds where tokens begin and end, and copies nothing.
//!
//! As in ASP.NET Core's reader, a string that is not Unicode text is not a syntax error. The scanner notes escapes of
//! lone surrogates; the caller checks whether the bytes are UTF-8, once for a whole record. The scanner also notes
//! other facts, so that a value that is passed on need not be scanned again ([`Noted`]).

use memchr::memchr2;

use super::strings;
use crate::protocol::MAX_DEPTH;

/// The kind of a value, as determined by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValueKind {
    Object,
    Array,
    String,
    Number,
    True,
    False,
    Null,
}

impl ValueKind {
    /// The name of a token of this kind in ASP.NET Core's texts.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Object => "Object",
            Self::Array => "Array",
            Self::String => "String",
            Self::Number => "Number",
            Self::True => "True",
            Self::False => "False",
            Self::Null => "Null",
        }
    }
}

/// The position at which the bytes are no longer valid JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// The offset of the offending byte, or the length if the text ends too early.
    pub(crate) at: usize,
}

/// A position in JSON text.
#[derive(Clone, Debug)]
pub(crate) struct Scanner<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) at: usize,
    /// What has been noted so far. The caller resets it before each value.
    pub(crate) noted: Noted,
}

/// What a scanner notes about the values that it consumes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Noted {
    /// Whether any string contains an escape of a lone surrogate.
    pub(crate) lone_surrogate: bool,
    /// Whether any number may be too large for a float, because it is long or has a long exponent.
    pub(crate) large_number: bool,
    /// The maximum nesting depth.
    pub(crate) depth: u8,
}

/// A number with at most this many bytes, and an exponent of at most two digits, is far below the largest float.
const MAX_PLAIN_NUMBER: usize = 100;

/// What follows an element of an array or a member of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delimiter {
    Comma,
    End,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, noted: Noted::default() }
    }

    fn fail<T>(&self) -> Result<T, SyntaxError> {
        Err(SyntaxError { at: self.at })
    }

    fn blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    /// Skips whitespace and returns the next byte, without consuming it.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        self.blanks();
        self.bytes.get(self.at).copied()
    }

    /// Consumes `byte` and any whitespace before it.
    pub(crate) fn expect(&mut self, byte: u8) -> Result<(), SyntaxError> {
        if self.peek() != Some(byte) {
            return self.fail();
        }
        self.at += 1;
        Ok(())
    }

    /// Consumes the comma after an element, or the end of the container, which is `close`.
    pub(crate) fn next(&mut self, close: u8) -> Result<Delimiter, SyntaxError> {
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(Delimiter::Comma)
            }
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(Delimiter::End)
            }
            _ => self.fail(),
        }
    }

    /// The kind of the next value. Looks only at its first byte.
    pub(crate) fn kind(&mut self) -> Result<ValueKind, SyntaxError> {
        match self.peek() {
            Some(b'{') => Ok(ValueKind::Object),
            Some(b'[') => Ok(ValueKind::Array),
            Some(b'"') => Ok(ValueKind::String),
            Some(b'-' | b'0'..=b'9') => Ok(ValueKind::Number),
            Some(b't') => Ok(ValueKind::True),
            Some(b'f') => Ok(ValueKind::False),
            Some(b'n') => Ok(ValueKind::Null),
            _ => self.fail(),
        }
    }

    /// Consumes a string and returns the bytes between its quotes, without unescaping them.
    pub(crate) fn string(&mut self) -> Result<&'a [u8], SyntaxError> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            let Some(found) = memchr2(b'"', b'\\', &self.bytes[self.at..]) else {
                self.at = control(self.bytes, self.at, self.bytes.len()).unwrap_or(self.bytes.len());
                return self.fail();
            };
            let end = self.at + found;
            if let Some(bad) = control(self.bytes, self.at, end) {
                self.at = bad;
                return self.fail();
            }
            self.at = end;
            if self.bytes[end] == b'"' {
                self.at = end + 1;
                return Ok(&self.bytes[start..end]);
            }
            self.escape()?;
        }
    }

    fn escape(&mut self) -> Result<(), SyntaxError> {
        self.at += 1;
        match self.bytes.get(self.at) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                let unit = self.unit()?;
                if strings::is_surrogate(unit) {
                    // The other half of a pair must follow directly.
                    match strings::unit(&self.bytes[self.at..]) {
                        Some(low) if strings::is_pair(unit, low) => self.at += 6,
                        _ => self.noted.lone_surrogate = true,
                    }
                }
            }
            _ => return self.fail(),
        }
        Ok(())
    }

    /// Consumes the four digits of an escape and returns the UTF-16 code unit.
    fn unit(&mut self) -> Result<u32, SyntaxError> {
        let mut unit = 0;
        for _ in 0..4 {
            let Some(digit) = self.bytes.get(self.at).and_then(|byte| char::from(*byte).to_digit(16)) else {
                return self.fail();
            };
            unit = unit << 4 | digit;
            self.at += 1;
        }
        Ok(unit)
    }

    /// Consumes a number and returns its bytes.
    pub(crate) fn number(&mut self) -> Result<&'a [u8], SyntaxError> {
        self.blanks();
        let start = self.at;
        if self.bytes.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        if self.bytes.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            let exponent = self.at;
            self.digits()?;
            self.noted.large_number |= self.at - exponent > 2;
        }
        self.noted.large_number |= self.at - start > MAX_PLAIN_NUMBER;
        match self.bytes.get(self.at) {
            None | Some(b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r') => Ok(&self.bytes[start..self.at]),
            Some(_) => self.fail(),
        }
    }

    fn digits(&mut self) -> Result<(), SyntaxError> {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == start { self.fail() } else { Ok(()) }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), SyntaxError> {
        for byte in word {
            if self.bytes.get(self.at) != Some(byte) {
                return self.fail();
            }
            self.at += 1;
        }
        match self.bytes.get(self.at) {
            None | Some(b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r') => Ok(()),
            Some(_) => self.fail(),
        }
    }

    /// Consumes a value that is not a container.
    pub(crate) fn scalar(&mut self, kind: ValueKind) -> Result<(), SyntaxError> {
        match kind {
            ValueKind::String => self.string().map(drop),
            ValueKind::Number => self.number().map(drop),
            ValueKind::True => self.word(b"true"),
            ValueKind::False => self.word(b"false"),
            ValueKind::Null => self.word(b"null"),
            ValueKind::Object | ValueKind::Array => self.fail(),
        }
    }

    /// Consumes one value inside `depth` open containers, and returns its bytes.
    pub(crate) fn value(&mut self, depth: usize) -> Result<&'a [u8], SyntaxError> {
        let kind = self.kind()?;
        let start = self.at;
        match kind {
            ValueKind::Object | ValueKind::Array => self.container(depth)?,
            scalar => self.scalar(scalar)?,
        }
        Ok(&self.bytes[start..self.at])
    }

    /// Consumes a container without recursion: `objects` has one bit for each open container, which says whether it is
    /// an object.
    fn container(&mut self, depth: usize) -> Result<(), SyntaxError> {
        let max_open = MAX_DEPTH.saturating_sub(depth);
        let mut objects = 0u64;
        let mut open = 0usize;
        loop {
            // A value begins here.
            let kind = self.kind()?;
            if let ValueKind::Object | ValueKind::Array = kind {
                if open >= max_open {
                    return self.fail();
                }
                self.at += 1;
                open += 1;
                // At most `MAX_DEPTH`.
                self.noted.depth = self.noted.depth.max(open as u8);
                objects = objects << 1 | u64::from(kind == ValueKind::Object);
                let close = if kind == ValueKind::Object { b'}' } else { b']' };
                if self.peek() != Some(close) {
                    if kind == ValueKind::Object {
                        self.name()?;
                    }
                    continue;
                }
                self.at += 1;
                open -= 1;
                objects >>= 1;
            } else {
                self.scalar(kind)?;
            }
            // A value has ended here, and the containers around it may end too.
            loop {
                if open == 0 {
                    return Ok(());
                }
                let object = objects & 1 == 1;
                match self.next(if object { b'}' } else { b']' })? {
                    Delimiter::Comma => {
                        if object {
                            self.name()?;
                        }
                        break;
                    }
                    Delimiter::End => {
                        open -= 1;
                        objects >>= 1;
                    }
                }
            }
        }
    }

    /// Consumes a member's name and the colon after it, and returns the name without unescaping it.
    pub(crate) fn name(&mut self) -> Result<&'a [u8], SyntaxError> {
        let name = self.string()?;
        self.expect(b':')?;
        Ok(name)
    }
}

/// The first control character between two offsets; strings must not contain any.
fn control(bytes: &[u8], from: usize, to: usize) -> Option<usize> {
    let part = &bytes[from..to];
    // A fold without early exit can be vectorised by the compiler.
    if part.iter().fold(false, |any, byte| any | (*byte < 0x20)) {
        return part.iter().position(|byte| *byte < 0x20).map(|at| from + at);
    }
    None
}
