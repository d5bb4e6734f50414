//! How a server is told to stop: once, in good order; twice, at once. And what the process does with signals.

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
    pub async fn requested_twice(&self) {
        self.reached(2).await;
    }

    async fn reached(&self, times: u32) {
        // The sender is `self`, so that the watch cannot end while this waits.
        let _ = self.0.subscribe().wait_for(|now| *now >= times).await;
    }
}

/// The signals of this process, caught from the moment this value is made: from then on none of SIGTERM, SIGINT,
/// SIGHUP, SIGUSR1 and SIGUSR2 ends the process by itself, not even when this value has been dropped. One that comes
/// before [`Signals::forward`] runs is kept for it. Elsewhere than on Unix there is Ctrl-C alone.
///
/// SIGPIPE needs nothing: Rust programs ignore it, and a write to a closed pipe is an error of that write.
#[derive(Debug)]
pub struct Signals {
    #[cfg(unix)]
    unix: unix::SignalStreams,
}

impl Signals {
    /// Begins to catch signals. Fails where the system gives none.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub fn catch() -> io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            unix: unix::SignalStreams::new()?,
        })
    }

    /// Makes a request to stop of each SIGTERM and SIGINT (elsewhere: Ctrl-C), and a log line of the others. Runs
    /// until it is dropped.
    pub async fn forward(mut self, shutdown: &Shutdown) -> Infallible {
        loop {
            match self.next().await {
                SignalEvent::Stop(signal) => {
                    tracing::info!(signal, "told to stop");
                    shutdown.request();
                }
                SignalEvent::Reload(signal) => {
                    tracing::warn!(
                        signal,
                        "reloading the configuration is not available yet: restart the server to apply changes"
                    );
                }
                SignalEvent::Ignored(signal) => tracing::info!(signal, "the signal has no meaning here and is ignored"),
            }
        }
    }

    #[cfg(unix)]
    async fn next(&mut self) -> SignalEvent {
        self.unix.next().await
    }

    #[cfg(not(unix))]
    async fn next(&mut self) -> SignalEvent {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::error!(%error, "Ctrl-C cannot be caught");
            return std::future::pending().await;
        }
        SignalEvent::Stop("Ctrl-C")
    }
}

/// What a signal asks for; the signal's name.
enum SignalEvent {
    Stop(&'static str),
    #[cfg_attr(not(unix), expect(dead_code, reason = "there are no such signals"))]
    Reload(&'static str),
    #[cfg_attr(not(unix), expect(dead_code, reason = "there are no such signals"))]
    Ignored(&'static str),
}

#[cfg(unix)]
mod unix {
    use std::io;

    use tokio::signal::unix::{Signal, SignalKind, signal};

    use super::SignalEvent;

    /// One stream for each signal.
    #[derive(Debug)]
    pub(super) struct SignalStreams {
        terminate: Signal,
        interrupt: Signal,
        hangup: Signal,
        user1: Signal,
        user2: Signal,
    }

    impl SignalStreams {
        pub(super) fn new() -> io::Result<Self> {
            Ok(Self {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
                hangup: signal(SignalKind::hangup())?,
                user1: signal(SignalKind::user_defined1())?,
                user2: signal(SignalKind::user_defined2())?,
            })
        }

        pub(super) async fn next(&mut self) -> SignalEvent {
            tokio::select! {
                _ = self.terminate.recv() => SignalEvent::Stop("SIGTERM"),
                _ = self.interrupt.recv() => SignalEvent::Stop("SIGINT"),
                _ = self.hangup.recv() => SignalEvent::Reload("SIGHUP"),
                _ = self.user1.recv() => SignalEvent::Ignored("SIGUSR1"),
                _ = self.user2.recv() => SignalEvent::Ignored("SIGUSR2"),
            }
        }
    }
}
