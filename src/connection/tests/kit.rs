//! Helpers for these tests: a hub with a method for every situation, a node, and a client connected through channels.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::backplane::{Backplane, memory};
use crate::close::{CloseReason, CloseSignal};
use crate::config::HubOptions;
use crate::connection::{HubHost, Peer, serve};
use crate::delivery::Delivery;
use crate::hub::{Call, Caller, DisconnectError, Hub, HubError, HubMethod, MethodShape, Reply, RequestInfo};
use crate::ids::{ConnectionId, NodeId};
use crate::metrics::HubMetrics;
use crate::outgoing::Framing;
use crate::protocol::{Protocol, RawValue, TransportKind};
use crate::wire::{Disconnected, Sink, Source, SourceEnd};

/// A hub with these methods:
///
/// - `Echo` returns its argument; `Fail`, `FailHub` and `Panic` fail; `Wait` takes a permit of `gate`;
/// - `All` broadcasts `M`; `Ask` invokes a client's `Question`; `Abort` closes its own connection;
/// - `Concat` concatenates an upload; `Hold` reads nothing of an upload, and returns when it gets a permit of `gate`;
/// - `Count` streams 0, 1, 2; `Forever` streams nothing until it is cancelled; `Drips` streams an item for each permit
///   of `gate`; `Breaks` and `Bursts` stream one item and then a client or an internal error; `AbortAndCount` aborts
///   the connection and streams items.
#[derive(Clone, Default)]
pub(super) struct ScriptedHub {
    pub(super) gate: Arc<Gate>,
    /// What the hooks and `Wait` have recorded.
    pub(super) hook_log: Arc<Mutex<Vec<String>>>,
    pub(super) refuses_clients: bool,
    /// Whether the hooks request a client result from their caller; they record the error.
    pub(super) requests_results: bool,
}

pub(super) struct Gate(pub(super) Semaphore);

impl Default for Gate {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

/// The methods of a [`ScriptedHub`], with their shapes.
fn methods() -> impl Iterator<Item = (&'static str, MethodShape)> {
    let plain = |parameters| MethodShape::new(parameters);
    [
        (&["Echo", "All", "Ask"][..], plain(1)),
        (&["Concat", "Hold"], plain(0).with_uploads(1)),
        (&["Fail", "FailHub", "Panic", "Wait", "Abort"], plain(0)),
        (&["Count", "Forever", "Breaks", "Bursts", "Drips", "AbortAndCount"], plain(0).streaming()),
    ]
    .into_iter()
    .flat_map(|(names, shape)| names.iter().map(move |name| (*name, shape.clone())))
}

struct TestMethod {
    hub: ScriptedHub,
    name: &'static str,
    shape: MethodShape,
}

impl Hub for ScriptedHub {
    fn resolve(&self, target: &str) -> Option<Arc<dyn HubMethod>> {
        let (name, shape) = methods().find(|(name, _)| name.eq_ignore_ascii_case(target))?;
        Some(Arc::new(TestMethod { hub: self.clone(), name, shape }))
    }

    fn connected(&self, caller: Caller) -> BoxFuture<'_, Result<(), HubError>> {
        Box::pin(async move {
            self.hook_log.lock().unwrap().push(format!("connected {}", caller.connection_id()));
            self.ask(&caller).await;
            if self.refuses_clients { Err(HubError::internal("no")) } else { Ok(()) }
        })
    }

    fn disconnected(&self, caller: Caller, error: Option<DisconnectError>) -> BoxFuture<'_, Result<(), HubError>> {
        Box::pin(async move {
            // `Caller::closed` must complete before this hook is called.
            let closed = futures_util::FutureExt::now_or_never(caller.closed()).is_some();
            assert!(closed, "the caller is closed before `disconnected` is called");
            let error = error.map(|error| error.to_string());
            self.hook_log.lock().unwrap().push(format!("disconnected {} {error:?}", caller.connection_id()));
            self.ask(&caller).await;
            Ok(())
        })
    }
}

impl HubMethod for TestMethod {
    fn name(&self) -> &str {
        self.name
    }

    fn shape(&self) -> &MethodShape {
        &self.shape
    }

