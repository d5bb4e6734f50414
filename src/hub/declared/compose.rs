//! Evaluates the expressions of steps to values: arguments that pass through unchanged, texts, lists and tables.

use super::plan::{PlaceholderValue, StepContext};
use super::prepared::PreparedPart;
use super::prepared_value::{Piece, PreparedContainer, PreparedValue};
use crate::hub::HubError;
use crate::protocol::json::strings;
use crate::protocol::msgpack::write;
use crate::protocol::{Protocol, Proven, RawValue, ValueError};

impl StepContext<'_> {
    /// Evaluates an expression. A constant is shared by all calls. An argument that is the whole expression is passed
    /// on unchanged. A list or table is written in the protocol of the first argument in it, because a call's
    /// arguments normally share one protocol and then need no conversion.
    pub(super) fn value(&self, value: &PreparedValue) -> Result<RawValue, HubError> {
        match value {
            PreparedValue::Constant(constant) => constant.clone(),
            PreparedValue::Placeholder(placeholder) => Ok(match self.placeholder_value(*placeholder)? {
                PlaceholderValue::Argument(value) => value.clone(),
                PlaceholderValue::Text(fact) => RawValue::text(fact),
                PlaceholderValue::Null => RawValue::null(),
            }),
            PreparedValue::Text(parts) => {
                let mut out = Vec::new();
                self.put_parts(&mut out, Protocol::Json, parts)?;
                Ok(RawValue::from_proven(Protocol::Json, out.into(), Proven::SCALAR))
            }
            PreparedValue::Container(container) => self.container(container),
        }
    }

    fn container(&self, container: &PreparedContainer) -> Result<RawValue, HubError> {
        let first = container.placeholders().find_map(|placeholder| match self.placeholder_value(placeholder) {
            Ok(PlaceholderValue::Argument(value)) => Some(value.protocol()),
            _ => None,
        });
        let protocol = first.unwrap_or(Protocol::Json);
        let mut proven = container.proven;
        let mut out = Vec::new();
        for piece in container.pieces(protocol) {
            match piece {
                Piece::Constant(bytes) => out.extend_from_slice(bytes),
                Piece::Text(parts) => self.put_parts(&mut out, protocol, parts)?,
                Piece::Placeholder(placeholder, level) => match self.placeholder_value(*placeholder)? {
                    PlaceholderValue::Argument(value) => {
                        put(&mut out, protocol, value)?;
                        proven = proven.and(value.proven().inside(*level));
                    }
                    PlaceholderValue::Text(fact) => put_text(&mut out, protocol, fact),
                    PlaceholderValue::Null => put(&mut out, protocol, &RawValue::null())?,
                },
            }
        }
        // An argument may already have the maximum depth of a message, and here it is nested deeper.
        proven.check_depth().map_err(|ValueError(reason)| HubError::step(reason))?;
        Ok(RawValue::from_proven(protocol, out.into(), proven))
    }

    /// Writes a text with placeholders as a string value.
    fn put_parts(&self, out: &mut Vec<u8>, protocol: Protocol, parts: &[PreparedPart]) -> Result<(), HubError> {
        match protocol {
            Protocol::Json => {
                out.push(b'"');
                for part in parts {
                    match part {
                        PreparedPart::Text { json, .. } => out.extend_from_slice(json),
                        PreparedPart::Placeholder(placeholder) => {
                            strings::write_content(out, &self.placeholder_text(*placeholder)?);
                        }
                    }
                }
                out.push(b'"');
            }
            // MessagePack puts the length first, so the whole text has to be known.
            Protocol::MessagePack => write::text(out, &self.text(parts)?),
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
pub(super) enum ContainerKind {
    List,
    Table,
}

pub(super) fn put(out: &mut Vec<u8>, protocol: Protocol, value: &RawValue) -> Result<(), HubError> {
    value.append(protocol, out).map_err(|ValueError(reason)| HubError::step(reason))
}

pub(super) fn put_text(out: &mut Vec<u8>, protocol: Protocol, text: &str) {
    match protocol {
        Protocol::Json => strings::write_string(out, text),
        Protocol::MessagePack => write::text(out, text),
    }
}

pub(super) fn put_key(out: &mut Vec<u8>, protocol: Protocol, key: &str) {
    put_text(out, protocol, key);
    if protocol == Protocol::Json {
        out.push(b':');
    }
}

pub(super) fn begin(out: &mut Vec<u8>, protocol: Protocol, kind: ContainerKind, length: usize) {
    match (protocol, kind) {
        (Protocol::Json, ContainerKind::List) => out.push(b'['),
        (Protocol::Json, ContainerKind::Table) => out.push(b'{'),
        (Protocol::MessagePack, ContainerKind::List) => write::array(out, length),
        (Protocol::MessagePack, ContainerKind::Table) => write::map(out, length),
    }
}

pub(super) fn separate(out: &mut Vec<u8>, protocol: Protocol, index: usize) {
    if protocol == Protocol::Json && index > 0 {
        out.push(b',');
    }
}

pub(super) fn end(out: &mut Vec<u8>, protocol: Protocol, kind: ContainerKind) {
    match (protocol, kind) {
        (Protocol::Json, ContainerKind::List) => out.push(b']'),
        (Protocol::Json, ContainerKind::Table) => out.push(b'}'),
        (Protocol::MessagePack, _) => {}
    }
}

#[cfg(test)]
mod tests;
