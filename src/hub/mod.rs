//! Layer 6: hubs, the application logic that clients invoke.
//!
//! Start with [`Methods`], which makes a hub of async functions. The functions take the call's arguments, and a
//! [`Caller`] through which they send to [`Clients`] and change [`Groups`]. Code outside of a hub method sends
//! through a [`HubContext`]. A [`HubRoute`] says at which path a hub is served, and to whom. Hubs that need full
//! control of method names and arguments implement [`Hub`] themselves.
//!
//! # Source files
//!
//! | file | contents |
//! | --- | --- |
//! | `caller` | [`Caller`]: the connection that invokes a method; [`RequestInfo`]: its HTTP request |
//! | `hub_error` | [`HubError`]: why a method failed |
//! | `clients` | [`Clients`], [`Audience`], [`Groups`]: sending to clients and changing groups |
//! | `context` | [`HubContext`]: the same from outside of hub methods |
//! | `client` | [`Client`]: a single client, which can also return a result |
//! | `client_method` | [`ClientMethod`]: a client method with the types of its arguments and result |
//! | `invocation_slot` | whether code may await client results, and the slot that a hub method releases for it |
//! | `upload` | [`Upload`]: a stream that a client sends with a call |
//! | `methods` | [`Methods`]: a hub made of typed async functions |
//! | `functions` | the traits of those functions |
//! | `parameters` | [`Parameter`]: what those functions accept; [`State`], [`Items`] of uploads |
//! | `cancellation` | [`Cancellation`]: the signal that nobody waits for a call any longer |
//! | `route` | [`HubRoute`]: a hub with its path and options |
//! | `definition` | [`HubDefinitionError`]: why a hub cannot be served |
//! | `declared` | `DeclaredHub`: a hub that is declared in the configuration |
//! | `values` | conversions between Rust types and the values that clients send and receive |
//! | `case_insensitive` | [`CaseInsensitive`]: arguments whose property names are case-insensitive |
//! | `method_table` | case-insensitive lookup of methods by name |

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

pub use crate::close::DisconnectError;
pub use axum::extract::FromRef;
pub use caller::{Caller, RequestInfo};
pub use cancellation::Cancellation;
pub use case_insensitive::CaseInsensitive;
pub use client::Client;
pub use client_method::{Callable, ClientMethod};
pub use clients::{Audience, Clients, Groups};
pub use context::HubContext;
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

/// The application logic behind one path.
///
/// Most hubs are made with [`Methods`]. Implement this trait for a hub whose methods are not known at compile time, such
/// as one that forwards calls to another system.
///
/// One value serves all connections of the path. Keep the state of a single connection in a map of the hub's own, keyed
/// by connection id.
///
/// The returned futures run inside the connection's own task. One that blocks its thread delays only its own
/// connection, as long as the runtime has other threads. If a call panics, it fails with an error and the connection
/// stays open; a panic in `resolve` closes the connection. Neither affects other clients.
///
/// ```
/// use std::sync::Arc;
///
/// use futures_util::future::BoxFuture;
/// use hubplane::hub::{Call, Caller, Hub, HubError, HubMethod, MethodShape, Reply};
///
/// /// A method that returns its only argument.
/// struct Echo(MethodShape);
///
/// impl HubMethod for Echo {
///     fn name(&self) -> &str {
///         "Echo"
///     }
///
///     fn shape(&self) -> &MethodShape {
///         &self.0
///     }
///
///     fn invoke(&self, _caller: Caller, mut call: Call) -> BoxFuture<'_, Result<Reply, HubError>> {
///         Box::pin(async move { Ok(call.arguments.pop().map_or(Reply::Empty, Reply::Value)) })
///     }
/// }
///
/// struct EchoHub {
///     echo: Arc<Echo>,
/// }
///
/// impl Hub for EchoHub {
///     fn resolve(&self, target: &str) -> Option<Arc<dyn HubMethod>> {
///         if target.eq_ignore_ascii_case("Echo") { Some(self.echo.clone()) } else { None }
///     }
/// }
///
/// let hub = EchoHub { echo: Arc::new(Echo(MethodShape::new(1))) };
/// # drop(hub);
/// ```
pub trait Hub: Send + Sync + 'static {
    /// Whether the hub can be served. Called once, when the server is built.
    ///
    /// # Errors
    ///
    /// An error makes [`crate::server::Builder::build`] fail.
    fn validate(&self) -> Result<(), HubDefinitionError> {
        Ok(())
    }

    /// Finds the method that a client means by `target`. Called once per invocation.
    ///
    /// SignalR's clients expect method names to be case-insensitive. `None` means that there is no such method; the
    /// client receives the error that ASP.NET Core sends in this case.
    fn resolve(&self, target: &str) -> Option<Arc<dyn HubMethod>>;

    /// Called when a client has connected and completed the handshake. The client's invocations wait until this has
    /// finished.
    ///
    /// # Errors
    ///
    /// An error closes the connection; `disconnected` is not called for it then.
    fn connected(&self, caller: Caller) -> BoxFuture<'_, Result<(), HubError>> {
        let _ = caller;
        Box::pin(async { Ok(()) })
    }

    /// Called once when a client has disconnected, if `connected` has succeeded for it. `error` is `None` when the
    /// connection ended in an orderly way.
    ///
    /// Messages to the caller are dropped from now on. Methods that the client has invoked may still be running.
    ///
    /// # Errors
    ///
    /// An error is logged, with its text.
    fn disconnected(&self, caller: Caller, error: Option<DisconnectError>) -> BoxFuture<'_, Result<(), HubError>> {
        let _ = (caller, error);
        Box::pin(async { Ok(()) })
    }
}

