//! A hub made of typed async functions: [`Methods`].

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt};

use super::names::MethodTable;
use super::parameters::{Inputs, Parameter};
use super::values::IntoValue;
use super::{Call, Caller, Hub, HubDefinitionError, HubError, MethodShape, Reply};
use crate::config::Authorize;
use crate::protocol::{BindingError, RawValue};

/// A hub made of async functions. Each takes the [`Caller`] and up to eight parameters ([`Parameter`]), and returns a
/// value ([`IntoValue`]; `()` for none), or a stream of values, or a [`HubError`]. `?` turns the error of a send into
/// one.
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
///     .method("Add", |_: Caller, a: i64, b: i64| async move {
///         a.checked_add(b).ok_or(HubError::hub("the sum is too large"))
///     })
///     .method("JoinRoom", join_room)
///     // A stream that the client uploads beside the arguments.
///     .method("Total", |_: Caller, mut prices: Items<f64>, discount: f64| async move {
///         let mut total = 0.0;
///         while let Some(price) = prices.next().await {
///             total += price? * (1.0 - discount);
///         }
///         Ok(total)
///     })
///     // A stream of results.
///     .stream("Count", |_: Caller, to: i32| async move { Ok(stream::iter(1..=to).map(Ok)) });
/// # let _ = hub;
/// ```
///
/// State that methods share goes into them as clones of an `Arc`. Clients may write the names in any letter case. An
/// argument of the wrong type is answered with the reference's binding error, and the function is not called.
#[derive(Default)]
pub struct Methods {
    methods: MethodTable<Method>,
    connected: Option<Connected>,
    disconnected: Option<Disconnected>,
    /// What is wrong so far; the server that is built with the hub asks for it.
    invalid: HubDefinitionError,
}

type Connected = Box<dyn Fn(Caller) -> BoxFuture<'static, Result<(), HubError>> + Send + Sync>;
type Disconnected = Box<dyn Fn(Caller, Option<String>) -> BoxFuture<'static, Result<(), HubError>> + Send + Sync>;

struct Method {
    shape: MethodShape,
    function: Box<dyn Function>,
}

// === building ===

impl Methods {
    /// A hub without methods.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a method that returns once. Method names are case-insensitive; a second method of the same name is an error
    /// of the server's `build` ([`Hub::validate`]).
    pub fn method<A: 'static, F: MethodFn<A>>(self, name: &str, function: F) -> Self
    where
        F::Output: IntoValue,
    {
        let shape = MethodShape { parameters: Some(F::ARGUMENTS), streams: false, uploads: F::UPLOADS, policy: None };
        self.add(name, Method { shape, function: Box::new(Plain(function, PhantomData)) })
    }

    /// Adds a method whose results are streamed: the function returns a stream of `Result<impl IntoValue, HubError>`.
    /// Its first error ends it; an error of the function itself is told before any item.
    ///
    /// The stream is asked for its next item when the client's queue has room. It is dropped when the client cancels
    /// it or goes away; one that wants to know takes a [`super::Cancellation`]. Names are as for [`Methods::method`].
    pub fn stream<A: 'static, F: MethodFn<A>, T: IntoValue>(self, name: &str, function: F) -> Self
    where
        F::Output: Stream<Item = Result<T, HubError>> + Send + 'static,
    {
        let shape = MethodShape { parameters: Some(F::ARGUMENTS), streams: true, uploads: F::UPLOADS, policy: None };
        self.add(name, Method { shape, function: Box::new(Streaming(function, PhantomData)) })
    }

    fn add(mut self, name: &str, method: Method) -> Self {
        if !self.methods.insert(name, method) {
            self.invalid.duplicate_method(name);
        }
        self
    }

    /// Lets only those call a method who fulfil a rule. Others are answered
    /// `Failed to invoke 'X' because user is unauthorized`; the server must have a way to know its users.
    ///
    /// The method must have been added before. A rule for a method that does not exist is an error of the server's
    /// `build` ([`Hub::validate`]).
    pub fn authorize(mut self, name: &str, rule: Authorize) -> Self {
        match self.methods.get_mut(name) {
            Some(method) => method.shape.policy = Some(Arc::new(rule)),
            None => self.invalid.unknown_method(name),
        }
        self
    }

    /// What happens when a client has come, before anything it sends is looked at. An error closes it. The last one
    /// given counts.
    pub fn on_connected<F, R>(mut self, function: F) -> Self
    where
        F: Fn(Caller) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), HubError>> + Send + 'static,
    {
        self.connected = Some(Box::new(move |caller| Box::pin(function(caller))));
        self
    }

    /// What happens when a client has gone; the second argument is None for an orderly end. The last one given
    /// counts.
    pub fn on_disconnected<F, R>(mut self, function: F) -> Self
    where
        F: Fn(Caller, Option<String>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), HubError>> + Send + 'static,
    {
        self.disconnected = Some(Box::new(move |caller, error| Box::pin(function(caller, error))));
        self
    }
}

impl fmt::Debug for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<_> = self.methods.names().collect();
        names.sort_unstable();
        f.debug_struct("Methods").field("methods", &names).finish_non_exhaustive()
    }
}

// === being a hub ===

impl Hub for Methods {
    fn validate(&self) -> Result<(), HubDefinitionError> {
        self.invalid.clone().into_result()
    }

    fn method(&self, target: &str) -> Option<MethodShape> {
        self.methods.get(target).map(|method| method.shape.clone())
    }

