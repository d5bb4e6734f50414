//! The traits of async functions that can be hub methods and hooks, and the erasure of their types, so that one table
//! holds all of a hub's methods.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt};

use super::parameters::{Inputs, Parameter};
use super::values::IntoValue;
use super::{Call, Caller, DisconnectError, HubError, Reply};
use crate::protocol::RawValue;

/// An async function that can be a hub method: it takes up to ten [`Parameter`]s and returns `Result<_, HubError>`.
///
/// It is implemented for all such functions and closures; there is no need to implement it. `S` is the type of the
/// hub's state. `A` is the tuple of the parameters' types, which the compiler infers.
#[diagnostic::on_unimplemented(
    message = "this function cannot be a hub method",
    label = "not an async function of up to ten parameters that returns `Result<_, HubError>`",
    note = "give every parameter its type: `Caller`, one that implements `DeserializeOwned`, `RawValue`, `Upload`, `Items`, \
            `Cancellation`, `State` of the hub's own state, or one that implements `Parameter`"
)]
pub trait MethodFn<S, A>: Send + Sync + 'static {
    /// The type of a successful result.
    type Output;

    /// The number of arguments that a call must have.
    const ARGUMENTS: usize;
    /// The number of streams that the client uploads with a call.
    const UPLOADS: usize;

    /// Checks whether the arguments have the right number and types, without calling the function.
    #[doc(hidden)]
    fn check(&self, inputs: Inputs<'_, S>) -> Result<(), HubError>;

    /// Makes the parameters and calls the function.
    #[doc(hidden)]
    fn call(&self, inputs: Inputs<'_, S>) -> impl Future<Output = Result<Self::Output, HubError>> + Send;
}

/// An async function that can be passed to [`Methods::on_disconnected`](super::Methods::on_disconnected): it takes the
/// [`Caller`], the error, and up to eight [`Parameter`]s that need no arguments, and returns `Result<(), HubError>`.
///
/// It is implemented for all such functions and closures. `S` and `A` have the same meaning as for [`MethodFn`].
#[diagnostic::on_unimplemented(
    message = "this function cannot be a hub's `on_disconnected`",
    label = "not an async function of `Caller`, `Option<DisconnectError>` and up to eight parameters that returns `Result<(), HubError>`"
)]
pub trait DisconnectedFn<S, A>: Send + Sync + 'static {
    /// The number of arguments that the parameters after the error need; it must be 0.
    const ARGUMENTS: usize;
    /// The number of uploads that the parameters need; it must be 0.
    const UPLOADS: usize;

    /// Makes the parameters and calls the function.
    #[doc(hidden)]
    fn call(
        &self,
        error: Option<DisconnectError>,
        inputs: Inputs<'_, S>,
    ) -> impl Future<Output = Result<(), HubError>> + Send;
}

macro_rules! methods {
    ($($($name:ident)*;)*) => {$(
        impl<State, Function, Returned, Value, $($name),*> MethodFn<State, ($($name,)*)> for Function
        where
            State: Sync,
            Function: Fn($($name),*) -> Returned + Send + Sync + 'static,
            Returned: Future<Output = Result<Value, HubError>> + Send + 'static,
            $($name: Parameter<State>,)*
        {
            type Output = Value;

            const ARGUMENTS: usize = 0 $(+ $name::ARGUMENTS)*;
            const UPLOADS: usize = 0 $(+ $name::UPLOADS)*;

            fn check(&self, inputs: Inputs<'_, State>) -> Result<(), HubError> {
                let counted = inputs.counted(<Self as MethodFn<State, ($($name,)*)>>::ARGUMENTS);
                let mut _inputs = inputs;
                $(_inputs.check::<$name>()?;)*
                counted
            }

            async fn call(&self, inputs: Inputs<'_, State>) -> Result<Value, HubError> {
                // The function is called when the future is polled, so that a panic before its first await occurs
                // there and is caught like any other.
                let returned = {
                    inputs.counted(<Self as MethodFn<State, ($($name,)*)>>::ARGUMENTS)?;
                    let mut _inputs = inputs;
                    self($($name::take(&mut _inputs)?),*)
                };
                returned.await
            }
        }
    )*};
}
methods! {
    ;
    A;
    A B;
    A B C;
    A B C D;
    A B C D E;
    A B C D E F;
    A B C D E F G;
    A B C D E F G H;
    A B C D E F G H I;
    A B C D E F G H I J;
}

