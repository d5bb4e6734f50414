//! The expressions of steps in the form in which a declared hub stores them: constants encoded in both protocols, and
//! lists and tables as the bytes around their placeholders.

use super::compose::{ContainerKind, begin, end, put, put_key, put_text, separate};
use super::prepared::{Preparation, PreparedPart, PreparedText};
use crate::config::steps::{Expression, Placeholder};
use crate::hub::HubError;
use crate::protocol::{Protocol, Proven, RawValue, ValueError};

/// An [`Expression`] with its constants encoded.
#[derive(Debug)]
pub(super) enum PreparedValue {
    /// The same in every call; or the reason why the value cannot be sent, which makes every call's step fail.
    Constant(Result<RawValue, HubError>),
    /// A single placeholder, whose value is used as it is, whatever its type.
    Placeholder(Placeholder),
    /// A text with placeholders in it.
    Text(Vec<PreparedPart>),
    /// A list or a table with placeholders in it.
    Container(PreparedContainer),
}

/// A list or a table, cut at its placeholders.
#[derive(Debug)]
pub(super) struct PreparedContainer {
    json: Vec<Piece>,
    messagepack: Vec<Piece>,
    /// What is known about the constants in it, such as their depth.
    pub(super) proven: Proven,
}

/// A piece of a [`PreparedContainer`] in one protocol.
#[derive(Debug)]
pub(super) enum Piece {
    Constant(Vec<u8>),
    /// A value that is used as it is, and how many containers it is nested in.
    Placeholder(Placeholder, u8),
    Text(Vec<PreparedPart>),
}

impl PreparedValue {
    pub(super) fn new(expression: &Expression, preparation: Preparation<'_>) -> Self {
        if let Expression::Text(template) = expression {
            return match preparation.text(template) {
                PreparedText::Constant(text) => Self::Constant(Ok(RawValue::text(&text).with_both_forms())),
                PreparedText::Placeholder(placeholder) => Self::Placeholder(placeholder),
                PreparedText::Mixed(parts) => Self::Text(parts),
            };
        }
        let pieces = |protocol| {
            let mut writer = PieceWriter::new(protocol, preparation);
            writer.write(expression, 0)?;
            Ok(writer)
        };
        let (json, messagepack) = match (pieces(Protocol::Json), pieces(Protocol::MessagePack)) {
            (Ok(json), Ok(messagepack)) => (json, messagepack),
            (Err(error), _) | (_, Err(error)) => return Self::Constant(Err(error)),
        };
        let proven = Proven { depth: json.depth, ..Proven::SCALAR };
        if !json.pieces.is_empty() {
            return Self::Container(PreparedContainer { json: json.end(), messagepack: messagepack.end(), proven });
        }
        let constant = || {
            proven.check_depth().map_err(|ValueError(reason)| HubError::step(reason))?;
            Ok(RawValue::from_proven(Protocol::Json, json.constant.into(), proven).with_both_forms())
        };
        Self::Constant(constant())
    }
}

impl PreparedContainer {
    pub(super) fn pieces(&self, protocol: Protocol) -> &[Piece] {
        match protocol {
            Protocol::Json => &self.json,
            Protocol::MessagePack => &self.messagepack,
        }
    }

    /// The placeholders whose values are used as they are, in order.
    pub(super) fn placeholders(&self) -> impl Iterator<Item = Placeholder> {
        self.json.iter().filter_map(|piece| match piece {
            Piece::Placeholder(placeholder, _) => Some(*placeholder),
            _ => None,
        })
    }
}

/// Writes an expression in one protocol, cut at its placeholders.
struct PieceWriter<'a> {
    protocol: Protocol,
    preparation: Preparation<'a>,
    pieces: Vec<Piece>,
    /// The bytes that were written since the last placeholder.
    constant: Vec<u8>,
    /// The largest number of containers that were open at once.
    depth: u8,
}

impl<'a> PieceWriter<'a> {
    fn new(protocol: Protocol, preparation: Preparation<'a>) -> Self {
        Self { protocol, preparation, pieces: Vec::new(), constant: Vec::new(), depth: 0 }
    }

    /// `level` is the number of containers around the expression.
    fn write(&mut self, expression: &Expression, level: u8) -> Result<(), HubError> {
        let protocol = self.protocol;
        match expression {
            Expression::Literal(literal) => {
                let bytes = serde_json::to_vec(literal).map_err(|error| HubError::step(error.to_string()))?;
                put(&mut self.constant, protocol, &RawValue::from_checked(Protocol::Json, bytes.into()))?;
            }
            Expression::Text(template) => match self.preparation.text(template) {
                PreparedText::Constant(text) => put_text(&mut self.constant, protocol, &text),
                PreparedText::Placeholder(placeholder) => self.cut(Piece::Placeholder(placeholder, level)),
                PreparedText::Mixed(parts) => self.cut(Piece::Text(parts)),
            },
            Expression::List(items) => {
                let level = self.enter(ContainerKind::List, items.len(), level);
                for (index, item) in items.iter().enumerate() {
                    separate(&mut self.constant, protocol, index);
                    self.write(item, level)?;
                }
                end(&mut self.constant, protocol, ContainerKind::List);
            }
            Expression::Table(entries) => {
                let level = self.enter(ContainerKind::Table, entries.len(), level);
                for (index, (key, value)) in entries.iter().enumerate() {
                    separate(&mut self.constant, protocol, index);
                    put_key(&mut self.constant, protocol, key);
                    self.write(value, level)?;
                }
                end(&mut self.constant, protocol, ContainerKind::Table);
            }
        }
        Ok(())
    }

    fn enter(&mut self, kind: ContainerKind, length: usize, level: u8) -> u8 {
        begin(&mut self.constant, self.protocol, kind, length);
        let level = level.saturating_add(1);
        self.depth = self.depth.max(level);
        level
    }

    fn cut(&mut self, piece: Piece) {
        self.end_constant();
        self.pieces.push(piece);
    }

    fn end_constant(&mut self) {
        if !self.constant.is_empty() {
            self.pieces.push(Piece::Constant(std::mem::take(&mut self.constant)));
        }
    }

    fn end(mut self) -> Vec<Piece> {
        self.end_constant();
        self.pieces
    }
}
