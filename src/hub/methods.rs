//! A hub made of typed async functions: [`Methods`].

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::names::MethodTable;
use super::values::{Argument, IntoValue};
use super::{Call, Caller, Hub, HubError, MethodShape, Reply};
use crate::config::Authorize;
use crate::protocol::{BindingError, RawValue};

/// A hub made of async functions. Each takes the [`Caller`] and up to eight arguments ([`Argument`]), and returns a
/// value ([`IntoValue`]; `()` for none) or a [`HubError`]. `?` turns the error of a send into one.
///
/// ```
/// use hubplane::hub::{Caller, HubError, Methods};
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
///     .method("JoinRoom", join_room);
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

    /// Adds a method.
    ///
    /// # Panics
    ///
    /// When there is a method of that name already; letter case does not count.
    #[track_caller]
    pub fn method<A: 'static>(mut self, name: &str, function: impl MethodFn<A>) -> Self {
        let parameters = function.parameters();
        let method = Method { shape: MethodShape::plain(parameters), function: Box::new(Typed(function, PhantomData)) };
        assert!(
            self.methods.insert(name, method),
            "the hub has a method '{name}' already (names that differ only in letter case are the same to clients)"
        );
        self
    }

    /// Lets only those call a method who fulfil a rule. Others are answered
    /// `Failed to invoke 'X' because user is unauthorized`; the server must have a way to know its users.
    ///
    /// # Panics
    ///
    /// When there is no method of that name yet.
    #[track_caller]
    pub fn authorize(mut self, name: &str, rule: Authorize) -> Self {
        let method = self.methods.get_mut(name);
        assert!(method.is_some(), "the hub has no method '{name}' yet: add it before its rule");
        if let Some(method) = method {
            method.shape.policy = Some(Arc::new(rule));
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
    fn method(&self, target: &str) -> Option<MethodShape> {
        self.methods.get(target).map(|method| method.shape.clone())
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
            Some(method) => method.function.call(caller, call.arguments),
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

/// An async function that can be a method: it takes a [`Caller`] and up to eight [`Argument`]s, and returns
/// `Result<impl IntoValue, HubError>`. `A` is the tuple of its arguments' types; it is inferred.
#[diagnostic::on_unimplemented(
    message = "this function cannot be a hub method",
    label = "not an async function of `Caller` and up to eight arguments that returns `Result<_, HubError>`",
    note = "give every parameter its type, and let each argument implement `DeserializeOwned` or be a `RawValue`"
)]
pub trait MethodFn<A>: Send + Sync + 'static {
    /// How many arguments it takes.
    fn parameters(&self) -> usize;

    /// Whether the arguments fit.
    fn check(&self, arguments: &[RawValue]) -> Result<(), BindingError>;

    /// Reads the arguments and runs.
    fn call(&self, caller: Caller, arguments: Vec<RawValue>) -> BoxFuture<'_, Result<Reply, HubError>>;
}

macro_rules! functions {
    ($($count:literal: $($name:ident)*;)*) => {$(
        impl<Function, Returned, Value, $($name),*> MethodFn<($($name,)*)> for Function
        where
            Function: Fn(Caller, $($name),*) -> Returned + Send + Sync + 'static,
            Returned: Future<Output = Result<Value, HubError>> + Send + 'static,
            Value: IntoValue,
            $($name: Argument,)*
        {
            fn parameters(&self) -> usize {
                $count
            }

            fn check(&self, arguments: &[RawValue]) -> Result<(), BindingError> {
                let mut _arguments = counted::<$count>(arguments.to_vec())?.into_iter();
                $(next::<$name>(&mut _arguments)?;)*
                Ok(())
            }

            fn call(&self, caller: Caller, arguments: Vec<RawValue>) -> BoxFuture<'_, Result<Reply, HubError>> {
                // All of it runs when the future does: a function that panics before its first await panics there.
                Box::pin(async move {
                    let future = {
                        let mut _arguments = counted::<$count>(arguments)?.into_iter();
                        self(caller, $(next::<$name>(&mut _arguments)?),*)
                    };
                    Ok(Reply::Value(future.await?.into_value()?))
                })
            }
        }
    )*};
}
functions! {
    0: ;
    1: A;
    2: A B;
    3: A B C;
    4: A B C D;
    5: A B C D E;
    6: A B C D E F;
    7: A B C D E F G;
    8: A B C D E F G H;
}

fn counted<const N: usize>(arguments: Vec<RawValue>) -> Result<[RawValue; N], BindingError> {
    arguments.try_into().map_err(|arguments: Vec<_>| BindingError::argument_count(arguments.len(), N))
}

fn next<T: Argument>(arguments: &mut impl Iterator<Item = RawValue>) -> Result<T, BindingError> {
    let value = arguments.next().ok_or_else(BindingError::argument_type)?;
    // serde's text is not told: it quotes what the client sent.
    T::from_value(value).map_err(|_| BindingError::argument_type())
}

/// A function whose argument types are forgotten, so that all of a hub's stand in one table.
trait Function: Send + Sync {
    fn check(&self, arguments: &[RawValue]) -> Result<(), BindingError>;
    fn call(&self, caller: Caller, arguments: Vec<RawValue>) -> BoxFuture<'_, Result<Reply, HubError>>;
}

struct Typed<F, A>(F, PhantomData<fn(A)>);

impl<A, F: MethodFn<A>> Function for Typed<F, A> {
    fn check(&self, arguments: &[RawValue]) -> Result<(), BindingError> {
        self.0.check(arguments)
    }

    fn call(&self, caller: Caller, arguments: Vec<RawValue>) -> BoxFuture<'_, Result<Reply, HubError>> {
        self.0.call(caller, arguments)
    }
}

#[cfg(test)]
mod tests;
