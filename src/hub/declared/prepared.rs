//! Steps in the form in which a declared hub stores them. Everything that is the same in every call is put together when
//! the hub is created, and constant values are encoded in both protocols (`prepared_value`). A call only fills in its
//! placeholders.

use std::sync::Arc;
use std::time::Duration;

use super::prepared_value::PreparedValue;
use crate::config::steps::{Expression, Placeholder, Recipient, Step, Template, TemplatePart};
use crate::protocol::json::strings;

/// A string with placeholders.
#[derive(Clone, Debug)]
pub(super) enum PreparedText {
    /// The same in every call.
    Constant(Arc<str>),
    /// Exactly one placeholder.
    Placeholder(Placeholder),
    /// Text around placeholders.
    Mixed(Vec<PreparedPart>),
}

/// A piece of a [`PreparedText`].
#[derive(Clone, Debug)]
pub(super) enum PreparedPart {
    /// Constant text, as it is and escaped for a JSON string.
    Text { text: String, json: Vec<u8> },
    /// Filled in by each call.
    Placeholder(Placeholder),
}

/// A [`Step`] with its constants put together.
#[derive(Debug)]
pub(super) enum PreparedStep {
    Send {
        method: PreparedText,
        to: Vec<PreparedRecipient>,
        except: Vec<PreparedText>,
        args: Vec<PreparedValue>,
    },
    Ask {
        method: PreparedText,
        to: PreparedRecipient,
        args: Vec<PreparedValue>,
        timeout: Duration,
        name: Option<String>,
    },
    Join {
        group: PreparedText,
    },
    Leave {
        group: PreparedText,
    },
}

/// A [`Recipient`] with its constants put together.
#[derive(Debug)]
pub(super) enum PreparedRecipient {
    All,
    Others,
    Caller,
    Group(PreparedText),
    OthersInGroup(PreparedText),
    User(PreparedText),
    Connection(PreparedText),
}

/// Prepares the configuration of a hub. The hub's name replaces the placeholder `{hub}`, because it is constant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Preparation<'a> {
    pub(super) hub: &'a str,
}

impl Preparation<'_> {
    pub(super) fn steps(self, steps: &[Step]) -> Vec<PreparedStep> {
        steps.iter().map(|step| self.step(step)).collect()
    }

    pub(super) fn step(self, step: &Step) -> PreparedStep {
        match step {
            Step::Send { method, to, except, args } => PreparedStep::Send {
                method: self.text(method),
                to: to.iter().map(|recipient| self.recipient(recipient)).collect(),
                except: except.iter().map(|template| self.text(template)).collect(),
                args: self.values(args),
            },
            Step::Ask { method, to, args, timeout, name } => PreparedStep::Ask {
                method: self.text(method),
                to: self.recipient(to),
                args: self.values(args),
                timeout: *timeout,
                name: name.clone(),
            },
            Step::Join { group } => PreparedStep::Join { group: self.text(group) },
            Step::Leave { group } => PreparedStep::Leave { group: self.text(group) },
        }
    }

    fn recipient(self, recipient: &Recipient) -> PreparedRecipient {
        match recipient {
            Recipient::All => PreparedRecipient::All,
            Recipient::Others => PreparedRecipient::Others,
            Recipient::Caller => PreparedRecipient::Caller,
            Recipient::Group(group) => PreparedRecipient::Group(self.text(group)),
            Recipient::OthersInGroup(group) => PreparedRecipient::OthersInGroup(self.text(group)),
            Recipient::User(user) => PreparedRecipient::User(self.text(user)),
            Recipient::Connection(connection) => PreparedRecipient::Connection(self.text(connection)),
        }
    }

    fn values(self, args: &[Expression]) -> Vec<PreparedValue> {
        args.iter().map(|arg| PreparedValue::new(arg, self)).collect()
    }

    pub(super) fn text(self, template: &Template) -> PreparedText {
        let (mut parts, mut constant) = (Vec::new(), String::new());
        for part in &template.0 {
            match part {
                TemplatePart::Text(text) => constant.push_str(text),
                TemplatePart::Placeholder(Placeholder::Hub) => constant.push_str(self.hub),
                TemplatePart::Placeholder(placeholder) => {
                    end_text(&mut parts, &mut constant);
                    parts.push(PreparedPart::Placeholder(*placeholder));
                }
            }
        }
        if parts.is_empty() {
            return PreparedText::Constant(constant.into());
        }
        end_text(&mut parts, &mut constant);
        match parts.as_slice() {
            [PreparedPart::Placeholder(placeholder)] => PreparedText::Placeholder(*placeholder),
            _ => PreparedText::Mixed(parts),
        }
    }
}

fn end_text(parts: &mut Vec<PreparedPart>, constant: &mut String) {
    if !constant.is_empty() {
        let text = std::mem::take(constant);
        let mut json = Vec::new();
        strings::write_content(&mut json, &text);
        parts.push(PreparedPart::Text { text, json });
    }
}
