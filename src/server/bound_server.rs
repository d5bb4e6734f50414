//! [`BoundServer`]: a server with a bound listener of its own, and how it runs and stops.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::listener::Listener;
use super::{ServeError, Server, Shutdown, Signals};

/// A server whose listener is bound. The operating system accepts connections from now on; they are served when the
/// server runs.
#[derive(Debug)]
pub struct BoundServer {
    pub(super) server: Server,
    pub(super) listener: TcpListener,
    pub(super) address: SocketAddr,
}

impl BoundServer {
    /// The address of the listener. If the configured port is 0, this contains the port that the system has chosen.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The server itself.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Runs until `shutdown` completes, then stops gracefully as described at
    /// [`ServerHandle::shutdown`](super::ServerHandle::shutdown), which takes `shutdown_timeout` at most.
    ///
    /// # Errors
    ///
    /// [`ServeError::PartEnded`] if a part of the server has failed, which is a bug in Hubplane.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        let stop = Shutdown::default();
        let request_stop = async {
            shutdown.await;
            stop.request();
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            ended = Box::pin(self.run_until(&stop)) => ended,
            _ = request_stop => Ok(()),
        }
    }

    /// Runs until the process receives SIGTERM or SIGINT (Ctrl-C), then stops gracefully. A second signal stops it at
    /// once.
    ///
    /// From this call on, and also afterwards, SIGHUP, SIGUSR1 and SIGUSR2 no longer end the process; see [`Signals`].
    /// To catch signals from the start of the process on, use [`Signals::catch`] and [`BoundServer::run_until`].
    ///
    /// # Errors
    ///
    /// - [`ServeError::Signals`] if signals cannot be caught;
    /// - [`ServeError::Forced`] if a second signal has ended the graceful stop;
    /// - [`ServeError::PartEnded`] if a part of the server has failed, which is a bug in Hubplane.
    pub async fn run_until_signal(self) -> Result<(), ServeError> {
        let signals = Signals::catch().map_err(ServeError::Signals)?;
        let stop = Shutdown::default();
        tokio::select! {
            ended = Box::pin(self.run_until(&stop)) => ended,
            never = signals.forward(&stop) => match never {},
        }
    }

    /// Runs until `stop` is requested, then stops gracefully. A second request stops it at once.
    ///
    /// # Errors
    ///
    /// - [`ServeError::Forced`] if a second request has ended the graceful stop;
    /// - [`ServeError::PartEnded`] if a part of the server has failed, which is a bug in Hubplane.
    pub async fn run_until(self, stop: &Shutdown) -> Result<(), ServeError> {
        let Self { server, listener, address } = self;
        let handle = server.handle();
        // Dropping this aborts the listener, so it does not outlive this call.
        let mut listener_task = JoinSet::new();
        let (head_timeout, stop_listening) = (server.request_timeout, CancellationToken::new());
        listener_task
            .spawn(Listener { listener, handler: server.handler, head_timeout, stop: stop_listening.clone() }.run());

        let serving = async {
            handle.ready().await;
            tracing::info!(%address, "serving");
            std::future::pending::<()>().await;
        };
        let failed_part = tokio::select! {
            () = serving => None,
            () = stop.requested() => None,
            name = handle.failed() => Some(name),
            Some(_) = listener_task.join_next() => Some("the listener"),
        };
        let deadline = Instant::now() + server.core.shutdown_timeout;
        let stopping = async {
            server.core.stop(deadline).await;
            // The listener closes last, so that the health pages are served until now.
            stop_listening.cancel();
            let answered = async { while listener_task.join_next().await.is_some() {} };
            if timeout_at(deadline, answered).await.is_err() {
                tracing::warn!("requests were cut off because they were not answered within shutdown_timeout");
            }
            tracing::info!("stopped");
        };
        let forced = tokio::select! {
            biased;
            () = stopping => false,
            () = stop.requested_twice() => true,
        };
        match failed_part {
            Some(part) => Err(ServeError::PartEnded(part)),
            None if forced => Err(ServeError::Forced),
            None => Ok(()),
        }
    }
}
