//! The steps of declared methods as data, with parsed templates (docs/design.md#3).
//!
//! The set of verbs is small and closed: `send`, `ask`, `join` and `leave`. A method may also return a value, stream a
//! group, and run steps for each item that a client uploads.

use std::sync::Arc;
use std::time::Duration;

use super::auth::{Authorize, GroupPattern};

/// `[hubs.NAME.methods.METHOD]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MethodConfig {
    /// Its name as declared; clients may write it in any case.
    pub name: String,
    /// The names of its parameters, in order.
    pub params: Vec<String>,
    /// Who may call it, in addition to the rule of the hub.
    pub authorize: Option<Arc<Authorize>>,
    /// The groups that its `join` steps and its stream may name, instead of the hub's list.
    pub allowed_groups: Option<Vec<GroupPattern>>,
    /// The stream that a client uploads with the call, if it has one.
    pub upload: Option<UploadConfig>,
    /// Its steps, in order. They run after the upload has ended, or once the stream receives what is sent to its group.
    /// The first step that fails ends the method.
    pub steps: Vec<Step>,
    /// What it returns; `None` is a void method, which completes with null.
    pub returns: Option<Expression>,
    /// The group whose messages it streams to its caller instead of returning a result.
    pub streams: Option<Template>,
}

/// `upload` and `each` of a method.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct UploadConfig {
    /// The name of an item in the steps. As a value it follows the method's parameters.
    pub item: String,
    /// The steps for each item, in order.
    pub each: Vec<Step>,
}

/// One step of a method.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// `{ send = "M", to = ..., args = [...], except = [...] }`.
    Send {
        /// The client method.
        method: Template,
        /// The recipients; the message is delivered once per entry.
        to: Vec<Recipient>,
        /// The ids of connections to leave out.
        except: Vec<Template>,
        /// The arguments.
        args: Vec<Expression>,
    },
    /// `{ ask = "M", to = ..., args = [...], timeout = "30s", as = "answer" }`: invokes a client method and awaits
    /// its result.
    Ask {
        /// The client method.
        method: Template,
        /// The client: [`Recipient::Caller`] or [`Recipient::Connection`].
        to: Recipient,
        /// The arguments.
        args: Vec<Expression>,
        /// How long the answer may take.
        timeout: Duration,
        /// The name of the answer in later steps. As a value it follows the parameters, the item and earlier answers.
        name: Option<String>,
    },
    /// `{ join = "G" }`: the caller joins a group.
    Join {
        /// The group's name.
        group: Template,
    },
    /// `{ leave = "G" }`: the caller leaves a group.
    Leave {
        /// The group's name.
        group: Template,
    },
}

/// An entry of `to`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Recipient {
    /// All clients of the hub.
    All,
    /// All clients except the caller.
    Others,
    /// The caller.
    Caller,
    /// `group:G`.
    Group(Template),
    /// `others_in_group:G`.
    OthersInGroup(Template),
    /// `user:U`.
    User(Template),
    /// `connection:C`.
    Connection(Template),
}

/// A value that a step computes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expression {
    /// A number or a boolean, as written.
    Literal(serde_json::Value),
    /// A string. If it is exactly one placeholder, the value is passed through, whatever its type.
    Text(Template),
    /// `[...]`.
    List(Vec<Self>),
    /// `{ k = v }`, with keys as written.
    Table(Vec<(String, Self)>),
}

/// A string with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(pub Vec<TemplatePart>);

/// A piece of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TemplatePart {
    /// Literal text; `{{` and `}}` are already single braces.
    Text(String),
    /// `{name}`.
    Placeholder(Placeholder),
}

/// The value of a placeholder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placeholder {
    /// The value with this index: first the arguments, then the item of an upload, then answers in the order of their
    /// steps.
    Param(usize),
    /// `{connection_id}`.
    ConnectionId,
    /// `{user_id}`; null for an anonymous caller.
    UserId,
    /// `{hub}`: the hub's name.
    Hub,
}
