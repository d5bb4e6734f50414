//! Helpers for the tests of hubs: callers whose backplane only records the calls it gets, and values.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Uri};
use tokio::sync::watch;

use super::{Caller, RequestInfo};
use crate::backplane::{Backplane, BackplaneError, Channel, Envelope, LinkState, Topic};
use crate::close::CloseSignal;
use crate::config::steps::{Placeholder, Template, TemplatePart};
use crate::delivery::Delivery;
use crate::ids::{ConnectionId, HubName, NodeId, UserId};
use crate::keep_alive::KeepAlive;
use crate::metrics::HubMetrics;
use crate::outbox::Outbox;
use crate::outgoing::{Encoding, Framing};
use crate::protocol::{Protocol, RawValue, TransportKind};
use crate::registry::Member;

/// A backplane that records publishes and subscriptions, such as `send group r but me: {...}`, and delivers nothing.
#[derive(Debug)]
pub(super) struct RecordingBackplane {
    notes: Mutex<Vec<String>>,
    down: AtomicBool,
    link: watch::Sender<LinkState>,
}

impl RecordingBackplane {
    fn note(&self, verb: &str, topic: &Topic, details: &str) {
        let channel = match &topic.channel {
            Channel::All => "all".to_owned(),
            Channel::Group(group) => format!("group {group}"),
            Channel::User(user) => format!("user {user}"),
            // The channels of a connection and those that every node subscribes to are not recorded.
            _ => return,
        };
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{verb} {channel}{details}"));
    }

    /// Removes and returns the notes taken so far, in order.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes every publish fail from now on.
    pub(super) fn fail_publishes(&self) {
        self.down.store(true, Ordering::Relaxed);
    }
}

impl Backplane for RecordingBackplane {
    fn echoes(&self) -> bool {
        true
    }

    fn publish(&self, topic: Topic, envelope: Envelope) -> BoxFuture<'static, Result<u64, BackplaneError>> {
        let down = self.down.load(Ordering::Relaxed);
        if !down {
            self.note("send", &topic, &describe(&envelope));
        }
        Box::pin(async move { if down { Err(BackplaneError::Down("test".to_owned())) } else { Ok(1) } })
    }

    fn subscribe(&self, topics: Vec<Topic>) -> BoxFuture<'static, ()> {
        topics.iter().for_each(|topic| self.note("subscribe", topic, ""));
        Box::pin(async {})
    }

    fn unsubscribe(&self, topics: Vec<Topic>) {
        topics.iter().for_each(|topic| self.note("unsubscribe", topic, ""));
    }

    fn link(&self) -> watch::Receiver<LinkState> {
        self.link.subscribe()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

/// The excluded connections and the message as JSON, such as ` but me: {...}`.
fn describe(envelope: &Envelope) -> String {
    let Envelope::Message { except, message, .. } = envelope else { return String::new() };
    let message = message.hub_framed(Protocol::Json).expect("the message can be encoded in JSON");
    let excluded: String = except.iter().map(|id| format!(" but {id}")).collect();
    format!("{excluded}: {}", String::from_utf8_lossy(&message).trim_end_matches('\u{1e}'))
}

/// Registers a connection, and returns a caller for it and its backplane.
pub(super) async fn caller_and_backplane(id: &str, user: Option<&str>) -> (Caller, Arc<RecordingBackplane>) {
    let notes = Arc::new(RecordingBackplane {
        notes: Mutex::default(),
        down: AtomicBool::new(false),
        link: watch::Sender::new(LinkState::Up),
    });
    let delivery = Arc::new(Delivery::new(
        HubName::from("Chat"),
        NodeId::from("node"),
        Protocol::ALL.to_vec(),
        notes.clone(),
        HubMetrics::default(),
    ));
    let (id, user, close) = (ConnectionId::from(id), user.map(UserId::from), CloseSignal::default());
    let encoding = Encoding { protocol: Protocol::Json, framing: Framing::Raw };
    let member = Member {
        id: id.clone(),
        user: user.clone(),
        outbox: Arc::new(Outbox::new(encoding, None, None, close.clone())),
        close: close.clone(),
        keep_alive: KeepAlive::new(tokio::time::Instant::now(), true),
        receive_tracker: None,
    };
    delivery.connect(Arc::new(member)).await;
    notes.take();
    (Caller::new(id, user, Arc::new(request("/chat")), close, delivery), notes)
}

/// Like [`caller_and_backplane`], for tests that do not look at the backplane.
pub(super) async fn caller(id: &str, user: Option<&str>) -> Caller {
    caller_and_backplane(id, user).await.0
}

/// A WebSocket request without headers.
pub(super) fn request(uri: &'static str) -> RequestInfo {
    RequestInfo {
        transport: TransportKind::WebSockets,
        uri: Uri::from_static(uri),
        headers: HeaderMap::new(),
        remote: None,
        principal: None,
    }
}

/// A JSON value as a client sends it.
pub(super) fn json(text: &str) -> RawValue {
    RawValue::from_checked(Protocol::Json, Bytes::copy_from_slice(text.as_bytes()))
}

/// A MessagePack value as a client sends it.
pub(super) fn pack(bytes: &[u8]) -> RawValue {
    RawValue::from_checked(Protocol::MessagePack, Bytes::copy_from_slice(bytes))
}

/// Parses a template in the notation of the configuration. Its placeholders are `params`, `connection_id`, `user_id`
/// and `hub`.
pub(super) fn template(params: &[&str], text: &str) -> Template {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').expect("a closing brace");
        if !before.is_empty() {
            parts.push(TemplatePart::Text(before.to_owned()));
        }
        parts.push(TemplatePart::Placeholder(match name {
            "connection_id" => Placeholder::ConnectionId,
            "user_id" => Placeholder::UserId,
            "hub" => Placeholder::Hub,
            name => Placeholder::Param(params.iter().position(|param| *param == name).expect("a known parameter")),
        }));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(TemplatePart::Text(rest.to_owned()));
    }
    Template(parts)
}
