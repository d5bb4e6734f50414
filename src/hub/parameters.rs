//! [`Parameter`]: the types that a typed method can take, from the caller and the call's arguments to the hub's state
//! and types of the application.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::extract::FromRef;
use futures_util::Stream;

use super::cancellation::Cancellation;
use super::upload::Upload;
use super::values::Argument;
use super::{Call, Caller, HubError};
use crate::protocol::{BindingError, RawValue};

/// A type that can be a parameter of a typed method, in any position. These types can:
///
/// - the [`Caller`];
/// - every [`Argument`], that is every type that implements serde's `DeserializeOwned`, and `RawValue`;
/// - an [`Upload`], or [`Items`] of one type: a stream that the client uploads with the call;
/// - a [`Cancellation`];
/// - the hub's [`State`], or a part of it.
///
/// `S` is the type of the hub's state ([`super::Methods::with_state`]).
///
/// Implement this trait for your own types that can be made from a call, such as the tenant that the caller belongs to.
/// It plays the role of axum's `FromRequestParts`. Such a type must not implement `Deserialize`, since every type that
/// does is an argument.
///
/// ```
/// use hubplane::hub::{Caller, HubError, Inputs, Methods, Parameter};
///
/// struct Tenant(String);
///
/// impl<S> Parameter<S> for Tenant {
///     fn take(inputs: &mut Inputs<'_, S>) -> Result<Self, HubError> {
///         let principal = inputs.caller().principal();
///         let tenant = principal.and_then(|principal| principal.user.as_ref()?.as_str().split_once('@'));
///         tenant.map(|(_, name)| Self(name.to_owned())).ok_or_else(|| HubError::client("you belong to no tenant"))
///     }
/// }
///
/// let hub = Methods::new().method("Tenant", |Tenant(name): Tenant| async move { Ok(name) });
/// # drop(hub);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a parameter of a hub method whose state is `{S}`",
    label = "not a parameter",
    note = "an argument must implement `DeserializeOwned`; `State<T>` needs a hub made by `Methods::with_state` and \
            `T: FromRef<{S}>`; other types implement `Parameter`"
)]
pub trait Parameter<S>: Sized + Send {
    /// How many of the call's arguments this parameter takes.
    const ARGUMENTS: usize = 0;
    /// How many of the call's uploaded streams this parameter takes.
    const UPLOADS: usize = 0;

    /// Makes the parameter from a call.
    ///
    /// For a parameter that takes arguments, this may also be called only to check them, without a call of the method
    /// afterwards.
    ///
    /// # Errors
    ///
    /// An error becomes the result of the call, and the method does not run.
    fn take(inputs: &mut Inputs<'_, S>) -> Result<Self, HubError>;
}

/// A call from which the parameters of a method are made ([`Parameter::take`]). Arguments and uploads are handed out in
/// order, each once.
#[derive(Debug)]
pub struct Inputs<'a, S> {
    caller: Caller,
    state: &'a S,
    arguments: std::vec::IntoIter<RawValue>,
    uploads: std::vec::IntoIter<Upload>,
    cancellation: Cancellation,
}

impl<'a, S> Inputs<'a, S> {
    pub(super) fn new(caller: Caller, state: &'a S, call: Call) -> Self {
        let Call { arguments, uploads, cancellation } = call;
        Self { caller, state, arguments: arguments.into_iter(), uploads: uploads.into_iter(), cancellation }
    }

    /// The connection that invokes the method.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The state of the hub.
    pub fn state(&self) -> &'a S {
        self.state
    }

    /// Takes the next argument. A parameter must count the arguments that it takes in [`Parameter::ARGUMENTS`].
    ///
    /// # Errors
    ///
    /// A binding error if there are no more arguments, or if the next one has another type.
    pub fn next_argument<T: Argument>(&mut self) -> Result<T, HubError> {
        let value = self.arguments.next().ok_or_else(BindingError::argument_type)?;
        // serde's error is dropped because its text quotes what the client sent.
        Ok(T::from_value(value).map_err(|_| BindingError::argument_type())?)
    }

    /// Takes the next stream that the client uploads. A parameter must count the streams that it takes in
    /// [`Parameter::UPLOADS`].
    ///
    /// # Errors
    ///
    /// A binding error if there are no more streams.
    pub fn next_upload(&mut self) -> Result<Upload, HubError> {
        Ok(self.uploads.next().ok_or_else(BindingError::argument_type)?)
    }

    /// Checks that the number of arguments is the one that the function takes.
    pub(super) fn counted(&self, expected: usize) -> Result<(), HubError> {
        let given = self.arguments.len();
        if given == expected { Ok(()) } else { Err(BindingError::argument_count(given, expected).into()) }
    }

    /// Makes a parameter and drops it, to check its arguments. Does nothing if it takes none or not enough are left.
    pub(super) fn check<T: Parameter<S>>(&mut self) -> Result<(), HubError> {
        if T::ARGUMENTS > 0 && self.arguments.len() >= T::ARGUMENTS { T::take(self).map(drop) } else { Ok(()) }
    }
}

