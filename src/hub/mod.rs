//! Floor 6: application logic. Everything that answers clients is a [`Hub`]: declared in the configuration, written
//! in Rust with [`methods::Methods`] or by hand, later an HTTP upstream or an app server that dials in.
//!
//! | file | what is in it |
//! | --- | --- |
//! | [`caller`] | [`Caller`]: who calls, from where, and the way to `Clients` and `Groups` |
//! | [`clients`] | [`Clients`], [`Audience`], [`Groups`]: SignalR's send surface |
//! | [`context`] | [`HubContext`]: the same from outside of a call |
//! | [`client`] | [`Client`]: one client, which can also be asked for a result |
//! | `asking` | what a call gives up while it asks |
//! | [`upload`] | [`Upload`]: a stream that a client sends with a call |
//! | [`parameters`] | what those take: arguments, [`Items`] of uploads, [`Cancellation`] |
//! | [`methods`] | [`Methods`]: a hub made of typed async functions |
//! | [`route`] | [`HubRoute`]: a hub with where and how it is served |
//! | `definition` | [`HubDefinitionError`]: why a hub cannot be served |
//! | [`declared`] | [`Declared`]: a hub made of configuration |
//! | [`values`] | what methods take and return, and what clients are called with |
//! | `names` | methods by name, without regard to letter case |

pub(crate) mod asking;
pub mod caller;
pub mod client;
pub mod clients;
pub mod context;
pub mod declared;
mod definition;
pub mod methods;
mod names;
pub mod parameters;
pub mod route;
#[cfg(test)]
mod test_kit;
pub mod upload;
pub mod values;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

pub use caller::{Caller, RequestInfo};
pub use client::Client;
pub use clients::{Audience, Clients, Groups};
pub use context::HubContext;
pub use declared::Declared;
pub use definition::HubDefinitionError;
pub use methods::{MethodFn, Methods};
pub use parameters::{Cancellation, Items, Parameter};
pub use route::HubRoute;
pub use upload::Upload;
pub use values::{Argument, IntoArguments, IntoValue};

use crate::config::Authorize;
use crate::delivery::SendError;
use crate::protocol::{BindingError, RawValue, ValueError};

/// Application logic behind one path. One value serves all connections; state of one connection belongs in the
/// hub's own maps, keyed by connection id.
///
/// The methods return futures that the connection's own task drives: a call that blocks its thread blocks its
/// caller alone for as long as the runtime has other threads. A panic in them ends the call with an error, not the
/// server; one in `method` or `check`, which answer at once, ends the connection.
pub trait Hub: Send + Sync + 'static {
    /// Whether the hub can be served. Asked once, when a server is built; an error is the server's.
    fn validate(&self) -> Result<(), HubDefinitionError> {
        Ok(())
    }

    /// Describes a method before it is called; letter case of `target` does not count. None: there is no such
    /// method, and the caller is told so.
    fn method(&self, target: &str) -> Option<MethodShape>;

    /// A method's name as the hub declares it. That is what a client's errors call it, in whatever case it called
    /// the method (FINDINGS 2), and what [`Call::target`] is. None: the name as the client wrote it.
    fn name(&self, target: &str) -> Option<&str> {
        let _ = target;
        None
    }

    /// Whether the arguments fit, without calling anything. Asked only where an error is certain and its text
    /// depends on it: the reference binds before it checks the mode of the call (section 4.1).
    fn check(&self, call: &Call) -> Result<(), BindingError> {
        let _ = call;
        Ok(())
    }

    /// A client has come and has shaken hands. Nothing it sent is looked at before this ends. An error closes it,
    /// and then `disconnected` is not called.
    fn connected(&self, caller: Caller) -> BoxFuture<'_, Result<(), HubError>> {
        let _ = caller;
        Box::pin(async { Ok(()) })
    }

    /// A client calls a method. The number of arguments and of upload streams fits [`Hub::method`]'s description.
    fn invoke(&self, caller: Caller, call: Call) -> BoxFuture<'_, Result<Reply, HubError>>;

    /// Whether the hub writes log lines about its calls that fail. False: the server writes one, with the name of the
    /// exception alone, since an error's text may repeat what the client sent.
    fn logs_failures(&self) -> bool {
        false
    }

    /// A client has gone, once for each that `connected` took. `error` is None for an orderly end. What is sent to
    /// the caller now is dropped. Calls of this client may still run.
    fn disconnected(&self, caller: Caller, error: Option<String>) -> BoxFuture<'_, Result<(), HubError>> {
        let _ = (caller, error);
        Box::pin(async { Ok(()) })
    }
}

