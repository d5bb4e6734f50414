//! Health and readiness: `/healthz` and `/readyz`.
//!
//! `/healthz` answers 200 while the process works. `/readyz` answers 200 with `{"ready":true}`, or 503 with
//! `{"ready":false,"reasons":[...]}`. The reasons are `starting`, `draining`, `backplane down` and `no token keys` (the
//! key set of `auth.jwks_url` has not been fetched yet). A node that is not ready still serves its clients, so that an
//! outage of Redis does not disconnect the clients of all nodes.

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
    /// Readiness that depends on the server's phase and the backplane's link.
    pub(crate) fn new(phase: PhaseWatch, link: watch::Receiver<LinkState>) -> Self {
        Self { phase, link, keys: None }
    }

    /// Makes it also depend on whether the key set has been fetched.
    #[must_use]
    pub(crate) fn with_keys(mut self, keys: Option<Arc<JwksCache>>) -> Self {
        self.keys = keys;
        self
    }

    /// Why the server is not ready; empty if it is.
    pub(crate) fn reasons(&self) -> Vec<&'static str> {
        let phase = match self.phase.get() {
            Phase::Starting => Some("starting"),
            Phase::Ready => None,
            Phase::Draining | Phase::Closing => Some("draining"),
        };
        let link = match *self.link.borrow() {
            LinkState::Up => None,
            // A server that starts without Redis is in the same state as one that has lost it: nothing waits for Redis.
            LinkState::Connecting | LinkState::Down => Some("backplane down"),
        };
        let keyless = self.keys.as_ref().is_some_and(|keys| keys.current().is_none());
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