/// One method of a [`Hub`], as returned by [`Hub::resolve`].
pub trait HubMethod: Send + Sync + 'static {
    /// The method's name as the hub declares it. Errors that clients receive contain this name, whichever case the
    /// client used (tests/probes/FINDINGS.md#2).
    fn name(&self) -> &str;

    /// The method's parameters, its mode, and who may call it. The server checks a call against it before
    /// [`HubMethod::invoke`].
    fn shape(&self) -> &MethodShape;

    /// Checks whether the arguments have the right types, without calling the method.
    ///
    /// The server calls this only when the call is already known to fail, to decide with which error: ASP.NET Core
    /// reads the arguments before it checks how the method is called (docs/builders/signalr-protocol.md#4.1). A panic
    /// here closes the connection.
    ///
    /// # Errors
    ///
    /// The error that the client receives instead of the one that is already known.
    fn check(&self, caller: &Caller, arguments: &[RawValue]) -> Result<(), HubError> {
        let _ = (caller, arguments);
        Ok(())
    }

    /// Runs the method. The numbers of arguments and of upload streams match its shape.
    ///
    /// # Errors
    ///
    /// The client receives the error as the call's result; see [`HubError`] for what it sees of it.
    fn invoke(&self, caller: Caller, call: Call) -> BoxFuture<'_, Result<Reply, HubError>>;

    /// Whether the hub itself logs failed calls of this method. If it does not, the server logs them, with the name of
    /// the exception but without its text, which may repeat what the client sent.
    fn logs_failures(&self) -> bool {
        false
    }
}

/// How a method may be called: its parameters, its streams, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MethodShape {
    /// The number of arguments that a call must have; `None` accepts any number.
    pub parameters: Option<usize>,
    /// Whether the method returns a stream of results. Clients must invoke it as a stream then, and only then.
    pub streams: bool,
    /// The number of streams that the client uploads with a call.
    pub uploads: usize,
    /// Who may call it; `None` allows every client that may connect to the hub.
    pub policy: Option<Arc<Authorize>>,
}

impl MethodShape {
    /// A method with this many parameters that returns a single result, accepts no uploads, and may be called by every
    /// client of the hub.
    pub fn new(parameters: usize) -> Self {
        Self { parameters: Some(parameters), streams: false, uploads: 0, policy: None }
    }

    /// Like [`MethodShape::new`], for a method that accepts any number of arguments.
    pub fn variadic() -> Self {
        Self { parameters: None, ..Self::new(0) }
    }

    /// Makes the method return a stream of results.
    #[must_use]
    pub fn streaming(self) -> Self {
        Self { streams: true, ..self }
    }

    /// Sets how many streams the client uploads with a call.
    #[must_use]
    pub fn with_uploads(self, uploads: usize) -> Self {
        Self { uploads, ..self }
    }

    /// Allows the method only to users who fulfil a rule.
    #[must_use]
    pub fn guarded(self, policy: Arc<Authorize>) -> Self {
        Self { policy: Some(policy), ..self }
    }
}

/// One call of a hub method, as [`HubMethod::invoke`] receives it.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Call {
    /// The arguments, encoded as the client sent them.
    pub arguments: Vec<RawValue>,
    /// The streams that the client uploads with the call, in the order of the method's parameters.
    pub uploads: Vec<Upload>,
    /// Signals that nobody waits for the call any longer. While the method or its stream holds it or a clone of it,
    /// a cancelled stream may keep running for up to 5 s so that it can finish by itself; otherwise it is dropped at
    /// once.
    pub cancellation: Cancellation,
}

impl Call {
    /// A call with these arguments, without upload streams, that is never cancelled.
    pub fn new(arguments: Vec<RawValue>) -> Self {
        Self { arguments, ..Self::default() }
    }
}

/// What a hub method returns.
#[non_exhaustive]
pub enum Reply {
    /// No result. The client receives null.
    Empty,
    /// A single result.
    Value(RawValue),
    /// A stream of results. The first error ends it. Only for methods whose [`MethodShape::streams`] is true.
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
