//! What the parameters of a typed method can be: who calls, arguments, streams that the client uploads, the state of
//! the hub, and types of the application's own.

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

/// A parameter of a typed method, in any position: the [`Caller`], any [`Argument`], an [`Upload`] or [`Items`], a
/// [`Cancellation`], or a part of the hub's [`State`].
///
/// `S` is the state of the hub ([`super::Methods::with_state`]). Implement it for types of your own that are found in
/// what is known of a call, such as the tenant that a caller belongs to. Such a type must not implement serde's
/// `Deserialize`: everything that does is an argument.
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
    /// How many of the call's arguments it takes.
    const ARGUMENTS: usize = 0;
    /// How many of the streams that the client uploads it takes.
    const UPLOADS: usize = 0;

    /// Makes the parameter from what is known of the call. An error ends the call; the method is not run.
    ///
    /// A parameter that takes arguments may be made only to learn whether they fit, without a call of the method.
    fn take(inputs: &mut Inputs<'_, S>) -> Result<Self, HubError>;
}

/// What is known of a call while its parameters are made. Arguments and uploads are taken in order, each once.
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

    /// Who calls.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The state of the hub.
    pub fn state(&self) -> &'a S {
        self.state
    }

    /// The next argument. An error: there is none, or it is of another type. A parameter that calls this must say so
    /// in [`Parameter::ARGUMENTS`].
    pub fn next_argument<T: Argument>(&mut self) -> Result<T, HubError> {
        let value = self.arguments.next().ok_or_else(BindingError::argument_type)?;
        // serde's text is not told: it quotes what the client sent.
        Ok(T::from_value(value).map_err(|_| BindingError::argument_type())?)
    }

    /// The next stream that the client uploads. An error: there is none. A parameter that calls this must say so in
    /// [`Parameter::UPLOADS`].
    pub fn next_upload(&mut self) -> Result<Upload, HubError> {
        Ok(self.uploads.next().ok_or_else(BindingError::argument_type)?)
    }

    /// Whether there are as many arguments as a function takes.
    pub(super) fn counted(&self, expected: usize) -> Result<(), HubError> {
        let given = self.arguments.len();
        if given == expected { Ok(()) } else { Err(BindingError::argument_count(given, expected).into()) }
    }

    /// Makes a parameter that takes arguments, if enough are left, to learn whether they fit.
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
/// `T` is a clone: the state itself, or what axum's [`FromRef`] makes of it. Keep what is shared in an `Arc`.
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

// === uploads with a type ===

/// An [`Upload`] whose items are of one type. An item that does not fit ends it with the error
/// `Failed to bind Stream message.` (docs/builders/signalr-protocol.md#4.6).
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
    /// The next item. None: the client completed the stream.
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
            // What serde says is not told: it quotes what the client sent.
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
