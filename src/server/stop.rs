//! How a server is told to stop: once, in good order; twice, at once.

use std::convert::Infallible;
use std::io;

use tokio::sync::watch;

/// A request to stop. Clones share it.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Sender<u32>);

impl Default for Shutdown {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Shutdown {
    /// Asks for the end. The second time it comes at once.
    pub fn request(&self) {
        self.0.send_modify(|times| *times = times.saturating_add(1));
    }

    /// Waits for the first request.
    pub async fn requested(&self) {
        self.reached(1).await;
    }

    /// Waits for the second.
    pub async fn insisted(&self) {
        self.reached(2).await;
    }

    async fn reached(&self, times: u32) {
        // The sender is `self`, so that the watch cannot end while this waits.
        let _ = self.0.subscribe().wait_for(|now| *now >= times).await;
    }

    /// Makes a request of each SIGTERM and SIGINT (elsewhere: Ctrl-C). Runs until it is dropped; fails if the
    /// system gives no signals.
    #[cfg(unix)]
    pub async fn on_signals(&self) -> io::Result<Infallible> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        loop {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            tracing::info!(signal = name, "told to stop");
            self.request();
        }
    }

    /// Makes a request of each SIGTERM and SIGINT (elsewhere: Ctrl-C). Runs until it is dropped; fails if the
    /// system gives no signals.
    #[cfg(not(unix))]
    pub async fn on_signals(&self) -> io::Result<Infallible> {
        loop {
            tokio::signal::ctrl_c().await?;
            tracing::info!(signal = "Ctrl-C", "told to stop");
            self.request();
        }
    }
}
