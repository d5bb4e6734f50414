//! [`Methods`]: a hub made of typed async functions.

use std::fmt;
use std::sync::Arc;

use futures_util::Stream;
use futures_util::future::BoxFuture;

use super::functions::{self, ConnectedHook, DisconnectedFn, DisconnectedHook, ErasedMethod, MethodFn};
use super::method_table::MethodTable;
use super::values::IntoValue;
use super::{Call, Caller, DisconnectError, Hub, HubDefinitionError, HubError, HubMethod, MethodShape, Reply};
use crate::config::Authorize;
use crate::protocol::RawValue;

/// A hub made of async functions.
///
/// Each function takes up to ten parameters ([`super::Parameter`]): usually the [`Caller`] and the call's arguments.
/// It returns a `Result` with a value ([`IntoValue`]; `()` for none) or a stream of values, and [`HubError`] as the
/// error. Inside it `?` works on the errors of sends, and on your own error types if `HubError` implements `From` for
/// them.
///
/// ```
/// use futures_util::stream::{self, StreamExt};
/// use hubplane::hub::{Caller, HubError, Items, Methods};
///
/// async fn join_room(caller: Caller, room: String) -> Result<(), HubError> {
///     caller.groups().add(caller.connection_id(), room.as_str()).await?;
///     let notice = format!("{} joined {room}", caller.connection_id());
///     caller.clients().group(room).send("Notice", (notice,)).await?;
///     Ok(())
/// }
///
/// let hub = Methods::new()
///     .on_connected(|caller: Caller| async move {
///         caller.clients().others().send("UserConnected", (caller.connection_id().as_str(),)).await?;
///         Ok(())
///     })
///     .method("SendMessage", |caller: Caller, user: String, message: String| async move {
///         caller.clients().all().send("ReceiveMessage", (user, message)).await?;
///         Ok(())
///     })
///     .method("Add", |a: i64, b: i64| async move {
///         a.checked_add(b).ok_or(HubError::client("the sum is too large"))
///     })
///     .method("JoinRoom", join_room)
///     // The client uploads a stream of prices and passes one argument.
///     .method("Total", |mut prices: Items<f64>, discount: f64| async move {
///         let mut total = 0.0;
///         while let Some(price) = prices.next().await {
///             total += price? * (1.0 - discount);
///         }
///         Ok(total)
///     })
///     // A stream of results.
///     .stream("Count", |to: i32| async move { Ok(stream::iter(1..=to).map(Ok)) });
/// # let _ = hub;
/// ```
///
/// Clients may write the names of methods in any case. If an argument has the wrong type, the client receives the same
/// binding error as from ASP.NET Core, and the function is not called.
///
/// Functions that need something in common, such as a database pool, share the hub's state. They take it, or a part
/// of it, as a [`super::State`] parameter:
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use hubplane::hub::{Caller, Methods, State};
///
/// let hub = Methods::with_state(Arc::new(AtomicU64::new(0)))
///     .on_connected(|caller: Caller, State(visits): State<Arc<AtomicU64>>| async move {
///         let number = visits.fetch_add(1, Ordering::Relaxed) + 1;
///         caller.clients().caller().send("Welcome", (number,)).await?;
///         Ok(())
///     })
///     .method("Visits", |State(visits): State<Arc<AtomicU64>>| async move { Ok(visits.load(Ordering::Relaxed)) });
/// # let _ = hub;
/// ```
pub struct Methods<S = ()> {
    state: Arc<S>,
    methods: MethodTable<Arc<Registered>>,
    connected: Option<ConnectedHook>,
    disconnected: Option<DisconnectedHook>,
    /// The mistakes found so far. [`Hub::validate`] reports them when the server is built.
    invalid: HubDefinitionError,
}

#[derive(Clone)]
struct Registered {
    name: String,
    shape: MethodShape,
    function: Arc<dyn ErasedMethod>,
}

// === building ===

impl Methods {
    /// Creates a hub without methods and without state.
    pub fn new() -> Self {
        Self::with_state(())
    }
}

impl Default for Methods {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Send + Sync + 'static> Methods<S> {
    /// Creates a hub without methods, whose methods and hooks will share this state.
    ///
    /// They take it as a [`super::State`] parameter, which needs `S: Clone`, or take a part of it, for which the part's
    /// type implements [`FromRef<S>`](axum::extract::FromRef).
    pub fn with_state(state: S) -> Self {
        Self {
            state: Arc::new(state),
            methods: MethodTable::default(),
            connected: None,
            disconnected: None,
            invalid: HubDefinitionError::default(),
        }
    }

    /// Adds a method that returns a single result.
    ///
    /// Method names are case-insensitive. A second method of the same name makes the server's
    /// [`build`](crate::server::Builder::build) fail.
    pub fn method<A: 'static, F: MethodFn<S, A>>(self, name: &str, function: F) -> Self
    where
        F::Output: IntoValue,
    {
        let function = functions::plain(self.state.clone(), function);
        self.add(name, MethodShape::new(F::ARGUMENTS).with_uploads(F::UPLOADS), function)
    }

