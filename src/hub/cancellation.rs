//! [`Cancellation`]: the signal to a running method that nobody waits for its result any longer.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Signals a method that nobody waits for its result any longer, because the client has cancelled the stream or has
/// disconnected. It is a parameter like .NET's `CancellationToken`.
///
/// A cancelled stream is dropped at once, unless the method or the stream holds a `Cancellation`. Then it may keep
/// running for up to 5 s, so that it can finish by itself; its items are discarded. A call with a single result cannot
/// be cancelled by the client and is never dropped: for it, this only signals that the client has disconnected
/// (docs/builders/signalr-protocol.md#4.7).
///
/// ```
/// use std::time::Duration;
///
/// use hubplane::hub::{Cancellation, Methods};
///
/// let hub = Methods::new().method("Search", |text: String, cancellation: Cancellation| async move {
///     tokio::select! {
///         () = tokio::time::sleep(Duration::from_secs(60)) => Ok(Some(format!("nothing found for {text}"))),
///         () = cancellation.cancelled() => Ok(None),
///     }
/// });
/// # drop(hub);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Cancellation {
    token: CancellationToken,
    /// Tells the [`Canceller`] of a stream that a `Cancellation` is still held. `None` for a call with a single result,
    /// which is never dropped.
    _listening: Option<watch::Receiver<()>>,
}

/// Cancels one stream; held by the connection. Clones cancel the same stream.
#[derive(Clone, Debug)]
pub(crate) struct Canceller {
    token: CancellationToken,
    /// Closed when every [`Cancellation`] of the stream has been dropped.
    listeners: watch::Sender<()>,
}

impl Cancellation {
    /// A cancellation that is triggered only by the end of the connection, `gone`.
    pub(crate) fn of_connection(gone: &CancellationToken) -> Self {
        Self { token: gone.clone(), _listening: None }
    }

    /// Completes when the call is cancelled.
    pub async fn cancelled(&self) {
        self.token.cancelled().await;
    }

    /// Whether the call has been cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.token.is_cancelled()
    }
}

impl Canceller {
    /// For one stream of a connection. The end of the connection, `gone`, cancels it too.
    pub(crate) fn new(gone: &CancellationToken) -> Self {
        Self { token: gone.child_token(), listeners: watch::Sender::new(()) }
    }

    /// The receiving half, for the method.
    pub(crate) fn cancellation(&self) -> Cancellation {
        Cancellation { token: self.token.clone(), _listening: Some(self.listeners.subscribe()) }
    }

    pub(crate) fn cancel(&self) {
        self.token.cancel();
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Completes when the stream is cancelled.
    pub(crate) async fn cancelled(&self) {
        self.token.cancelled().await;
    }

    /// Completes when neither the method nor its stream holds a [`Cancellation`] any more.
    pub(crate) async fn unheard(&self) {
        self.listeners.closed().await;
    }
}
