//! A server with a listener of its own, from the bind to the end: [`BoundServer`].

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::listener::Listener;
use super::{ServeError, Server, Shutdown, Signals};

/// A server whose listener is bound: the system takes connections, and they are served when it runs.
#[derive(Debug)]
pub struct BoundServer {
    pub(super) server: Server,
    pub(super) listener: TcpListener,
    pub(super) address: SocketAddr,
}

impl BoundServer {
    /// Where it listens; the port that was taken, if 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The server that is bound.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Runs until `shutdown` has ended and all clients have been sent away, or `shutdown_timeout` is over.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        let stop = Shutdown::default();
        let ask = async {
            shutdown.await;
            stop.request();
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            ended = Box::pin(self.run_until(&stop)) => ended,
            _ = ask => Ok(()),
        }
    }

    /// Runs until the process is told to stop by SIGTERM or SIGINT (Ctrl-C); told twice, it ends at once, with
    /// [`ServeError::Forced`]. SIGHUP, SIGUSR1 and SIGUSR2 do not end the process any more, here and afterwards: see
    /// [`Signals`], which a host makes itself to catch signals from its start on.
    pub async fn run_until_signal(self) -> Result<(), ServeError> {
        let signals = Signals::catch().map_err(ServeError::Signals)?;
        let stop = Shutdown::default();
        tokio::select! {
            ended = Box::pin(self.run_until(&stop)) => ended,
            never = signals.forward(&stop) => match never {},
        }
    }

    /// As [`BoundServer::run`], and ends at once, with [`ServeError::Forced`], when `stop` is requested a second time.
    pub async fn run_until(self, stop: &Shutdown) -> Result<(), ServeError> {
        let Self { server, listener, address } = self;
        let handle = server.handle();
        // Dropping this ends it: it lives no longer than this call.
        let mut listener_task = JoinSet::new();
        let (head_timeout, stop_listening) = (server.request_timeout, CancellationToken::new());
        listener_task
            .spawn(Listener { listener, handler: server.handler, head_timeout, stop: stop_listening.clone() }.run());

        let serving = async {
            handle.ready().await;
            tracing::info!(%address, "serving");
            std::future::pending::<()>().await;
        };
        let died = tokio::select! {
            () = serving => None,
            () = stop.requested() => None,
            name = handle.failed() => Some(name),
            Some(_) = listener_task.join_next() => Some("the listener"),
        };
        let deadline = Instant::now() + server.core.shutdown_timeout;
        let stopping = async {
            server.core.stop(deadline).await;
            // The listener closes last, so that health and readiness go on until now.
            stop_listening.cancel();
            let answered = async { while listener_task.join_next().await.is_some() {} };
            if timeout_at(deadline, answered).await.is_err() {
                tracing::warn!("requests were cut off: not answered within shutdown_timeout");
            }
            tracing::info!("stopped");
        };
        let forced = tokio::select! {
            biased;
            () = stopping => false,
            () = stop.requested_twice() => true,
        };
        match died {
            Some(part) => Err(ServeError::PartEnded(part)),
            None if forced => Err(ServeError::Forced),
            None => Ok(()),
        }
    }
}
