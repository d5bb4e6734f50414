//! Health and readiness.
//!
//! `/healthz` is 200 while the process lives. `/readyz` is 200 with `{"ready":true}`, or 503 with
//! `{"ready":false,"reasons":[...]}`; the reasons are `starting`, `draining`, `backplane down` and `no token keys` (those of
//! `auth.jwks_url` have not come yet). A node that is not
//! ready still serves its clients: a balancer must not take out all nodes at once.

use std::sync::Arc;

use axum::response::Response;
use http::StatusCode;
use tokio::sync::watch;

use super::text;
use crate::auth::JwksCache;
use crate::backplane::LinkState;
use crate::phase::{Phase, PhaseWatch};

/// `/healthz`.
pub(super) fn alive() -> Response {
    text(StatusCode::OK, "text/plain; charset=utf-8", "ok\n")
}

/// What a server's readiness depends on.
#[derive(Clone, Debug)]
pub(crate) struct Readiness {
    phase: PhaseWatch,
    link: watch::Receiver<LinkState>,
    keys: Option<Arc<JwksCache>>,
}

impl Readiness {
    /// Readiness by the server's phase and the backplane's link.
    pub(crate) fn new(phase: PhaseWatch, link: watch::Receiver<LinkState>) -> Self {
        Self { phase, link, keys: None }
    }

    /// And by whether published keys have come.
    #[must_use]
    pub(crate) fn with_keys(mut self, keys: Option<Arc<JwksCache>>) -> Self {
        self.keys = keys;
        self
    }

    /// What is not ready; empty when the server is.
    pub(crate) fn reasons(&self) -> Vec<&'static str> {
        let phase = match self.phase.get() {
            Phase::Starting => Some("starting"),
            Phase::Ready => None,
            Phase::Draining | Phase::Closing => Some("draining"),
        };
        let link = match *self.link.borrow() {
            LinkState::Up => None,
            // Starting without Redis is the same state as losing it (design: nothing waits for it).
            LinkState::Connecting | LinkState::Down => Some("backplane down"),
        };
        let keyless = self.keys.as_ref().is_some_and(|ring| ring.current().is_none());
        phase.into_iter().chain(link).chain(keyless.then_some("no token keys")).collect()
    }

    /// `/readyz`.
    pub(super) fn page(&self) -> Response {
        let reasons = self.reasons();
        let (status, body) = if reasons.is_empty() {
            (StatusCode::OK, serde_json::json!({ "ready": true }))
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, serde_json::json!({ "ready": false, "reasons": reasons }))
        };
        text(status, "application/json", body.to_string())
    }
}
