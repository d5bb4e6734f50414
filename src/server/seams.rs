//! Stand-ins for parts that others build. This file goes away when they are merged.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::backplane::{Backplane, BackplaneError, Envelope, InboundReceiver, LinkState, Topic};
use crate::config::{BackplaneConfig, HubConfig};
use crate::connection::HubHost;
use crate::hub::{Call, Caller, Hub, HubError, MethodShape, Reply};
use crate::ids::NodeId;

/// `transport::RawConnection`.
pub trait RawConnection: Send + Sync + 'static {}

/// `transport::Transports`.
#[derive(Debug, Default)]
pub(super) struct Transports {}

impl Transports {
    pub(super) fn new(_most: Option<usize>) -> Self {
        Self {}
    }
    pub(super) fn hub(&mut self, _path: &str, _host: Arc<HubHost>) {}
    pub(super) fn raw(&mut self, _path: &str, _connection: Arc<dyn RawConnection>) {}
    pub(super) async fn handle(&self, _request: Request) -> Option<Response> {
        None
    }
    pub(super) fn sweep(&self, _now: Instant) {}
    pub(super) async fn close_all(&self) {}
    pub(super) async fn ended(&self) {}
    pub(super) fn live(&self) -> usize {
        0
    }
}

/// `hub::declared::Declared::new`.
pub(super) fn declared(_config: &HubConfig) -> Result<Arc<dyn Hub>, String> {
    struct Nothing;
    impl Hub for Nothing {
        fn method(&self, _target: &str) -> Option<MethodShape> {
            None
        }
        fn invoke(&self, _caller: Caller, _call: Call) -> BoxFuture<'_, Result<Reply, HubError>> {
            Box::pin(async { Ok(Reply::Empty) })
        }
    }
    Ok(Arc::new(Nothing))
}

/// `backplane::memory::single` or the one over Redis.
pub(super) async fn backplane(
    _config: &BackplaneConfig,
    _node: &NodeId,
) -> Result<(Arc<dyn Backplane>, InboundReceiver), String> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::time::sleep(Duration::ZERO).await;
    Ok((Arc::new(Alone { _inbound: sender, link: watch::Sender::new(LinkState::Up) }), receiver))
}

#[derive(Debug)]
struct Alone {
    _inbound: mpsc::Sender<crate::backplane::Inbound>,
    link: watch::Sender<LinkState>,
}

impl Backplane for Alone {
    fn echoes(&self) -> bool {
        false
    }
    fn publish(&self, _topic: Topic, _envelope: Envelope) -> BoxFuture<'static, Result<u64, BackplaneError>> {
        Box::pin(async { Ok(0) })
    }
    fn subscribe(&self, _topics: Vec<Topic>) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
    fn unsubscribe(&self, _topics: Vec<Topic>) {}
    fn link(&self) -> watch::Receiver<LinkState> {
        self.link.subscribe()
    }
    fn close(&self) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}
