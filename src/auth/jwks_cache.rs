//! [`JwksCache`]: holds the published key set. A task of the server fetches it and stores it here. A request whose
//! token was signed with an unknown key can ask for a refresh and wait for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::KeySet;

/// The published key set, shared by the task that fetches it and the requests that use it.
#[derive(Debug)]
pub(crate) struct JwksCache {
    state: watch::Sender<CacheState>,
    refresh_requested: Notify,
}

#[derive(Clone, Debug, Default)]
struct CacheState {
    /// `None` until the key set has been fetched for the first time.
    keys: Option<Arc<KeySet>>,
    /// The number of attempts to fetch it, successful or not.
    attempts: u64,
    /// Whether the last attempt was only a moment ago. Refreshes are refused then, because forged tokens could cause
    /// any number of them.
    in_cooldown: bool,
}

impl Default for JwksCache {
    fn default() -> Self {
        Self { state: watch::Sender::default(), refresh_requested: Notify::new() }
    }
}

impl JwksCache {
    /// The current key set; `None` until it has been fetched for the first time.
    pub(crate) fn current(&self) -> Option<Arc<KeySet>> {
        self.state.borrow().keys.clone()
    }

    /// Requests that the key set be fetched again, and waits for the attempt to end, but at most `max_wait`.
    ///
    /// Returns false if the key set cannot have changed: the last attempt was only a moment ago, or this one has not
    /// ended in time.
    pub(crate) async fn refresh(&self, max_wait: Duration) -> bool {
        let mut state = self.state.subscribe();
        let attempts = {
            let now = state.borrow_and_update();
            if now.in_cooldown {
                return false;
            }
            now.attempts
        };
        self.refresh_requested.notify_one();
        timeout(max_wait, state.wait_for(|now| now.attempts != attempts)).await.is_ok_and(|ended| ended.is_ok())
    }

    /// Ends an attempt to fetch the key set, and stores the result. `None` means that the attempt failed; the known
    /// keys are kept. Refreshes are refused until [`JwksCache::end_cooldown`] is called.
    pub(crate) fn store(&self, keys: Option<KeySet>) {
        self.state.send_modify(|state| {
            if let Some(keys) = keys {
                state.keys = Some(Arc::new(keys));
            }
            state.attempts += 1;
            state.in_cooldown = true;
        });
    }

    /// Allows refreshes again.
    pub(crate) fn end_cooldown(&self) {
        self.state.send_modify(|state| state.in_cooldown = false);
    }

    /// Waits until a refresh is requested.
    pub(crate) async fn refresh_requested(&self) {
        self.refresh_requested.notified().await;
    }
}