    fn name(&self, target: &str) -> Option<&str> {
        self.methods.name(target)
    }

    fn check(&self, call: &Call) -> Result<(), BindingError> {
        // An unknown method is an error of another kind, told by `method`.
        self.methods.get(&call.target).map_or(Ok(()), |method| method.function.check(&call.arguments))
    }

    fn connected(&self, caller: Caller) -> BoxFuture<'_, Result<(), HubError>> {
        Box::pin(async move {
            match &self.connected {
                Some(function) => function(caller).await,
                None => Ok(()),
            }
        })
    }

    fn invoke(&self, caller: Caller, call: Call) -> BoxFuture<'_, Result<Reply, HubError>> {
        match self.methods.get(&call.target) {
            Some(method) => method.function.call(caller, call),
            None => Box::pin(async { Err(HubError::unknown_method()) }),
        }
    }

    fn disconnected(&self, caller: Caller, error: Option<String>) -> BoxFuture<'_, Result<(), HubError>> {
        Box::pin(async move {
            match &self.disconnected {
                Some(function) => function(caller, error).await,
                None => Ok(()),
            }
        })
    }
}

// === functions ===

/// An async function that can be a method: it takes a [`Caller`] and up to eight [`Parameter`]s, and returns
/// `Result<_, HubError>`. `A` is the tuple of its parameters' types; it is inferred.
#[diagnostic::on_unimplemented(
    message = "this function cannot be a hub method",
    label = "not an async function of `Caller` and up to eight parameters that returns `Result<_, HubError>`",
    note = "give every parameter its type: one that implements `DeserializeOwned`, or `RawValue`, `Upload`, `Items` or \
            `Cancellation`"
)]
pub trait MethodFn<A>: Send + Sync + 'static {
    /// What it returns when it does not fail.
    type Output;

    /// How many arguments it takes.
    const ARGUMENTS: usize;
    /// How many streams it takes.
    const UPLOADS: usize;

    /// Whether the arguments fit.
    fn check(&self, arguments: &[RawValue]) -> Result<(), BindingError>;

    /// Reads the arguments and runs.
    fn call(&self, caller: Caller, call: Call) -> impl Future<Output = Result<Self::Output, HubError>> + Send;
}

macro_rules! functions {
    ($($($name:ident)*;)*) => {$(
        impl<Function, Returned, Value, $($name),*> MethodFn<($($name,)*)> for Function
        where
            Function: Fn(Caller, $($name),*) -> Returned + Send + Sync + 'static,
            Returned: Future<Output = Result<Value, HubError>> + Send + 'static,
            $($name: Parameter,)*
        {
            type Output = Value;

            const ARGUMENTS: usize = 0 $(+ $name::IS_ARGUMENT as usize)*;
            const UPLOADS: usize = 0 $(+ $name::IS_UPLOAD as usize)*;

            fn check(&self, arguments: &[RawValue]) -> Result<(), BindingError> {
                let mut _inputs = Inputs::new(Call::new("", arguments.to_vec()));
                $(_inputs.check::<$name>()?;)*
                counted(arguments.len(), Self::ARGUMENTS)
            }

            async fn call(&self, caller: Caller, call: Call) -> Result<Value, HubError> {
                // All of it runs when the future does: a function that panics before its first await panics there.
                let returned = {
                    counted(call.arguments.len(), Self::ARGUMENTS)?;
                    let mut _inputs = Inputs::new(call);
                    self(caller, $($name::take(&mut _inputs)?),*)
                };
                returned.await
            }
        }
    )*};
}
functions! {
    ;
    A;
    A B;
    A B C;
    A B C D;
    A B C D E;
    A B C D E F;
    A B C D E F G;
    A B C D E F G H;
}

fn counted(arguments: usize, expected: usize) -> Result<(), BindingError> {
    if arguments == expected { Ok(()) } else { Err(BindingError::argument_count(arguments, expected)) }
}

/// A function whose types are forgotten, so that all of a hub's stand in one table.
trait Function: Send + Sync {
    fn check(&self, arguments: &[RawValue]) -> Result<(), BindingError>;
    fn call(&self, caller: Caller, call: Call) -> BoxFuture<'_, Result<Reply, HubError>>;
}

struct Plain<F, A>(F, PhantomData<fn(A)>);

impl<A, F: MethodFn<A>> Function for Plain<F, A>
where
    F::Output: IntoValue,
{
    fn check(&self, arguments: &[RawValue]) -> Result<(), BindingError> {
        self.0.check(arguments)
    }

    fn call(&self, caller: Caller, call: Call) -> BoxFuture<'_, Result<Reply, HubError>> {
        Box::pin(async move { Ok(Reply::Value(self.0.call(caller, call).await?.into_value()?)) })
    }
}

struct Streaming<F, A>(F, PhantomData<fn(A)>);

impl<A, F: MethodFn<A>, T: IntoValue> Function for Streaming<F, A>
where
    F::Output: Stream<Item = Result<T, HubError>> + Send + 'static,
{
    fn check(&self, arguments: &[RawValue]) -> Result<(), BindingError> {
        self.0.check(arguments)
    }

    fn call(&self, caller: Caller, call: Call) -> BoxFuture<'_, Result<Reply, HubError>> {
        Box::pin(async move {
            let items = self.0.call(caller, call).await?;
            Ok(Reply::Stream(items.map(|item| Ok(item?.into_value()?)).boxed()))
        })
    }
}

#[cfg(test)]
mod tests;
