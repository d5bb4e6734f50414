//! The keys that somebody else publishes, as they are now. A task of the server's puts them here; whoever meets a
//! token of an unknown key asks for new ones, and may wait for them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::KeySet;

/// Published keys. Clones of an `Arc` share it.
#[derive(Debug)]
pub struct Keyring {
    state: watch::Sender<State>,
    asked: Notify,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// None until the first set has come.
    keys: Option<Arc<KeySet>>,
    /// How often somebody has tried to fetch them.
    tries: u64,
    /// They were fetched a moment ago: asking again so soon is no use, and could be done from outside.
    resting: bool,
}

impl Default for Keyring {
    fn default() -> Self {
        Self { state: watch::Sender::default(), asked: Notify::new() }
    }
}

impl Keyring {
    /// The keys that are known now; None until some have come.
    pub fn current(&self) -> Option<Arc<KeySet>> {
        self.state.borrow().keys.clone()
    }

    /// Asks for the keys to be fetched again, and waits until somebody has tried, at most `patience`. False: they were
    /// fetched a moment ago, or nothing came of it in time; it is no use to look again.
    pub async fn renew(&self, patience: Duration) -> bool {
        let mut state = self.state.subscribe();
        let tries = {
            let now = state.borrow_and_update();
            if now.resting {
                return false;
            }
            now.tries
        };
        self.asked.notify_one();
        timeout(patience, state.wait_for(|now| now.tries != tries)).await.is_ok_and(|ended| ended.is_ok())
    }

    /// Keys have been fetched; None: in vain, and those that are known stay. Until [`Keyring::rested`] nobody can ask.
    pub fn put(&self, keys: Option<KeySet>) {
        self.state.send_modify(|state| {
            if let Some(keys) = keys {
                state.keys = Some(Arc::new(keys));
            }
            state.tries += 1;
            state.resting = true;
        });
    }

    /// From now on keys can be asked for again.
    pub fn rested(&self) {
        self.state.send_modify(|state| state.resting = false);
    }

    /// Waits until somebody asks.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }
}
