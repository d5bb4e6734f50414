//! The keys that somebody else publishes, as they are now. A task of the server's puts them here; whoever meets a
//! token of an unknown key asks for new ones, and may wait for them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::KeySet;

/// Published keys. Clones of an `Arc` share it.
#[derive(Debug)]
pub(crate) struct JwksCache {
    state: watch::Sender<CacheState>,
    refresh_requested: Notify,
}

#[derive(Clone, Debug, Default)]
struct CacheState {
    /// None until the first set has come.
    keys: Option<Arc<KeySet>>,
    /// How often somebody has tried to fetch them.
    attempts: u64,
    /// They were fetched a moment ago: asking again so soon is no use, and could be done from outside.
    in_cooldown: bool,
}

impl Default for JwksCache {
    fn default() -> Self {
        Self { state: watch::Sender::default(), refresh_requested: Notify::new() }
    }
}

impl JwksCache {
    /// The keys that are known now; None until some have come.
    pub(crate) fn current(&self) -> Option<Arc<KeySet>> {
        self.state.borrow().keys.clone()
    }

    /// Asks for the keys to be fetched again, and waits until somebody has tried, at most `max_wait`. False: they were
    /// fetched a moment ago, or nothing came of it in time; it is no use to look again.
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

    /// Keys have been fetched; None: in vain, and those that are known stay. Until [`JwksCache::end_cooldown`] nobody can ask.
    pub(crate) fn store(&self, keys: Option<KeySet>) {
        self.state.send_modify(|state| {
            if let Some(keys) = keys {
                state.keys = Some(Arc::new(keys));
            }
            state.attempts += 1;
            state.in_cooldown = true;
        });
    }

    /// From now on keys can be asked for again.
    pub(crate) fn end_cooldown(&self) {
        self.state.send_modify(|state| state.in_cooldown = false);
    }

    /// Waits until somebody asks.
    pub(crate) async fn refresh_requested(&self) {
        self.refresh_requested.notified().await;
    }
}
