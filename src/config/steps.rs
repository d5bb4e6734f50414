//! The steps of declared methods as data, templates already taken apart (docs/design.md#3).
//!
//! The verb set is small and closed: `send`, `ask`, `join`, `leave`; what a method returns or streams; what it does for
//! each item that a client uploads.

use std::sync::Arc;
use std::time::Duration;

use super::auth::{Authorize, GroupPattern};

/// `[hubs.NAME.methods.METHOD]`.
#[derive(Clone, Debug, PartialEq)]
pub struct MethodConfig {
    /// As declared; clients may write it in any case.
    pub name: String,
    /// The names of its parameters, in order.
    pub params: Vec<String>,
    /// Who may call it, beside what the hub asks for.
    pub authorize: Option<Arc<Authorize>>,
    /// The groups its `join` steps may name, in place of the hub's list.
    pub allowed_groups: Option<Vec<GroupPattern>>,
    /// The stream that a client uploads with the call.
    pub upload: Option<UploadConfig>,
    /// What it does, in order, after the upload has ended, and when the group is heard already; the first step that
    /// fails ends it.
    pub steps: Vec<Step>,
    /// What it returns; None is a void method, which completes with null.
    pub returns: Option<Expression>,
    /// The group whose messages it streams to its caller, in place of a result.
    pub streams: Option<Template>,
}

/// `upload` and `each` of a method.
#[derive(Clone, Debug, PartialEq)]
pub struct UploadConfig {
    /// What the steps call an item. It stands behind the method's parameters.
    pub item: String,
    /// What is done for each item, in order.
    pub each: Vec<Step>,
}

/// One thing a method does.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// `{ send = "M", to = ..., args = [...], except = [...] }`.
    Send {
        /// The client's method.
        method: Template,
        /// To whom; delivers once per entry.
        to: Vec<Recipient>,
        /// Connection ids to leave out.
        except: Vec<Template>,
        /// What it is called with.
        args: Vec<Expression>,
    },
    /// `{ ask = "M", to = ..., args = [...], timeout = "30s", as = "answer" }`: calls a client's method and waits for
    /// what it returns.
    Ask {
        /// The client's method.
        method: Template,
        /// Whom: [`Recipient::Caller`] or [`Recipient::Connection`].
        to: Recipient,
        /// What it is called with.
        args: Vec<Expression>,
        /// How long the answer may take.
        timeout: Duration,
        /// What later steps call the answer. It stands behind the parameters, the item and earlier answers.
        name: Option<String>,
    },
    /// `{ join = "G" }`: the caller joins a group.
    Join {
        /// Which.
        group: Template,
    },
    /// `{ leave = "G" }`: the caller leaves a group.
    Leave {
        /// Which.
        group: Template,
    },
}

/// An entry of `to`.
#[derive(Clone, Debug, PartialEq)]
pub enum Recipient {
    /// Everybody.
    All,
    /// Everybody but the caller.
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

/// A value that a step makes.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    /// A number, a boolean: as written.
    Literal(serde_json::Value),
    /// A string. One that is exactly one placeholder passes that value through, whatever its type.
    Text(Template),
    /// `[...]`.
    List(Vec<Self>),
    /// `{ k = v }`, keys as written.
    Table(Vec<(String, Self)>),
}

/// A string with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(pub Vec<TemplatePart>);

/// A piece of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplatePart {
    /// Text as it is; `{{` and `}}` already single.
    Text(String),
    /// `{name}`.
    Placeholder(Placeholder),
}

/// What a placeholder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeholder {
    /// The value of this index: arguments, then the item of an upload, then answers in the order of their steps.
    Param(usize),
    /// `{connection_id}`.
    ConnectionId,
    /// `{user_id}`; null for an anonymous caller.
    UserId,
    /// `{hub}`: the hub's name.
    Hub,
}

impl Template {
    /// The placeholder that is the whole text, if it is one.
    pub fn sole_placeholder(&self) -> Option<Placeholder> {
        match self.0.as_slice() {
            [TemplatePart::Placeholder(placeholder)] => Some(*placeholder),
            _ => None,
        }
    }
}