macro_rules! disconnected {
    ($($($name:ident)*;)*) => {$(
        impl<State, Function, Returned, $($name),*> DisconnectedFn<State, ($($name,)*)> for Function
        where
            State: Sync,
            Function: Fn(Caller, Option<DisconnectError>, $($name),*) -> Returned + Send + Sync + 'static,
            Returned: Future<Output = Result<(), HubError>> + Send + 'static,
            $($name: Parameter<State>,)*
        {
            const ARGUMENTS: usize = 0 $(+ $name::ARGUMENTS)*;
            const UPLOADS: usize = 0 $(+ $name::UPLOADS)*;

            async fn call(&self, error: Option<DisconnectError>, inputs: Inputs<'_, State>) -> Result<(), HubError> {
                let returned = {
                    let mut inputs = inputs;
                    self(Caller::take(&mut inputs)?, error, $($name::take(&mut inputs)?),*)
                };
                returned.await
            }
        }
    )*};
}
disconnected! {
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

// === type erasure ===

/// A method without the types of its function.
pub(super) trait ErasedMethod: Send + Sync {
    fn check(&self, caller: &Caller, arguments: &[RawValue]) -> Result<(), HubError>;
    fn call(&self, caller: Caller, call: Call) -> BoxFuture<'_, Result<Reply, HubError>>;
}

/// A function with the hub's state and the conversion of its result into a reply.
struct TypedMethod<S, A, F: MethodFn<S, A>> {
    state: Arc<S>,
    function: F,
    reply: fn(F::Output) -> Result<Reply, HubError>,
}

impl<S: Send + Sync + 'static, A: 'static, F: MethodFn<S, A>> ErasedMethod for TypedMethod<S, A, F> {
    fn check(&self, caller: &Caller, arguments: &[RawValue]) -> Result<(), HubError> {
        self.function.check(Inputs::new(caller.clone(), &self.state, Call::new(arguments.to_vec())))
    }

    fn call(&self, caller: Caller, call: Call) -> BoxFuture<'_, Result<Reply, HubError>> {
        Box::pin(async move {
            let returned = self.function.call(Inputs::new(caller, &self.state, call)).await?;
            (self.reply)(returned)
        })
    }
}

/// Erases the types of a function that returns a single result.
pub(super) fn plain<S, A, F>(state: Arc<S>, function: F) -> Arc<dyn ErasedMethod>
where
    S: Send + Sync + 'static,
    A: 'static,
    F: MethodFn<S, A>,
    F::Output: IntoValue,
{
    Arc::new(TypedMethod { state, function, reply: |value| Ok(Reply::Value(value.into_value()?)) })
}

/// Erases the types of a function that returns a stream.
pub(super) fn streaming<S, A, F, T>(state: Arc<S>, function: F) -> Arc<dyn ErasedMethod>
where
    S: Send + Sync + 'static,
    A: 'static,
    F: MethodFn<S, A>,
    F::Output: Stream<Item = Result<T, HubError>> + Send + 'static,
    T: IntoValue,
{
    let reply = |items: F::Output| Ok(Reply::Stream(items.map(|item| Ok(item?.into_value()?)).boxed()));
    Arc::new(TypedMethod { state, function, reply })
}

/// What runs when a client has connected.
pub(super) type ConnectedHook = Box<dyn Fn(Caller) -> BoxFuture<'static, Result<(), HubError>> + Send + Sync>;

pub(super) fn connected<S, A, F>(state: Arc<S>, function: F) -> ConnectedHook
where
    S: Send + Sync + 'static,
    F: MethodFn<S, A, Output = ()>,
{
    let function = Arc::new(function);
    Box::new(move |caller| {
        let (state, function) = (state.clone(), function.clone());
        Box::pin(async move { function.call(Inputs::new(caller, &state, Call::default())).await })
    })
}

/// What runs when a client has disconnected.
pub(super) type DisconnectedHook =
    Box<dyn Fn(Caller, Option<DisconnectError>) -> BoxFuture<'static, Result<(), HubError>> + Send + Sync>;

pub(super) fn disconnected<S, A, F>(state: Arc<S>, function: F) -> DisconnectedHook
where
    S: Send + Sync + 'static,
    F: DisconnectedFn<S, A>,
{
    let function = Arc::new(function);
    Box::new(move |caller, error| {
        let (state, function) = (state.clone(), function.clone());
        Box::pin(async move { function.call(error, Inputs::new(caller, &state, Call::default())).await })
    })
}
