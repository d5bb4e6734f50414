//! The values that steps make: what passes through, and lists and tables built around it.

use super::plan::{PlaceholderValue, StepContext};
use crate::config::steps::Expression;
use crate::hub::HubError;
use crate::protocol::msgpack::write;
use crate::protocol::{Protocol, RawValue, ValueError};

impl StepContext<'_> {
    /// What an expression stands for. An argument that is the whole expression is passed through as it came; lists
    /// and tables are written in the protocol of the first argument in them, so that a call's own arguments are not
    /// converted.
    pub(super) fn value(&self, expression: &Expression) -> Result<RawValue, HubError> {
        match expression {
            Expression::Literal(literal) => {
                let bytes = serde_json::to_vec(literal).map_err(|error| HubError::step(error.to_string()))?;
                Ok(RawValue::from_checked(Protocol::Json, bytes.into()))
            }
            Expression::Text(template) => match template.sole_placeholder() {
                Some(placeholder) => Ok(match self.placeholder_value(placeholder)? {
                    PlaceholderValue::Argument(value) => value.clone(),
                    PlaceholderValue::Text(fact) => RawValue::text(fact),
                    PlaceholderValue::Null => RawValue::null(),
                }),
                None => Ok(RawValue::text(&self.text(template)?)),
            },
            Expression::List(_) | Expression::Table(_) => {
                let protocol = self.protocol(expression).unwrap_or(Protocol::Json);
                let mut out = Vec::new();
                self.write(expression, protocol, &mut out)?;
                let value = RawValue::from_checked(protocol, out.into());
                // An argument may be as deep as a message can carry it, and here something stands around it.
                value.check_depth().map_err(|ValueError(reason)| HubError::step(reason))?;
                Ok(value)
            }
        }
    }

    fn write(&self, expression: &Expression, protocol: Protocol, out: &mut Vec<u8>) -> Result<(), HubError> {
        match expression {
            Expression::List(items) => {
                begin(out, protocol, ContainerKind::List, items.len());
                for (index, item) in items.iter().enumerate() {
                    separate(out, protocol, index);
                    self.write(item, protocol, out)?;
                }
                end(out, protocol, ContainerKind::List);
            }
            Expression::Table(entries) => {
                begin(out, protocol, ContainerKind::Table, entries.len());
                for (index, (key, value)) in entries.iter().enumerate() {
                    separate(out, protocol, index);
                    put(out, protocol, &RawValue::text(key))?;
                    if protocol == Protocol::Json {
                        out.push(b':');
                    }
                    self.write(value, protocol, out)?;
                }
                end(out, protocol, ContainerKind::Table);
            }
            Expression::Literal(_) | Expression::Text(_) => put(out, protocol, &self.value(expression)?)?,
        }
        Ok(())
    }

    /// The protocol of the first argument in an expression.
    fn protocol(&self, expression: &Expression) -> Option<Protocol> {
        match expression {
            Expression::Literal(_) => None,
            Expression::Text(template) => match self.placeholder_value(template.sole_placeholder()?) {
                Ok(PlaceholderValue::Argument(value)) => Some(value.protocol()),
                _ => None,
            },
            Expression::List(items) => items.iter().find_map(|item| self.protocol(item)),
            Expression::Table(entries) => entries.iter().find_map(|(_, value)| self.protocol(value)),
        }
    }
}

#[derive(Clone, Copy)]
pub(super) enum ContainerKind {
    List,
    Table,
}

pub(super) fn put(out: &mut Vec<u8>, protocol: Protocol, value: &RawValue) -> Result<(), HubError> {
    let bytes = value.encoded(protocol).map_err(|ValueError(reason)| HubError::step(reason))?;
    out.extend_from_slice(&bytes);
    Ok(())
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
