//! Floor 9: a server from its configuration to its end: assemble, bind, serve, drain.
//!
//! | file | what is in it |
//! | --- | --- |
//! | this one | [`Server`], [`Bound`]: what runs, and in what order it ends |
//! | `builder` | [`Builder`]: put together from configuration, hubs and routes |
//! | `front` | the listener and its HTTP connections |
//! | `site` | one request: who answers it, and what is put around the answer |
//! | `link` | the backplane of the configuration |
//! | `bearer`, `jwks` | tokens by the rules of `[auth]`; the keys that somebody else publishes |
//! | `body`, `cors`, `paths`, `limits` | bounds of bodies; other origins; which path is whose; open files |
//! | `stop`, `error` | [`Shutdown`] and [`Signals`], [`ServeError`] |

mod bearer;
mod body;
mod builder;
mod cors;
mod error;
mod front;
mod jwks;
mod limits;
mod link;
mod paths;
mod site;
mod stop;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

pub use builder::Builder;
pub use error::ServeError;
pub use stop::{Shutdown, Signals};

use crate::auth::Keyring;
use crate::backplane::{Backplane, InboundReceiver, LinkState};
use crate::close::CloseReason;
use crate::config::Config;
use crate::connection::HubHost;
use crate::delivery::inbound::Router;
use crate::hub::{Clients, Groups};
use crate::metrics::{BackplaneMetrics, Metrics};
use crate::phase::{Phase, PhaseWatch};
use crate::transport::Transports;
use front::Front;
use paths::Paths;
use site::Site;

/// How often pings, timeouts and expiries are looked after.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How much time lies between two batches of clients that are sent away: they will all come back to the other nodes.
const PACE: Duration = Duration::from_millis(50);

/// A server that is put together, and not bound yet.
#[derive(Debug)]
pub struct Server {
    config: Config,
    site: Arc<Site>,
    paths: Paths,
    transports: Arc<Transports>,
    hosts: Vec<NamedHub>,
    backplane: Arc<dyn Backplane>,
    inbound: InboundReceiver,
    metrics: Metrics,
    phase: PhaseWatch,
    /// The keys of `auth.jwks_url`.
    keyring: Option<Arc<Keyring>>,
}

#[derive(Clone, Debug)]
struct NamedHub {
    path: String,
    host: Arc<HubHost>,
}

/// A server whose listener is bound: the system takes connections, and they are served when it runs.
#[derive(Debug)]
pub struct Bound {
    server: Server,
    listener: TcpListener,
    address: SocketAddr,
}

// === before it runs ===

impl Server {
    /// Begins to put a server together.
    pub fn builder(config: Config) -> Builder {
        Builder::new(config)
    }

    /// Whom messages can be sent to from outside of a hub's methods, by the hub's path. To be taken before the server
    /// runs; it is cheap to clone, and goes on while the server does. None: no hub is there.
    pub fn clients(&self, path: &str) -> Option<Clients> {
        Some(Clients::of(self.host(path)?.delivery.clone()))
    }

    /// Who is in which group, from outside of a hub's methods, by the hub's path, as [`Server::clients`]. None: no hub
    /// is there.
    pub fn groups(&self, path: &str) -> Option<Groups> {
        Some(Groups::of(self.host(path)?.delivery.clone()))
    }

    fn host(&self, path: &str) -> Option<&Arc<HubHost>> {
        // Hubs are claimed before raw connections, so that places agree.
        self.hosts.get(self.paths.position(path)?).map(|hub| &hub.host)
    }

    /// The numbers it tells at `/metrics`.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The paths of its hubs, with their names.
    pub fn hubs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.hosts.iter().map(|hub| (hub.path.as_str(), hub.host.name.as_str()))
    }

    /// Binds `listen` of the configuration; fails where that cannot be listened on. Raises the soft limit of open files
    /// to the hard one.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub fn bind(self) -> Result<Bound, ServeError> {
        limits::raise_open_files();
        let listener = front::listen(self.config.listen, self.patience())?;
        let address = listener.local_addr().unwrap_or(self.config.listen);
        Ok(Bound { server: self, listener, address })
    }

    /// How long a socket may take nothing of what is sent to it: no shorter than any bound of a hub's own, which tell
    /// why they close.
    fn patience(&self) -> Duration {
        let options = self.hosts.iter().map(|hub| &hub.host.options);
        let bounds = options.flat_map(|hub| [hub.client_timeout_interval, hub.transport_send_timeout]);
        bounds.max().unwrap_or_default().max(self.config.request_timeout)
    }

    /// Binds and runs until `shutdown` has ended and all clients have been sent away, or `shutdown_timeout` is over.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        self.bind()?.run(shutdown).await
    }
}

impl Server {
    /// As [`Bound::run_until_signal`], and binds first.
    pub async fn run_until_signal(self) -> Result<(), ServeError> {
        self.bind()?.run_until_signal().await
    }
}

// === running ===

impl Bound {
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