/// What is known of a method before it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodShape {
    /// The number of arguments a client must give; None takes any number.
    pub parameters: Option<usize>,
    /// Whether it streams its results.
    pub streams: bool,
    /// How many streams the client uploads with the call.
    pub uploads: usize,
    /// Who may call it; None is everybody who may come to the hub.
    pub policy: Option<Arc<Authorize>>,
}

impl MethodShape {
    /// A method with this many parameters that returns once.
    pub fn plain(parameters: usize) -> Self {
        Self { parameters: Some(parameters), streams: false, uploads: 0, policy: None }
    }

    /// The same, for those alone who fulfil a rule.
    #[must_use]
    pub fn guarded(mut self, policy: Option<Arc<Authorize>>) -> Self {
        self.policy = policy;
        self
    }
}

/// One call of a method.
#[derive(Debug)]
pub struct Call {
    /// The method's name as the client wrote it.
    pub target: String,
    /// The arguments, as they came.
    pub arguments: Vec<RawValue>,
    /// The streams that the client uploads with the call, in the order of the method's parameters.
    pub uploads: Vec<Upload>,
    /// Tells when nobody waits for the call any more. While the method or its stream holds it, or a clone, a stream
    /// that is cancelled may run on for a moment to end by itself; else it is dropped at once.
    pub cancellation: Cancellation,
}

impl Call {
    /// A call without streams that nobody cancels.
    pub fn new(target: impl Into<String>, arguments: Vec<RawValue>) -> Self {
        Self { target: target.into(), arguments, uploads: Vec::new(), cancellation: Cancellation::default() }
    }
}

/// What a method answers.
pub enum Reply {
    /// Nothing: a void method. Its caller gets null.
    Empty,
    /// A value.
    Value(RawValue),
    /// A stream of values; the first error ends it.
    Stream(BoxStream<'static, Result<RawValue, HubError>>),
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "Reply::Empty",
            Self::Value(_) => "Reply::Value",
            Self::Stream(_) => "Reply::Stream",
        })
    }
}

/// Why a method, or a hook, failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HubError {
    /// The arguments do not fit: `Failed to invoke 'X' due to an error on the server.`
    #[error("{0}")]
    Binding(#[from] BindingError),
    /// A text that its caller always sees, as .NET's `HubException`.
    #[error("HubException: {0}")]
    Hub(String),
    /// Anything else. The caller sees it only with detailed errors, as `{exception}: {message}`.
    #[error("{exception}: {message}")]
    Failed {
        /// The short name of a kind of error; .NET users expect an exception's name.
        exception: String,
        /// What went wrong. Must hold no secret.
        message: String,
    },
}

impl HubError {
    /// An error that its caller always sees.
    pub fn hub(text: impl Into<String>) -> Self {
        Self::Hub(text.into())
    }

    /// For a call of a method that [`Hub::method`] does not know. Whoever calls asks first, so this is a safeguard.
    fn unknown_method() -> Self {
        Self::Binding(BindingError { exception: "HubException", detail: "Method does not exist.".to_owned() })
    }

    /// An error that its caller sees only with detailed errors.
    pub fn failed(exception: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Failed { exception: exception.into(), message: message.into() }
    }
}

impl From<SendError> for HubError {
    fn from(error: SendError) -> Self {
        Self::failed(error.exception(), error.to_string())
    }
}

impl From<ValueError> for HubError {
    fn from(error: ValueError) -> Self {
        Self::failed("JsonException", error.to_string())
    }
}
