//! [`ClientMethod`]: a client method with the types of its arguments and its result.

use std::fmt;
use std::marker::PhantomData;

use super::values::{Argument, ArgumentsFor, IntoArguments};
use crate::protocol::{RawValue, ValueError};

/// A method that clients have registered: its name, and the types of its arguments and its result. The compiler checks
/// the types wherever the method is invoked.
///
/// Declare a constant for each client method. `Args` is the tuple of its arguments, `()` for none. `Returns` is the
/// type of the client's result; leave it out for a method that returns nothing. For a declared `String` a `&str` can be
/// passed, for a `Vec<T>` a `&[T]` or an array, and for any `T` a `&T` ([`ArgumentsFor`]).
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
/// Arguments of other types do not compile, and neither does sending a method that has a result:
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
    /// Declares a method that clients have registered under this name.
    pub const fn new(name: &'static str) -> Self {
        Self { name, types: PhantomData }
    }

    /// The method's name.
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

/// A client method that can be invoked with the arguments `A` and returns `R`. A send awaits no result: there `R` is
/// `()`.
///
/// Implemented for a name (`&str`, `&String`), with any arguments ([`IntoArguments`]) and any result, and for
/// [`ClientMethod`] with the types that it declares.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be invoked with the arguments `{A}` and the result `{R}`",
    label = "not a client method with these arguments and this result",
    note = "arguments are passed as a tuple, `()` for none; for a `ClientMethod` they must have the declared types, and a \
            method that declares a result must be invoked, not sent"
)]
pub trait Callable<A, R = ()> {
    /// The name under which clients have registered the method.
    #[doc(hidden)]
    fn method_name(&self) -> &str;

    /// Converts the arguments to raw values, one for each.
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
