//! Layer 6: application logic. Everything that answers clients is a [`Hub`]: declared in the configuration, written
//! in Rust with [`methods::Methods`] or by hand, later an HTTP upstream or an app server that dials in.
//!
//! | file | what is in it |
//! | --- | --- |
//! | `caller` | [`Caller`]: who calls, from where, and the way to `Clients` and `Groups` |
//! | `hub_error` | [`HubError`]: why a method failed |
//! | `clients` | [`Clients`], [`Audience`], [`Groups`]: SignalR's send surface |
//! | `context` | [`HubContext`]: the same from outside of a call |
//! | `client` | [`Client`]: one client, which can also be asked for a result |
//! | `client_method` | [`ClientMethod`]: a method of clients with its types |
//! | `invocation_slot` | what a call gives up while it asks |
//! | `upload` | [`Upload`]: a stream that a client sends with a call |
//! | `methods` | [`Methods`]: a hub made of typed async functions |
//! | `functions` | which functions those can be |
//! | `parameters` | [`Parameter`]: what those take; [`State`], [`Items`] of uploads |
//! | `cancellation` | [`Cancellation`]: nobody waits for the call any more |
//! | `route` | [`HubRoute`]: a hub with where and how it is served |
//! | `definition` | [`HubDefinitionError`]: why a hub cannot be served |
//! | `declared` | [`DeclaredHub`]: a hub made of configuration |
//! | `values` | what methods take and return, and what clients are called with |
//! | `case_insensitive` | [`CaseInsensitive`]: objects whose property names come in any case |
//! | `method_table` | methods by name, without regard to letter case |

pub(crate) mod caller;
pub(crate) mod cancellation;
mod case_insensitive;
pub(crate) mod client;
pub(crate) mod client_method;
pub(crate) mod clients;
pub(crate) mod context;
pub(crate) mod declared;
mod definition;
mod functions;
pub(crate) mod hub_error;
pub(crate) mod invocation_slot;
mod method_table;
pub(crate) mod methods;
pub(crate) mod parameters;
pub(crate) mod route;
#[cfg(test)]
mod test_kit;
pub(crate) mod upload;
pub(crate) mod values;

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

pub use axum::extract::FromRef;
pub use caller::{Caller, RequestInfo};
pub use cancellation::Cancellation;
pub use case_insensitive::CaseInsensitive;
pub use client::Client;
pub use client_method::{Callable, ClientMethod};
pub use clients::{Audience, Clients, Groups};
pub use context::HubContext;
pub use declared::DeclaredHub;
pub use definition::HubDefinitionError;
pub use functions::{DisconnectedFn, MethodFn};
pub use hub_error::{ErrorKind, HubError};
pub use methods::Methods;
pub use parameters::{Inputs, Items, Parameter, State};
pub use route::HubRoute;
pub use upload::Upload;
pub use values::{Argument, ArgumentFor, ArgumentsFor, IntoArguments, IntoValue};

use crate::config::Authorize;
use crate::protocol::RawValue;

/// Application logic behind one path. One value serves all connections; state of one connection belongs in the
/// hub's own maps, keyed by connection id.
///
/// The methods return futures that the connection's own task drives: a call that blocks its thread blocks its
/// caller alone for as long as the runtime has other threads. A panic in them ends the call with an error, not the
/// server; one in `resolve`, which answers at once, ends the connection.
pub trait Hub: Send + Sync + 'static {
    /// Whether the hub can be served. Asked once, when a server is built; an error is the server's.
    fn validate(&self) -> Result<(), HubDefinitionError> {
        Ok(())
    }

    /// Finds the method that a client means by `target`, once for each call. Method names are case-insensitive.
    /// None: there is no such method, and the caller is told so.
    fn resolve(&self, target: &str) -> Option<Arc<dyn HubMethod>>;

    /// A client has come and has shaken hands. Nothing it sent is looked at before this ends. An error closes it,
    /// and then `disconnected` is not called.
    fn connected(&self, caller: Caller) -> BoxFuture<'_, Result<(), HubError>> {
        let _ = caller;
        Box::pin(async { Ok(()) })
    }

    /// A client has gone, once for each that `connected` took. `error` is None for an orderly end. What is sent to
    /// the caller now is dropped. Calls of this client may still run.
    fn disconnected(&self, caller: Caller, error: Option<String>) -> BoxFuture<'_, Result<(), HubError>> {
        let _ = (caller, error);
        Box::pin(async { Ok(()) })
    }
}

/// One method of a [`Hub`], as [`Hub::resolve`] found it.
pub trait HubMethod: Send + Sync + 'static {
    /// The method's name as the hub declares it. That is what a client's errors call it, in whatever case it called
    /// the method (tests/probes/FINDINGS.md#2).
    fn name(&self) -> &str;

    /// What is known of it before it is called.
    fn shape(&self) -> &MethodShape;

    /// Whether the arguments fit, without calling anything. Asked only where an error is certain and its text
    /// depends on it: the reference binds before it checks the mode of the call
    /// (docs/builders/signalr-protocol.md#4.1). A panic here ends the connection.
    fn check(&self, caller: &Caller, arguments: &[RawValue]) -> Result<(), HubError> {
        let _ = (caller, arguments);
        Ok(())
    }

    /// A client calls the method. The number of arguments and of upload streams fits its shape.
    fn invoke(&self, caller: Caller, call: Call) -> BoxFuture<'_, Result<Reply, HubError>>;

    /// Whether the hub writes log lines about calls of it that fail. False: the server writes one, with the name of the
    /// exception alone, since an error's text may repeat what the client sent.
    fn logs_failures(&self) -> bool {
        false
    }
}

/// What is known of a method before it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
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
    /// A method with this many parameters that returns once, takes no uploads, and may be called by everybody.
    pub fn new(parameters: usize) -> Self {
        Self { parameters: Some(parameters), streams: false, uploads: 0, policy: None }
    }

    /// As [`MethodShape::new`], for a method that takes any number of arguments.
    pub fn variadic() -> Self {
        Self { parameters: None, ..Self::new(0) }
    }

    /// The same, with a stream of results.
    #[must_use]
    pub fn streaming(self) -> Self {
        Self { streams: true, ..self }
    }

    /// The same, with this many streams that the client uploads.
    #[must_use]
    pub fn with_uploads(self, uploads: usize) -> Self {
        Self { uploads, ..self }
    }

    /// The same, for those alone who fulfil a rule.
    #[must_use]
    pub fn guarded(self, policy: Arc<Authorize>) -> Self {
        Self { policy: Some(policy), ..self }
    }
}

/// One call of a method.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Call {
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
    pub fn new(arguments: Vec<RawValue>) -> Self {
        Self { arguments, ..Self::default() }
    }
}

/// What a method answers.
#[non_exhaustive]
pub enum Reply {
    /// Nothing: a void method. Its caller gets null.
    Empty,
    /// A value.
    Value(RawValue),
    /// A stream of values; the first error ends it.
    Stream(BoxStream<'static, Result<RawValue, HubError>>),
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "Reply::Empty",
            Self::Value(_) => "Reply::Value",
            Self::Stream(_) => "Reply::Stream",
        })
    }
}
