//! Methods of clients, with the types of their arguments and results: [`ClientMethod`].

use std::fmt;
use std::marker::PhantomData;

use super::values::{Argument, ArgumentsFor, IntoArguments};
use crate::protocol::{RawValue, ValueError};

/// A method of the hub's clients: its name, and the types of its arguments and of what it returns. The compiler checks
/// them wherever the method is called.
///
/// Declare one as a constant for each method that clients have. `Args` is the tuple of the arguments, `()` for none.
/// `Returns` is what the client answers; without it the method is one that nobody awaits. Where `String` is declared
/// a `&str` may be given, for `Vec<T>` a `&[T]` or an array, and for any `T` a `&T` ([`ArgumentsFor`]).
///
/// ```
/// use hubplane::hub::{Caller, ClientMethod, Methods};
///
/// const RECEIVE_MESSAGE: ClientMethod<(String, String)> = ClientMethod::new("ReceiveMessage");
/// const CONFIRM: ClientMethod<(String,), bool> = ClientMethod::new("Confirm");
///
/// let hub = Methods::new().method("Say", |caller: Caller, text: String| async move {
///     if caller.clients().caller().invoke(CONFIRM, ("Sure?",)).await? {
///         caller.clients().others().send(RECEIVE_MESSAGE, (caller.connection_id().as_str(), text)).await?;
///     }
///     Ok(())
/// });
/// # drop(hub);
/// ```
///
/// Arguments of other types, and a method with a result that is sent and not invoked, do not compile:
///
/// ```compile_fail,E0277
/// # use hubplane::hub::{ClientMethod, Clients};
/// const RECEIVE_MESSAGE: ClientMethod<(String, String)> = ClientMethod::new("ReceiveMessage");
///
/// async fn tell(clients: Clients) {
///     let _ = clients.all().send(RECEIVE_MESSAGE, ("ann", 5)).await;
/// }
/// ```
///
/// ```compile_fail,E0277
/// # use hubplane::hub::{ClientMethod, Clients};
/// const CONFIRM: ClientMethod<(String,), bool> = ClientMethod::new("Confirm");
///
/// async fn tell(clients: Clients) {
///     let _ = clients.all().send(CONFIRM, ("Sure?",)).await;
/// }
/// ```
pub struct ClientMethod<Args, Returns = ()> {
    name: &'static str,
    types: PhantomData<fn(Args) -> Returns>,
}

impl<Args, Returns> ClientMethod<Args, Returns> {
    /// The method that clients have registered under this name.
    pub const fn new(name: &'static str) -> Self {
        Self { name, types: PhantomData }
    }

    /// The name that clients have registered it under.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<Args, Returns> Clone for ClientMethod<Args, Returns> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Args, Returns> Copy for ClientMethod<Args, Returns> {}

impl<Args, Returns> fmt::Debug for ClientMethod<Args, Returns> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientMethod").field(&self.name).finish()
    }
}

/// What can be called at clients with the arguments `A`, for the result `R`: a method by its name alone, with any
/// arguments ([`IntoArguments`]) and any result, or a [`ClientMethod`] with its own. A send awaits no result: there it is
/// `()`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be called with the arguments `{A}` for the result `{R}`",
    label = "no method of clients that takes these arguments and returns this",
    note = "the arguments are a tuple, `()` for none; for a `ClientMethod` they must be of its types, and one that has a \
            result is invoked and not sent"
)]
pub trait Callable<A, R = ()> {
    /// The name that clients have registered the method under.
    #[doc(hidden)]
    fn method_name(&self) -> &str;

    /// One raw value for each argument.
    #[doc(hidden)]
    fn values(&self, arguments: A) -> Result<Vec<RawValue>, ValueError>;
}

impl<A: IntoArguments, R: Argument> Callable<A, R> for &str {
    fn method_name(&self) -> &str {
        self
    }

    fn values(&self, arguments: A) -> Result<Vec<RawValue>, ValueError> {
        arguments.into_arguments()
    }
}

impl<A: IntoArguments, R: Argument> Callable<A, R> for &String {
    fn method_name(&self) -> &str {
        self
    }

    fn values(&self, arguments: A) -> Result<Vec<RawValue>, ValueError> {
        arguments.into_arguments()
    }
}

impl<Args, R: Argument, A: ArgumentsFor<Args>> Callable<A, R> for ClientMethod<Args, R> {
    fn method_name(&self) -> &str {
        self.name
    }

    fn values(&self, arguments: A) -> Result<Vec<RawValue>, ValueError> {
        arguments.into_values()
    }
}