    /// As [`Bound::run`], and ends at once, with [`ServeError::Forced`], when `stop` is requested a second time.
    pub async fn run_until(self, stop: &Shutdown) -> Result<(), ServeError> {
        let Self { server, listener, address } = self;
        let Server { config, site, transports, hosts, backplane, inbound, metrics, phase, keyring, .. } = server;
        let hosts: Vec<_> = hosts.into_iter().map(|hub| hub.host).collect();

        // Dropping these ends the tasks: they live no longer than this call.
        let mut parts = JoinSet::new();
        let router = Router::new(hosts.iter().map(|host| host.delivery.clone()));
        let closing = CancellationToken::new();
        parts.spawn(named("the backplane's reader", closing.clone(), router.run(inbound)));
        parts.spawn(named("the heartbeat", closing.clone(), heartbeat(transports.clone(), hosts.clone())));
        parts.spawn(named("the link's watch", closing.clone(), watch_link(backplane.clone(), metrics.backplane())));
        if let (Some(url), Some(ring)) = (config.auth.jwks_url.clone(), keyring) {
            parts.spawn(named("the fetching of keys", closing.clone(), jwks::keep(url, ring)));
        }
        let mut front = JoinSet::new();
        let (head_timeout, last_call) = (config.request_timeout, CancellationToken::new());
        front.spawn(Front { listener, site, head_timeout, stop: last_call.clone() }.run());

        let listening = async {
            for host in &hosts {
                host.delivery.listen().await;
            }
            phase.advance(Phase::Ready);
            tracing::info!(%address, "serving");
            std::future::pending::<()>().await;
        };
        let died = tokio::select! {
            () = listening => None,
            () = stop.requested() => None,
            Some(ended) = parts.join_next() => Some(ended.unwrap_or("a part of the server")),
            Some(_) = front.join_next() => Some("the listener"),
        };
        let stopping = Stopping {
            deadline: Instant::now() + config.shutdown_timeout,
            drain_delay: config.drain_delay,
            transports,
            hosts,
            backplane,
            phase,
            closing,
            last_call,
        };
        let forced = tokio::select! {
            biased;
            () = stopping.run(&mut front) => false,
            () = stop.insisted() => true,
        };
        match died {
            Some(part) => Err(ServeError::Died(part)),
            None if forced => Err(ServeError::Forced),
            None => Ok(()),
        }
    }
}

/// A part that never ends before `closing`; when it does, this tells its name.
async fn named(name: &'static str, closing: CancellationToken, part: impl Future<Output = ()>) -> &'static str {
    part.await;
    // The memory backplane of a node that stands alone has nothing to read, and ends its receiver early or late as
    // it likes; only a panic is a death.
    closing.cancelled().await;
    name
}

async fn heartbeat(transports: Arc<Transports>, hosts: Vec<Arc<HubHost>>) {
    let mut ticks = tokio::time::interval(HEARTBEAT);
    // After a stall there is one sweep, not one for each second that was missed.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let now = ticks.tick().await;
        transports.sweep(now);
        for host in &hosts {
            host.sweep(now);
        }
    }
}

async fn watch_link(backplane: Arc<dyn Backplane>, metrics: BackplaneMetrics) {
    let mut link = backplane.link();
    loop {
        metrics.up(*link.borrow_and_update() == LinkState::Up);
        if link.changed().await.is_err() {
            return;
        }
    }
}

// === stopping ===

struct Stopping {
    deadline: Instant,
    drain_delay: Duration,
    transports: Arc<Transports>,
    hosts: Vec<Arc<HubHost>>,
    backplane: Arc<dyn Backplane>,
    phase: PhaseWatch,
    closing: CancellationToken,
    last_call: CancellationToken,
}

impl Stopping {
    /// design.md section 4, "Stopping". The listener closes last, so that health and readiness go on.
    async fn run(self, front: &mut JoinSet<()>) {
        self.phase.advance(Phase::Draining);
        tracing::info!(clients = self.transports.connections(), "stopping");
        sleep_until((Instant::now() + self.drain_delay).min(self.deadline)).await;

        self.phase.advance(Phase::Closing);
        let gone = async {
            self.send_away().await;
            for host in &self.hosts {
                host.tasks.close();
                host.tasks.wait().await;
            }
        };
        if timeout_at(self.deadline, gone).await.is_err() {
            tracing::warn!(clients = self.transports.connections(), "clients did not end within shutdown_timeout");
        }
        if timeout_at(self.deadline, self.backplane.close()).await.is_err() {
            tracing::warn!("the backplane did not close within shutdown_timeout");
        }
        self.closing.cancel();
        self.last_call.cancel();
        let answered = async { while front.join_next().await.is_some() {} };
        if timeout_at(self.deadline, answered).await.is_err() {
            tracing::warn!("requests were cut off: not answered within shutdown_timeout");
        }
        tracing::info!("stopped");
    }

    /// Ends every client's connection, in batches, and waits for their farewells.
    async fn send_away(&self) {
        self.transports.drain();
        // A hundred batches at most, so that however many there are, asking them takes 5 s at most.
        let batch = (self.transports.connections() / 100).max(100);
        let left = self.deadline.saturating_duration_since(Instant::now());
        self.transports.close_all(CloseReason::Draining, batch, PACE.min(left / 200)).await;
        let closed = self.transports.closed();
        tokio::pin!(closed);
        loop {
            tokio::select! {
                () = &mut closed => return,
                // Some were being let in when the door closed, and were not asked.
                () = sleep(HEARTBEAT) => self.transports.close_all(CloseReason::Draining, usize::MAX, PACE).await,
            }
        }
    }
}

#[cfg(test)]
mod tests;
