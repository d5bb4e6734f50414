//! What the parameters of a typed method can be: arguments, streams that the client uploads, the word that it wants no
//! more.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use tokio_util::sync::CancellationToken;

use super::upload::Upload;
use super::values::Argument;
use super::{Call, HubError};
use crate::protocol::{BindingError, RawValue};

/// A parameter of a typed method, behind the [`super::Caller`]: any [`Argument`], an [`Upload`] or [`Items`], or a
/// [`Cancellation`]. Only the first kind stands among the arguments of the call.
pub trait Parameter: Sized + Send {
    /// Whether it is one of the call's arguments.
    const IS_ARGUMENT: bool = false;
    /// Whether it is a stream that the client uploads.
    const IS_UPLOAD: bool = false;

    /// Takes what is next of its kind.
    fn take(inputs: &mut Inputs) -> Result<Self, BindingError>;
}

/// What is left of a call while its parameters are filled in.
#[derive(Debug)]
pub struct Inputs {
    arguments: std::vec::IntoIter<RawValue>,
    uploads: std::vec::IntoIter<Upload>,
    cancellation: Cancellation,
}

impl Inputs {
    pub(super) fn new(call: Call) -> Self {
        let Call { arguments, uploads, cancellation, .. } = call;
        Self { arguments: arguments.into_iter(), uploads: uploads.into_iter(), cancellation }
    }

    /// Looks at what is next for a parameter, if anything is.
    pub(super) fn check<T: Parameter>(&mut self) -> Result<(), BindingError> {
        if T::IS_ARGUMENT && self.arguments.len() > 0 { T::take(self).map(drop) } else { Ok(()) }
    }
}

impl<T: Argument + Send> Parameter for T {
    const IS_ARGUMENT: bool = true;

    fn take(inputs: &mut Inputs) -> Result<Self, BindingError> {
        let value = inputs.arguments.next().ok_or_else(BindingError::argument_type)?;
        // serde's text is not told: it quotes what the client sent.
        T::from_value(value).map_err(|_| BindingError::argument_type())
    }
}

impl Parameter for Upload {
    const IS_UPLOAD: bool = true;

    fn take(inputs: &mut Inputs) -> Result<Self, BindingError> {
        inputs.uploads.next().ok_or_else(BindingError::argument_type)
    }
}

impl<T: Argument + Send> Parameter for Items<T> {
    const IS_UPLOAD: bool = true;

    fn take(inputs: &mut Inputs) -> Result<Self, BindingError> {
        Upload::take(inputs).map(Self::from)
    }
}

impl Parameter for Cancellation {
    fn take(inputs: &mut Inputs) -> Result<Self, BindingError> {
        Ok(inputs.cancellation.clone())
    }
}

// === uploads with a type ===

/// An [`Upload`] whose items are of one type. An item that does not fit ends it with the error
/// `Failed to bind Stream message.` (reference/signalr-protocol.md 4.6).
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
                .and_then(|value| T::from_value(value).map_err(|_| HubError::hub("Failed to bind Stream message.")));
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

// === cancellation ===

/// Tells a method that nobody waits for it any more: its client cancelled the stream, or has gone. As .NET's
/// `CancellationToken` parameter.
///
/// Without it a stream that is cancelled is dropped at once. Who holds one is let run on, for at most 5 s, to end by
/// itself; its items reach nobody then. A plain call cannot be cancelled and is never dropped: it only learns here
/// that its client has gone (section 4.7).
#[derive(Clone, Debug, Default)]
pub struct Cancellation(Arc<CancellationToken>);

impl Cancellation {
    /// Ends when the call is cancelled.
    pub async fn cancelled(&self) {
        self.0.cancelled().await;
    }

    /// Whether it is cancelled already.
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    /// One that is cancelled together with this, or alone.
    pub(crate) fn child(&self) -> Self {
        Self(Arc::new(self.0.child_token()))
    }

    pub(crate) fn cancel(&self) {
        self.0.cancel();
    }

    /// How many hold it, this one included.
    pub(crate) fn holders(&self) -> usize {
        Arc::strong_count(&self.0)
    }
}
