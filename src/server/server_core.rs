//! The part of a server that its router, its listener and its handles share: hubs and their connections, the backplane,
//! and the background tasks. It ends when the last of them is dropped.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OnceCell, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::task::AbortOnDropHandle;

use super::jwks;
use crate::api::Readiness;
use crate::auth::JwksCache;
use crate::backplane::{Backplane, InboundReceiver, LinkState};
use crate::close::CloseReason;
use crate::connection::HubHost;
use crate::delivery::inbound::InboundDispatcher;
use crate::hub::HubContext;
use crate::hub_path::HubPath;
use crate::metrics::{BackplaneMetrics, Metrics};
use crate::phase::{Phase, PhaseWatch};
use crate::transport::Endpoints;

/// How often connections are checked for pings that are due, timeouts and expiries.
pub(super) const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The shared part of a server.
#[derive(Debug)]
pub(super) struct ServerCore {
    pub(super) endpoints: Arc<Endpoints>,
    pub(super) hubs: Vec<NamedHub>,
    /// The paths of hubs and raw connections.
    pub(super) paths: Vec<HubPath>,
    pub(super) backplane: Arc<dyn Backplane>,
    pub(super) metrics: Metrics,
    pub(super) phase: PhaseWatch,
    pub(super) readiness: Readiness,
    /// How long stopping may take at most.
    pub(super) shutdown_timeout: Duration,
    /// How long `/readyz` reports draining before anything is closed.
    pub(super) drain_delay: Duration,
    /// Set when the server has stopped.
    pub(super) stopped: OnceCell<()>,
    pub(super) background: Background,
    /// The runtime on which the server was built. `drop` spawns a task on it.
    pub(super) runtime: Handle,
}

/// A hub with its path.
#[derive(Clone, Debug)]
pub(super) struct NamedHub {
    pub(super) path: HubPath,
    pub(super) host: Arc<HubHost>,
}

impl ServerCore {
    /// The context of the hub at a path.
    pub(super) fn hub_context(&self, path: &str) -> Option<HubContext> {
        let path = HubPath::parse(path).ok()?;
        let hub = self.hubs.iter().find(|hub| hub.path == path)?;
        Some(HubContext::of(hub.host.delivery.clone()))
    }
}

impl Drop for ServerCore {
    /// A server that was not stopped may still have clients, since WebSockets outlive the listener that accepted them.
    /// Their connections are closed. A task waits until they have ended, and then closes the backplane.
    fn drop(&mut self) {
        if self.stopped.initialized() {
            return;
        }
        self.endpoints.drain();
        self.endpoints.close_now(&CloseReason::Draining);
        let (served, background) = (self.served(), self.background.clone());
        let deadline = Instant::now() + self.shutdown_timeout;
        // On a runtime that has been shut down this has no effect, and there is nothing left to do.
        self.runtime.spawn(async move {
            served.end(deadline).await;
            background.abort();
        });
    }
}

// === background tasks ===

/// The background tasks of a server. Clones share them; they are aborted when the last clone is dropped.
#[derive(Clone, Debug)]
pub(super) struct Background {
    tasks: Arc<AbortOnDropHandle<()>>,
    /// The first task that panicked.
    failed: watch::Receiver<Option<&'static str>>,
}

/// What the background tasks work on.
pub(super) struct BackgroundInputs<'a> {
    pub(super) endpoints: &'a Arc<Endpoints>,
    pub(super) hubs: &'a [NamedHub],
    pub(super) backplane: &'a Arc<dyn Backplane>,
    pub(super) inbound: InboundReceiver,
    pub(super) metrics: &'a Metrics,
    pub(super) phase: &'a PhaseWatch,
    /// `auth.jwks_url`, and the cache for its keys.
    pub(super) jwks: Option<(String, Arc<JwksCache>)>,
}

