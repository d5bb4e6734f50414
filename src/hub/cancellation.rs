//! How a method learns that nobody waits for its call any more.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Tells a method that nobody waits for it any more: its client cancelled the stream, or has gone. As .NET's
/// `CancellationToken` parameter.
///
/// Without it a stream that is cancelled is dropped at once. Who holds one is let run on, for at most 5 s, to end by
/// itself; its items reach nobody then. A plain call cannot be cancelled and is never dropped: it only learns here
/// that its client has gone (docs/builders/signalr-protocol.md#4.7).
#[derive(Clone, Debug, Default)]
pub struct Cancellation {
    token: CancellationToken,
    /// Lets the [`Canceller`] of a stream know that somebody listens. A plain call has no such need.
    _listening: Option<watch::Receiver<()>>,
}

/// The connection's end of the [`Cancellation`] of one stream. Clones cancel the same stream.
#[derive(Clone, Debug)]
pub(crate) struct Canceller {
    token: CancellationToken,
    /// Closed when no [`Cancellation`] is left.
    listeners: watch::Sender<()>,
}

impl Cancellation {
    /// One that only learns of the end of the connection, which `gone` tells.
    pub(crate) fn of_connection(gone: &CancellationToken) -> Self {
        Self { token: gone.clone(), _listening: None }
    }

    /// Ends when the call is cancelled.
    pub async fn cancelled(&self) {
        self.token.cancelled().await;
    }

    /// Whether it is cancelled already.
    pub fn is_cancelled(&self) -> bool {
        self.token.is_cancelled()
    }
}

impl Canceller {
    /// For one stream of a connection whose end `gone` tells.
    pub(crate) fn new(gone: &CancellationToken) -> Self {
        Self { token: gone.child_token(), listeners: watch::Sender::new(()) }
    }

    /// What the method gets.
    pub(crate) fn cancellation(&self) -> Cancellation {
        Cancellation { token: self.token.clone(), _listening: Some(self.listeners.subscribe()) }
    }

    pub(crate) fn cancel(&self) {
        self.token.cancel();
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Ends when the stream is cancelled.
    pub(crate) async fn cancelled(&self) {
        self.token.cancelled().await;
    }

    /// Whether the method or its stream holds a [`Cancellation`].
    pub(crate) fn has_listeners(&self) -> bool {
        !self.listeners.is_closed()
    }
}
