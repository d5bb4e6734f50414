//! Plans a step for one call: resolves its recipients, names and arguments, without side effects.

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

/// The values of the placeholders in a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct StepContext<'a> {
    /// The hub's name in the configuration.
    pub(super) hub: &'a str,
    /// The caller's connection id.
    pub(super) connection: &'a ConnectionId,
    /// The caller's user id; `None` if it is anonymous.
    pub(super) user: Option<&'a UserId>,
    /// The names of `arguments`, for error texts.
    pub(super) params: &'a [String],
    /// The arguments of the call, then the item of an upload, then the results of earlier `ask` steps.
    pub(super) arguments: &'a [RawValue],
    /// The groups that `join` may name; `None` allows every group.
    pub(super) allowed_groups: Option<&'a [GroupPattern]>,
}

/// The value of one placeholder.
#[derive(Clone, Copy, Debug)]
pub(super) enum PlaceholderValue<'a> {
    /// An argument, of any type.
    Argument(&'a RawValue),
    /// The connection id, the user id or the hub's name.
    Text(&'a str),
    /// The user id of an anonymous caller.
    Null,
}

/// What a step is going to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum StepAction {
    /// A send for each entry of `to`, in order.
    Send { recipients: Vec<Recipients>, method: Arc<str>, arguments: Vec<RawValue> },
    /// Invokes a method of one client and awaits its result, which later steps can use under `name`.
    Ask {
        connection: ConnectionId,
        method: Arc<str>,
        arguments: Vec<RawValue>,
        timeout: Duration,
        name: Option<String>,
    },
    /// Adds the caller to a group.
    Join(GroupName),
    /// Removes the caller from a group.
    Leave(GroupName),
}

impl<'a> StepContext<'a> {
    /// Plans `step`. If planning fails, the step has no effect at all, not even for the first of its recipients.
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
                    // This is `caller`: the configuration reader allows nothing else in `ask`.
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
            // A client may treat an invocation with an empty target as a broken message, and disconnect.
            return Err(HubError::step("the method to call has an empty name"));
        }
        Ok(method)
    }

    fn values(&self, args: &[PreparedValue]) -> Result<Vec<RawValue>, HubError> {
        args.iter().map(|arg| self.value(arg)).collect()
    }

    /// The group that a method streams. `allowed_groups` applies to it as it does to `join`.
    pub(super) fn streamed_group(&self, group: &PreparedText) -> Result<GroupName, HubError> {
        self.check_allowed(self.group(group)?)
    }

    /// The value of a placeholder in this call.
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

    /// Replaces the placeholders in a text by their values.
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

    /// The value of a placeholder as it is inserted into a text: null is empty, a number stays as it was written,
    /// arrays and objects are JSON, and binary data is base64.
    pub(super) fn placeholder_text(&self, placeholder: Placeholder) -> Result<Cow<'a, str>, HubError> {
        Ok(match self.placeholder_value(placeholder)? {
            PlaceholderValue::Argument(value) => value.display_text().map(Cow::Owned).map_err(|error| {
                HubError::step(format!("{} cannot be converted to text: {error}", self.placeholder_name(placeholder)))
            })?,
            PlaceholderValue::Text(fact) => Cow::Borrowed(fact),
            PlaceholderValue::Null => Cow::Borrowed(""),
        })
    }

    /// The name that a template gives, such as a group's. If the template is a single placeholder, its value must be a
    /// string: a number or null is not converted. `what` describes the name in the error text.
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
            HubError::step(format!("{what} must be a string, but {} is not", self.placeholder_name(placeholder)))
        })
    }

    fn group(&self, template: &PreparedText) -> Result<GroupName, HubError> {
        self.name(template, "a group's name").map(GroupName::new)
    }

    /// Returns the group if `allowed_groups` lets the caller join it.
    fn check_allowed(&self, group: GroupName) -> Result<GroupName, HubError> {
        let names =
            PatternContext { connection: self.connection.as_str(), user: self.user.map(UserId::as_str), hub: self.hub };
        match self.allowed_groups {
            Some(patterns) if !policy::allows(patterns, names, group.as_str()) => {
                // The text leaves out the group's name, because it is logged and the name may come from the client.
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

    /// The placeholder as it is written in the configuration, for error texts.
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
