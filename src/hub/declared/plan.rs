//! What a step does for one call, found without doing it: receivers, names, texts.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::prepared::{PreparedPart, PreparedRecipient, PreparedStep, PreparedText};
use super::prepared_value::PreparedValue;

use crate::auth::policy::{self, PatternContext};
use crate::config::auth::GroupPattern;
use crate::config::steps::Placeholder;
use crate::hub::HubError;
use crate::ids::{ConnectionId, GroupName, UserId};
use crate::protocol::RawValue;
use crate::recipients::Recipients;

/// What the placeholders of a step stand for.
#[derive(Clone, Copy, Debug)]
pub(super) struct StepContext<'a> {
    /// The hub's name in the configuration.
    pub(super) hub: &'a str,
    /// The caller.
    pub(super) connection: &'a ConnectionId,
    /// Its user.
    pub(super) user: Option<&'a UserId>,
    /// The names of the arguments, for the texts of errors.
    pub(super) params: &'a [String],
    /// What the call was given, then the item of an upload, then the answers of earlier steps.
    pub(super) arguments: &'a [RawValue],
    /// The groups that `join` may name; None is all.
    pub(super) allowed_groups: Option<&'a [GroupPattern]>,
}

/// What one placeholder stands for.
#[derive(Clone, Copy, Debug)]
pub(super) enum PlaceholderValue<'a> {
    /// An argument, of any type.
    Argument(&'a RawValue),
    /// A fact about the call.
    Text(&'a str),
    /// The user id of an anonymous caller.
    Null,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum StepAction {
    /// A send for each entry of `to`, in order.
    Send { recipients: Vec<Recipients>, method: Arc<str>, arguments: Vec<RawValue> },
    /// One client is asked; the answer is kept if it has a name.
    Ask {
        connection: ConnectionId,
        method: Arc<str>,
        arguments: Vec<RawValue>,
        timeout: Duration,
        name: Option<String>,
    },
    /// The caller joins.
    Join(GroupName),
    /// The caller leaves.
    Leave(GroupName),
}

impl<'a> StepContext<'a> {
    /// What `step` does. A step that fails here has done nothing, not even for the first of its receivers.
    pub(super) fn plan(&self, step: &PreparedStep) -> Result<StepAction, HubError> {
        Ok(match step {
            PreparedStep::Send { method, to, except, args } => {
                let method = self.method(method)?;
                let except = self.except(except)?;
                let arguments = self.values(args)?;
                let recipients =
                    to.iter().map(|recipient| self.recipients(recipient, &except)).collect::<Result<_, _>>()?;
                StepAction::Send { recipients, method, arguments }
            }
            PreparedStep::Ask { method, to, args, timeout, name } => {
                let connection = match to {
                    PreparedRecipient::Connection(connection) => self.connection(connection)?,
                    // Reading the configuration lets nothing else pass.
                    _ => self.connection.clone(),
                };
                let (method, arguments) = (self.method(method)?, self.values(args)?);
                StepAction::Ask { connection, method, arguments, timeout: *timeout, name: name.clone() }
            }
            PreparedStep::Join { group } => StepAction::Join(self.check_allowed(self.group(group)?)?),
            PreparedStep::Leave { group } => StepAction::Leave(self.group(group)?),
        })
    }

    fn method(&self, template: &PreparedText) -> Result<Arc<str>, HubError> {
        let method = self.name(template, "the method to call")?;
        if method.is_empty() {
            // A client that is called so may take it for a broken message and hang up.
            return Err(HubError::step("the method to call has an empty name"));
        }
        Ok(method)
    }

    fn values(&self, args: &[PreparedValue]) -> Result<Vec<RawValue>, HubError> {
        args.iter().map(|arg| self.value(arg)).collect()
    }

    /// The group that a method streams, if the caller may hear it: the rule is that of joining.
    pub(super) fn streamed_group(&self, group: &PreparedText) -> Result<GroupName, HubError> {
        self.check_allowed(self.group(group)?)
    }

    /// What a placeholder stands for now.
    pub(super) fn placeholder_value(&self, placeholder: Placeholder) -> Result<PlaceholderValue<'a>, HubError> {
        Ok(match placeholder {
            Placeholder::Param(index) => PlaceholderValue::Argument(
                self.arguments
                    .get(index)
                    .ok_or_else(|| HubError::step(format!("there is no argument {}", index + 1)))?,
            ),
            Placeholder::ConnectionId => PlaceholderValue::Text(self.connection.as_str()),
            Placeholder::UserId => {
                self.user.map_or(PlaceholderValue::Null, |user| PlaceholderValue::Text(user.as_str()))
            }
            Placeholder::Hub => PlaceholderValue::Text(self.hub),
        })
    }

    /// A template as text.
    pub(super) fn text(&self, parts: &[PreparedPart]) -> Result<String, HubError> {
        let mut text = String::new();
        for part in parts {
            match part {
                PreparedPart::Text { text: constant, .. } => text.push_str(constant),
                PreparedPart::Placeholder(placeholder) => text.push_str(&self.placeholder_text(*placeholder)?),
            }
        }
        Ok(text)
    }

    /// What stands in a text for a placeholder: null is empty, numbers stand as written, objects as JSON, binary as
    /// base64.
    pub(super) fn placeholder_text(&self, placeholder: Placeholder) -> Result<Cow<'a, str>, HubError> {
        Ok(match self.placeholder_value(placeholder)? {
            PlaceholderValue::Argument(value) => value.display_text().map(Cow::Owned).map_err(|error| {
                HubError::step(format!("{} has no form as text: {error}", self.placeholder_name(placeholder)))
            })?,
            PlaceholderValue::Text(fact) => Cow::Borrowed(fact),
            PlaceholderValue::Null => Cow::Borrowed(""),
        })
    }

    /// A template that names something. One that is exactly one placeholder must stand for a text: a number or null
    /// is nobody's name.
    fn name(&self, template: &PreparedText, what: &str) -> Result<Arc<str>, HubError> {
        let placeholder = match template {
            PreparedText::Constant(name) => return Ok(name.clone()),
            PreparedText::Mixed(parts) => return self.text(parts).map(Arc::from),
            PreparedText::Placeholder(placeholder) => *placeholder,
        };
        let text = match self.placeholder_value(placeholder)? {
            PlaceholderValue::Argument(value) => value.as_text().map(Arc::from),
            PlaceholderValue::Text(fact) => Some(Arc::from(fact)),
            PlaceholderValue::Null => None,
        };
        text.ok_or_else(|| {
            HubError::step(format!("{what} must be a string, and {} is none", self.placeholder_name(placeholder)))
        })
    }

    fn group(&self, template: &PreparedText) -> Result<GroupName, HubError> {
        self.name(template, "a group's name").map(GroupName::new)
    }

    /// The group, if the caller may join it.
    fn check_allowed(&self, group: GroupName) -> Result<GroupName, HubError> {
        let names =
            PatternContext { connection: self.connection.as_str(), user: self.user.map(UserId::as_str), hub: self.hub };
        match self.allowed_groups {
            Some(patterns) if !policy::allows(patterns, names, group.as_str()) => {
                // Without its name: the text is logged as well, and the name may be the client's.
                Err(HubError::step("the caller may not join that group (allowed_groups)"))
            }
            _ => Ok(group),
        }
    }

    fn connection(&self, template: &PreparedText) -> Result<ConnectionId, HubError> {
        self.name(template, "a connection's id").map(ConnectionId::new)
    }

    fn except(&self, except: &[PreparedText]) -> Result<Vec<ConnectionId>, HubError> {
        except.iter().map(|template| self.connection(template)).collect()
    }

    fn recipients(&self, recipient: &PreparedRecipient, except: &[ConnectionId]) -> Result<Recipients, HubError> {
        Ok(match recipient {
            PreparedRecipient::All => Recipients::all().except(except.iter().cloned()),
            PreparedRecipient::Others => Recipients::all().except([self.connection.clone()]),
            PreparedRecipient::Caller => Recipients::connection(self.connection.clone()),
            PreparedRecipient::Group(group) => Recipients::group(self.group(group)?).except(except.iter().cloned()),
            PreparedRecipient::OthersInGroup(group) => {
                Recipients::group(self.group(group)?).except([self.connection.clone()])
            }
            PreparedRecipient::User(user) => Recipients::user(UserId::new(self.name(user, "a user's id")?)),
            PreparedRecipient::Connection(connection) => Recipients::connection(self.connection(connection)?),
        })
    }

    /// The placeholder as the configuration has it, for the texts of errors.
    pub(super) fn placeholder_name(&self, placeholder: Placeholder) -> String {
        let name = match placeholder {
            Placeholder::Param(index) => self.params.get(index).map_or("?", String::as_str),
            Placeholder::ConnectionId => "connection_id",
            Placeholder::UserId => "user_id",
            Placeholder::Hub => "hub",
        };
        format!("{{{name}}}")
    }
}

#[cfg(test)]
mod tests;
