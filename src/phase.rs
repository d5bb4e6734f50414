//! Layer 2: the phase of a server between start and exit. `server` advances it; `/readyz` and the transports read it.

use tokio::sync::watch;

/// A phase of a server. Phases only advance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// The server is being set up, and may not be listening yet.
    Starting,
    /// It serves clients.
    Ready,
    /// It is stopping. `/readyz` fails, but new clients are still accepted until `drain_delay` is over.
    Draining,
    /// Negotiate and new connections get 503, and the existing connections are being closed.
    Closing,
}

/// The current phase of one server. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct PhaseWatch(watch::Sender<Phase>);

impl Default for PhaseWatch {
    fn default() -> Self {
        Self(watch::Sender::new(Phase::Starting))
    }
}

impl PhaseWatch {
    /// The current phase.
    pub(crate) fn get(&self) -> Phase {
        *self.0.borrow()
    }

    /// Advances to a phase. Has no effect if that phase has been reached already.
    pub(crate) fn advance(&self, to: Phase) {
        self.0.send_if_modified(|phase| {
            let forward = to > *phase;
            if forward {
                *phase = to;
            }
            forward
        });
    }

    /// Waits until the phase is `at_least` or a later one.
    pub(crate) async fn reached(&self, at_least: Phase) {
        let mut receiver = self.0.subscribe();
        // This cannot fail: `self` is the sender, so the channel stays open during the wait.
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
