//! [`Shutdown`]: requests that a server stop, gracefully or at once; [`Signals`]: the signals of the process.

use std::convert::Infallible;
use std::io;

use tokio::sync::watch;

/// A request that a server stop, for [`BoundServer::run_until`](super::BoundServer::run_until). The first request stops
/// the server gracefully, a second one at once. Clones share the requests.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Sender<u32>);

impl Default for Shutdown {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Shutdown {
    /// Requests the stop. The second request ends a graceful stop at once.
    pub fn request(&self) {
        self.0.send_modify(|times| *times = times.saturating_add(1));
    }

    /// Waits for the first request.
    pub async fn requested(&self) {
        self.reached(1).await;
    }

    /// Waits for the second request.
    pub async fn requested_twice(&self) {
        self.reached(2).await;
    }

    async fn reached(&self, times: u32) {
        // This cannot fail, since `self` is the sender.
        let _ = self.0.subscribe().wait_for(|now| *now >= times).await;
    }
}

/// The signals of this process, caught from the moment when this value is created.
///
/// From then on SIGTERM, SIGINT, SIGHUP, SIGUSR1 and SIGUSR2 no longer end the process, not even after this value has
/// been dropped. A signal that arrives before [`Signals::forward`] runs is kept for it. On systems other than Unix,
/// only Ctrl-C is caught.
///
/// SIGPIPE is not among them: Rust programs ignore it, and a write to a closed pipe fails with an error instead.
///
/// ```no_run
/// use hubplane::config::Config;
/// use hubplane::server::{Server, Shutdown, Signals};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// // From here on no signal is lost.
/// let signals = Signals::catch()?;
/// let stop = Shutdown::default();
/// let server = Server::builder(Config::default()).build().await?.bind()?;
/// tokio::select! {
///     ended = server.run_until(&stop) => ended?,
///     never = signals.forward(&stop) => match never {},
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Signals {
    #[cfg(unix)]
    unix: unix::SignalStreams,
}

impl Signals {
    /// Starts to catch signals.
    ///
    /// # Errors
    ///
    /// The error of the operating system if a signal cannot be caught.
    ///
    /// # Panics
    ///
    /// If called outside of a Tokio runtime.
    pub fn catch() -> io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            unix: unix::SignalStreams::new()?,
        })
    }

    /// Requests the stop for each SIGTERM and SIGINT (on other systems: Ctrl-C), and logs the other signals. Runs until
    /// it is dropped.
    pub async fn forward(mut self, shutdown: &Shutdown) -> Infallible {
        loop {
            match self.next().await {
                SignalEvent::Stop(signal) => {
                    tracing::info!(signal, "received a signal to stop");
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

/// What a signal requests, with the name of the signal.
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
