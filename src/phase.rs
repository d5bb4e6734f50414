//! Layer 2: the phase a server is in, as a watch: `server` moves it on, the health page and the transports read it.

use tokio::sync::watch;

/// Where a server stands between start and end. It only moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// It is not listening yet, or its parts are still being put together.
    Starting,
    /// It serves.
    Ready,
    /// It stops: `/readyz` says so, but new clients are still taken until `drain_delay` is over.
    Draining,
    /// Negotiate and new connections get 503, clients are sent away.
    Closing,
}

/// The phase of one server. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct PhaseWatch(watch::Sender<Phase>);

impl Default for PhaseWatch {
    fn default() -> Self {
        Self(watch::Sender::new(Phase::Starting))
    }
}

impl PhaseWatch {
    /// The phase now.
    pub(crate) fn get(&self) -> Phase {
        *self.0.borrow()
    }

    /// Moves on. A phase that is already behind us changes nothing.
    pub(crate) fn advance(&self, to: Phase) {
        self.0.send_if_modified(|phase| {
            let forward = to > *phase;
            if forward {
                *phase = to;
            }
            forward
        });
    }

    /// Waits until the phase is `at_least` this one.
    pub(crate) async fn reached(&self, at_least: Phase) {
        let mut receiver = self.0.subscribe();
        // The sender is `self`, so that the watch cannot end while this waits.
        let _ = receiver.wait_for(|phase| *phase >= at_least).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_phase_only_advances() {
        let phase = PhaseWatch::default();
        assert_eq!(phase.get(), Phase::Starting);
        phase.advance(Phase::Draining);
        phase.advance(Phase::Ready);
        assert_eq!(phase.get(), Phase::Draining);
        phase.reached(Phase::Ready).await;
    }

    #[tokio::test]
    async fn clones_share_the_phase() {
        let phase = PhaseWatch::default();
        let waiting = tokio::spawn({
            let phase = phase.clone();
            async move { phase.reached(Phase::Closing).await }
        });
        phase.advance(Phase::Closing);
        waiting.await.unwrap();
    }
}