    fn invoke(&self, caller: Caller, mut call: Call) -> BoxFuture<'_, Result<Reply, HubError>> {
        Box::pin(async move {
            match self.name {
                "Echo" => Ok(Reply::Value(call.arguments[0].clone())),
                "All" => {
                    caller.clients().all().send("M", call.arguments).await?;
                    Ok(Reply::Empty)
                }
                "Ask" => {
                    let id: String = call.arguments[0].to()?;
                    caller.clients().client(id).invoke("Question", ()).await.map(Reply::Value)
                }
                "Concat" => {
                    let mut text = String::new();
                    while let Some(item) = call.uploads[0].next().await {
                        text.push_str(&item?.to::<String>()?);
                    }
                    Ok(Reply::Value(RawValue::text(&text)))
                }
                "Hold" => {
                    self.hub.gate.0.acquire().await.unwrap().forget();
                    drop(call.uploads);
                    Ok(Reply::Empty)
                }
                "Fail" => Err(HubError::internal("BOOM!")),
                "FailHub" => Err(HubError::client("told")),
                "Panic" => panic!("a deliberate panic"),
                "Wait" => {
                    self.hub.gate.0.acquire().await.unwrap().forget();
                    self.hub.hook_log.lock().unwrap().push("waited".to_owned());
                    Ok(Reply::Empty)
                }
                "Count" => {
                    let items = (0..3).map(|n| Ok(RawValue::new(&n)?));
                    Ok(Reply::Stream(futures_util::stream::iter(items).boxed()))
                }
                "Bursts" => {
                    let items = [Ok(RawValue::text("one")), Err(HubError::internal("BOOM!"))];
                    Ok(Reply::Stream(futures_util::stream::iter(items).boxed()))
                }
                "Abort" => {
                    caller.abort();
                    Ok(Reply::Empty)
                }
                "AbortAndCount" => {
                    let items = (0..3).map(move |n| {
                        caller.abort();
                        Ok(RawValue::new(&n)?)
                    });
                    Ok(Reply::Stream(futures_util::stream::iter(items).boxed()))
                }
                "Drips" => {
                    let gate = self.hub.gate.clone();
                    let items = futures_util::stream::repeat(gate).then(|gate| async move {
                        gate.0.acquire().await.unwrap().forget();
                        Ok(RawValue::text("drop"))
                    });
                    Ok(Reply::Stream(items.boxed()))
                }
                "Forever" => Ok(Reply::Stream(futures_util::stream::pending().boxed())),
                _ => {
                    let items = [Ok(RawValue::text("one")), Err(HubError::client("the stream broke"))];
                    Ok(Reply::Stream(futures_util::stream::iter(items).boxed()))
                }
            }
        })
    }
}

impl ScriptedHub {
    async fn ask(&self, caller: &Caller) {
        if self.requests_results {
            let answer = caller.clients().caller().invoke::<RawValue, _>("Question", ()).await;
            self.hook_log.lock().unwrap().push(answer.unwrap_err().wire_text());
        }
    }
}

/// One node with one hub.
pub(super) struct Node {
    pub(super) host: Arc<HubHost>,
    pub(super) gate: Arc<Gate>,
    pub(super) hook_log: Arc<Mutex<Vec<String>>>,
}

impl Node {
    pub(super) fn new(options: HubOptions) -> Self {
        Self::with(options, ScriptedHub::default())
    }

    pub(super) fn with(options: HubOptions, hub: ScriptedHub) -> Self {
        let (gate, hook_log) = (hub.gate.clone(), hub.hook_log.clone());
        let (backplane, _nothing_arrives) = memory::standalone();
        Self { gate, hook_log, ..Self::of(options, Arc::new(hub), backplane, "n") }
    }

    /// A node with any hub on any backplane. The caller of this passes what arrives over the backplane to a
    /// `crate::delivery::inbound::InboundDispatcher`.
    pub(super) fn of(options: HubOptions, hub: Arc<dyn Hub>, backplane: Arc<dyn Backplane>, id: &str) -> Self {
        let protocols = Protocol::ALL.to_vec();
        let delivery = Delivery::new("test".into(), NodeId::from(id), protocols, backplane, HubMetrics::default());
        let host = HubHost {
            hub,
            name: "test".to_owned(),
            delivery: Arc::new(delivery),
            options,
            user_id: Arc::new(|request| request.query("user").map(Into::into)),
            metrics: HubMetrics::default(),
            tasks: TaskTracker::new(),
        };
        Self { host: Arc::new(host), gate: Arc::default(), hook_log: Arc::default() }
    }

