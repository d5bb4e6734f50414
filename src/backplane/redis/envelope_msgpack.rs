//! A MessagePack reader for envelopes, which is more tolerant than that of the hub protocol
//! (docs/builders/redis-backplane.md#A.2). It copies nothing.

use bytes::Bytes;

use crate::protocol::MAX_DEPTH;
use crate::protocol::msgpack::token_reader::{self, Token};

/// Reads one payload value by value. Every method returns `None` if the next value has another type, or if bytes are
/// missing.
#[derive(Clone, Debug)]
pub(super) struct EnvelopeReader<'a> {
    source: &'a Bytes,
    tokens: token_reader::TokenReader<'a>,
}

impl<'a> EnvelopeReader<'a> {
    pub(super) fn new(source: &'a Bytes) -> Self {
        Self { source, tokens: token_reader::TokenReader::new(source) }
    }

    fn token(&mut self) -> Option<Token<'a>> {
        self.tokens.token().ok()
    }

    pub(super) fn array(&mut self) -> Option<usize> {
        match self.token()? {
            Token::Array(count) => Some(count),
            _ => None,
        }
    }

    pub(super) fn map(&mut self) -> Option<usize> {
        match self.token()? {
            Token::Map(count) => Some(count),
            _ => None,
        }
    }

    /// A string; the inner `None` is nil.
    pub(super) fn text(&mut self) -> Option<Option<&'a str>> {
        match self.token()? {
            Token::Nil => Some(None),
            Token::Str(bytes) => std::str::from_utf8(bytes).ok().map(Some),
            _ => None,
        }
    }

    /// Binary data or the bytes of a string, as a slice of the payload; the inner `None` is nil.
    pub(super) fn binary(&mut self) -> Option<Option<Bytes>> {
        match self.token()? {
            Token::Nil => Some(None),
            Token::Bin(bytes) | Token::Str(bytes) => Some(Some(self.source.slice_ref(bytes))),
            _ => None,
        }
    }

    /// An integer of any width, if its value fits.
    pub(super) fn integer(&mut self) -> Option<i64> {
        match self.token()? {
            Token::Int(number) => Some(number),
            _ => None,
        }
    }

    /// Skips one value of any type.
    pub(super) fn skip(&mut self) -> Option<()> {
        self.tokens.skip(MAX_DEPTH).ok()
    }
}