impl<S, T: Argument + Send> Parameter<S> for T {
    const ARGUMENTS: usize = 1;

    fn take(inputs: &mut Inputs<'_, S>) -> Result<Self, HubError> {
        inputs.next_argument()
    }
}

impl<S> Parameter<S> for Caller {
    fn take(inputs: &mut Inputs<'_, S>) -> Result<Self, HubError> {
        Ok(inputs.caller.clone())
    }
}

impl<S> Parameter<S> for Upload {
    const UPLOADS: usize = 1;

    fn take(inputs: &mut Inputs<'_, S>) -> Result<Self, HubError> {
        inputs.next_upload()
    }
}

impl<S, T: Argument + Send> Parameter<S> for Items<T> {
    const UPLOADS: usize = 1;

    fn take(inputs: &mut Inputs<'_, S>) -> Result<Self, HubError> {
        inputs.next_upload().map(Self::from)
    }
}

impl<S> Parameter<S> for Cancellation {
    fn take(inputs: &mut Inputs<'_, S>) -> Result<Self, HubError> {
        Ok(inputs.cancellation.clone())
    }
}

// === state ===

/// The state of a hub ([`super::Methods::with_state`]), or a part of it, as a parameter of a method or a hook.
///
/// The value is cloned for every call. `T` is the type of the state, or any type that implements axum's [`FromRef`] for
/// it. Put data that is shared or expensive to clone into an `Arc`.
///
/// ```
/// use std::sync::Arc;
///
/// use hubplane::hub::{FromRef, Methods, State};
///
/// struct Database;
///
/// #[derive(Clone)]
/// struct App {
///     database: Arc<Database>,
/// }
///
/// impl FromRef<App> for Arc<Database> {
///     fn from_ref(app: &App) -> Self {
///         app.database.clone()
///     }
/// }
///
/// let hub = Methods::with_state(App { database: Arc::new(Database) })
///     .method("Save", |State(_database): State<Arc<Database>>, _text: String| async move { Ok(()) });
/// # drop(hub);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct State<T>(pub T);

impl<T> Deref for State<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<S, T: FromRef<S> + Send> Parameter<S> for State<T> {
    fn take(inputs: &mut Inputs<'_, S>) -> Result<Self, HubError> {
        Ok(Self(T::from_ref(inputs.state)))
    }
}

// === typed uploads ===

/// A stream that a client uploads with a call, whose items are all of type `T`. [`Upload`] is the same without a type.
///
/// It is a [`Stream`] too. An item of another type ends it with the error `Failed to bind Stream message.`
/// (docs/builders/signalr-protocol.md#4.6).
pub struct Items<T> {
    upload: Upload,
    failed: bool,
    item: PhantomData<fn() -> T>,
}

impl<T> From<Upload> for Items<T> {
    fn from(upload: Upload) -> Self {
        Self { upload, failed: false, item: PhantomData }
    }
}

impl<T: Argument> Items<T> {
    /// Awaits the next item. `None` means that the stream has ended.
    ///
    /// # Errors
    ///
    /// The same errors as [`Upload::next`], and one for an item that is not a `T`. Each ends the stream.
    pub async fn next(&mut self) -> Option<Result<T, HubError>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl<T: Argument> Stream for Items<T> {
    type Item = Result<T, HubError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.failed {
            return Poll::Ready(None);
        }
        let item = ready!(Pin::new(&mut self.upload).poll_next(context));
        Poll::Ready(item.map(|item| {
            // serde's error is dropped because its text quotes what the client sent.
            let item = item
                .and_then(|value| T::from_value(value).map_err(|_| HubError::client("Failed to bind Stream message.")));
            self.failed = item.is_err();
            item
        }))
    }
}

impl<T> fmt::Debug for Items<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Items").field("upload", &self.upload).finish_non_exhaustive()
    }
}