    /// Connects a client, which has not sent a handshake yet.
    pub(super) fn connect(&self, id: &str) -> Client {
        self.connect_over(TransportKind::WebSockets, id)
    }

    pub(super) fn connect_over(&self, transport: TransportKind, id: &str) -> Client {
        let (to_server, incoming) = mpsc::channel(16);
        let (outgoing, from_server) = mpsc::channel(16);
        let close = CloseSignal::default();
        let request = RequestInfo {
            transport,
            uri: "/test".parse().unwrap(),
            headers: http::HeaderMap::new(),
            remote: None,
            principal: None,
        };
        let peer = Peer {
            id: ConnectionId::from(id),
            request: Arc::new(request),
            close: close.clone(),
            reconnect_state: None,
        };
        let host = self.host.clone();
        let outbox = host.outbox(Framing::Raw, &close);
        let served =
            tokio::spawn(
                async move { serve(&host, peer, outbox, ChannelSource(incoming), ChannelSink(outgoing)).await },
            );
        Client { to_server: Some(to_server), from_server, close, served, seen: String::new() }
    }

    /// Connects a client and performs the handshake for JSON.
    pub(super) async fn join(&self, id: &str) -> Client {
        let mut client = self.connect(id);
        client.send(r#"{"protocol":"json","version":1}"#).await;
        assert_eq!(client.next().await.as_deref(), Some("{}"));
        client
    }

    pub(super) fn hook_log(&self) -> Vec<String> {
        self.hook_log.lock().unwrap().clone()
    }
}

/// The client's end of a connection.
pub(super) struct Client {
    to_server: Option<mpsc::Sender<Bytes>>,
    from_server: mpsc::Receiver<Bytes>,
    pub(super) close: CloseSignal,
    pub(super) served: JoinHandle<CloseReason>,
    /// Text that has arrived and has not been returned yet.
    seen: String,
}

impl Client {
    /// Sends text and the separator 0x1E; several records can be sent at once if the text has separators inside.
    pub(super) async fn send(&self, records: &str) {
        self.send_bytes(format!("{records}\u{1e}").into()).await;
    }

    pub(super) async fn send_bytes(&self, bytes: Bytes) {
        self.to_server.as_ref().unwrap().send(bytes).await.unwrap();
    }

    /// The next record without its 0x1E. `None` at the end of the connection, or when nothing more arrives although all
    /// tasks are idle.
    pub(super) async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((record, rest)) = self.seen.split_once('\u{1e}') {
                let record = record.to_owned();
                self.seen = rest.to_owned();
                return Some(record);
            }
            // Time is paused, so the timeout elapses only when all tasks are idle.
            match tokio::time::timeout(Duration::from_secs(1), self.from_server.recv()).await {
                Ok(Some(bytes)) => self.seen.push_str(std::str::from_utf8(&bytes).unwrap()),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// All records until nothing more arrives.
    pub(super) async fn all(&mut self) -> Vec<String> {
        let mut records = Vec::new();
        while let Some(record) = self.next().await {
            records.push(record);
        }
        records
    }

    /// Closes the client's direction in an orderly way.
    pub(super) fn leave(&mut self) {
        self.to_server = None;
    }
}

pub(super) struct ChannelSource(pub(super) mpsc::Receiver<Bytes>);

impl Source for ChannelSource {
    async fn recv(&mut self, into: &mut BytesMut) -> Result<(), SourceEnd> {
        let bytes = self.0.recv().await.ok_or(SourceEnd::Closed)?;
        assert_ne!(bytes, "PANIC", "a deliberate panic in the connection's own code");
        into.extend_from_slice(&bytes);
        Ok(())
    }
}

struct ChannelSink(mpsc::Sender<Bytes>);

impl Sink for ChannelSink {
    async fn ready(&mut self) {}

    async fn send(&mut self, batch: &mut Vec<Bytes>) -> Result<(), Disconnected> {
        for bytes in batch.drain(..) {
            self.0.send(bytes).await.map_err(|_| Disconnected)?;
        }
        Ok(())
    }
}