impl Background {
    /// Spawns the tasks on the current runtime.
    pub(super) fn start(parts: BackgroundInputs<'_>) -> Self {
        let hosts: Vec<_> = parts.hubs.iter().map(|hub| hub.host.clone()).collect();
        let mut tasks = Tasks::default();
        let dispatcher = InboundDispatcher::new(hosts.iter().map(|host| host.delivery.clone()));
        tasks.spawn("the backplane reader", dispatcher.run(parts.inbound));
        tasks.spawn("the sweep", sweep_loop(parts.endpoints.clone(), hosts.clone()));
        tasks.spawn("the link monitor", watch_link(parts.backplane.clone(), parts.metrics.backplane()));
        tasks.spawn("the initial subscriptions", subscribe(hosts, parts.phase.clone()));
        if let Some((url, jwks_cache)) = parts.jwks {
            tasks.spawn("the refresh of published keys", jwks::refresh_keys(url, jwks_cache));
        }
        let (failure, failed) = watch::channel(None);
        Self { tasks: Arc::new(AbortOnDropHandle::new(tokio::spawn(tasks.supervise(failure)))), failed }
    }

    /// Waits until one of the tasks has panicked, which is a bug in Hubplane, and returns its name.
    pub(super) async fn failed(&self) -> &'static str {
        let mut failed = self.failed.clone();
        if let Ok(name) = failed.wait_for(Option::is_some).await
            && let Some(name) = *name
        {
            return name;
        }
        std::future::pending().await
    }

    /// Aborts the tasks.
    pub(super) fn abort(&self) {
        self.tasks.abort();
    }
}

/// Tasks by name; dropping this aborts them.
#[derive(Default)]
struct Tasks {
    running: JoinSet<()>,
    names: Vec<(Id, &'static str)>,
}

impl Tasks {
    fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.names.push((self.running.spawn(task).id(), name));
    }

    /// Waits for all tasks, and reports the first that panics. A task that returns has finished its work.
    async fn supervise(mut self, failure: watch::Sender<Option<&'static str>>) {
        while let Some(ended) = self.running.join_next_with_id().await {
            if let Err(error) = ended {
                let name = self.names.iter().find(|(id, _)| *id == error.id()).map_or("a task", |(_, name)| name);
                tracing::error!(task = name, "a background task of the server panicked: this is a bug");
                failure.send_if_modified(|first| first.is_none() && first.replace(name).is_none());
            }
        }
    }
}

/// Subscribes to the channels that every node needs, and then reports the server as ready.
async fn subscribe(hosts: Vec<Arc<HubHost>>, phase: PhaseWatch) {
    for host in &hosts {
        host.delivery.subscribe_hub_channels().await;
    }
    phase.advance(Phase::Ready);
}

/// Sweeps all connections once per [`SWEEP_INTERVAL`].
async fn sweep_loop(endpoints: Arc<Endpoints>, hosts: Vec<Arc<HubHost>>) {
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    // After a stall there is one sweep, not one for each second that was missed.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let now: Instant = ticks.tick().await;
        endpoints.sweep(now);
        for host in &hosts {
            host.sweep(now);
        }
    }
}

/// Keeps the metric for the state of the link up to date.
async fn watch_link(backplane: Arc<dyn Backplane>, metrics: BackplaneMetrics) {
    let mut link = backplane.link();
    loop {
        metrics.up(*link.borrow_and_update() == LinkState::Up);
        if link.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panicked_background_task_is_named() {
        let mut tasks = Tasks::default();
        tasks.spawn("a finished task", std::future::ready(()));
        tasks.spawn("a broken task", async { panic!("a deliberate panic") });
        tasks.spawn("a running task", std::future::pending());
        let (failure, failed) = watch::channel(None);
        let tasks = Arc::new(AbortOnDropHandle::new(tokio::spawn(tasks.supervise(failure))));
        assert_eq!(Background { tasks, failed }.failed().await, "a broken task");
    }
}