    /// Adds a method whose results are streamed: the function returns a stream of `Result<impl IntoValue, HubError>`.
    ///
    /// The first error ends the stream. If the function itself returns an error, the client receives it and no items.
    ///
    /// The stream is polled only while the client's outbox has room. It is dropped when the client cancels it or
    /// disconnects; a function that needs to notice this takes a [`super::Cancellation`] parameter. Names follow the
    /// same rules as for [`Methods::method`].
    pub fn stream<A: 'static, F: MethodFn<S, A>, T: IntoValue>(self, name: &str, function: F) -> Self
    where
        F::Output: Stream<Item = Result<T, HubError>> + Send + 'static,
    {
        let function = functions::streaming(self.state.clone(), function);
        self.add(name, MethodShape::new(F::ARGUMENTS).with_uploads(F::UPLOADS).streaming(), function)
    }

    fn add(mut self, name: &str, shape: MethodShape, function: Arc<dyn ErasedMethod>) -> Self {
        let method = Registered { name: name.to_owned(), shape, function };
        if !self.methods.insert(name, Arc::new(method)) {
            self.invalid.duplicate_method(name);
        }
        self
    }

    /// Allows a method only to users who fulfil a rule. Calls by others fail with the error
    /// `Failed to invoke 'X' because user is unauthorized`. The server must have a way to authenticate its users.
    ///
    /// Add the method first. A rule for a method that has not been added makes the server's
    /// [`build`](crate::server::Builder::build) fail.
    pub fn authorize(mut self, name: &str, rule: Authorize) -> Self {
        match self.methods.get_mut(name) {
            Some(method) => Arc::make_mut(method).shape.policy = Some(Arc::new(rule)),
            None => self.invalid.unknown_method(name),
        }
        self
    }

    /// Sets the function that is called when a client has connected, before any of its invocations is handled. If it
    /// returns an error, the connection is closed. A later `on_connected` replaces an earlier one.
    ///
    /// The function takes the [`Caller`] and other parameters that do not come from a call, such as a
    /// [`super::State`]. A function that takes an argument or an upload does not compile:
    ///
    /// ```compile_fail,E0080
    /// use hubplane::hub::{Caller, Methods};
    ///
    /// Methods::new().on_connected(|_: Caller, name: String| async move { Ok(()) });
    /// ```
    pub fn on_connected<A: 'static, F: MethodFn<S, A, Output = ()>>(mut self, function: F) -> Self {
        const { assert!(F::ARGUMENTS + F::UPLOADS == 0, "on_connected has no arguments and no uploads") };
        self.connected = Some(functions::connected(self.state.clone(), function));
        self
    }

    /// Sets the function that is called when a client has disconnected. A later `on_disconnected` replaces an earlier
    /// one.
    ///
    /// The function takes the [`Caller`], then the error as an `Option<String>` (`None` when the connection ended in an
    /// orderly way), and then the same further parameters as [`Methods::on_connected`].
    pub fn on_disconnected<A: 'static, F: DisconnectedFn<S, A>>(mut self, function: F) -> Self {
        const { assert!(F::ARGUMENTS + F::UPLOADS == 0, "on_disconnected has no arguments and no uploads") };
        self.disconnected = Some(functions::disconnected(self.state.clone(), function));
        self
    }
}

impl<S> fmt::Debug for Methods<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<_> = self.methods.names().collect();
        names.sort_unstable();
        f.debug_struct("Methods").field("methods", &names).finish_non_exhaustive()
    }
}

// === serving calls ===

impl<S: Send + Sync + 'static> Hub for Methods<S> {
    fn validate(&self) -> Result<(), HubDefinitionError> {
        self.invalid.clone().into_result()
    }

    fn resolve(&self, target: &str) -> Option<Arc<dyn HubMethod>> {
        Some(self.methods.get(target)?.clone())
    }

    fn connected(&self, caller: Caller) -> BoxFuture<'_, Result<(), HubError>> {
        match &self.connected {
            Some(hook) => hook(caller),
            None => Box::pin(async { Ok(()) }),
        }
    }

    fn disconnected(&self, caller: Caller, error: Option<DisconnectError>) -> BoxFuture<'_, Result<(), HubError>> {
        match &self.disconnected {
            Some(hook) => hook(caller, error),
            None => Box::pin(async { Ok(()) }),
        }
    }
}

impl HubMethod for Registered {
    fn name(&self) -> &str {
        &self.name
    }

    fn shape(&self) -> &MethodShape {
        &self.shape
    }

    fn check(&self, caller: &Caller, arguments: &[RawValue]) -> Result<(), HubError> {
        self.function.check(caller, arguments)
    }

    fn invoke(&self, caller: Caller, call: Call) -> BoxFuture<'_, Result<Reply, HubError>> {
        self.function.call(caller, call)
    }
}

#[cfg(test)]
mod tests;
