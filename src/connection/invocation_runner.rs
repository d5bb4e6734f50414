//! Runs a hub method and completes its invocation: with a result, stream items, or an error in ASP.NET Core's exact
//! words (docs/builders/signalr-protocol.md#4.2, #4.3, #4.5).

use std::fmt::Display;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::StreamExt;

use super::HubHost;
use crate::hub::cancellation::Canceller;
use crate::hub::{Call, Caller, ErrorKind, HubError, HubMethod, Reply};
use crate::ids::InvocationId;
use crate::logging::{Allowed, Escaped, LogKind, LogRateLimiter, reason};
use crate::metrics::InvocationOutcome;
use crate::outbox::{Outbox, PushError};
use crate::outgoing::OutgoingMessage;
use crate::protocol::{BindingError, Headers, HubMessage, Outcome, RawValue};

/// How long a cancelled stream may take to end, if its method listens for the cancellation.
const CANCELLED_STREAM_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs the invocations of one connection.
#[derive(Clone)]
pub(super) struct InvocationRunner {
    pub(super) host: Arc<HubHost>,
    pub(super) caller: Caller,
    pub(super) outbox: Arc<Outbox>,
}

impl InvocationRunner {
    /// Runs a call without streamed results, and completes it. A call without an invocation id is never completed, not
    /// even with an error (docs/builders/signalr-protocol.md#4.3).
    pub(super) async fn run(self, id: Option<InvocationId>, method: &dyn HubMethod, call: Call) {
        let started = Instant::now();
        let outcome = match self.invoke(method, call).await {
            Ok(Reply::Empty) => Outcome::Value(RawValue::null()),
            Ok(Reply::Value(value)) => Outcome::Value(value),
            Ok(Reply::Stream(_)) => {
                let message = "a method that is not declared as streaming returned a stream";
                self.log_failed(method.name(), message);
                self.failure(method.name(), &HubError::internal(message))
            }
            Err(error) => {
                self.log_error(method, &error);
                self.failure(method.name(), &error)
            }
        };
        self.count(&outcome, started);
        self.complete(id, method.name(), outcome).await;
    }

    /// Runs a call whose results are streamed, until it ends, fails, or is cancelled.
    pub(super) async fn run_stream(self, id: InvocationId, method: &dyn HubMethod, call: Call, canceller: Canceller) {
        let started = Instant::now();
        let outcome = {
            let work = self.forward_items(&id, method, call, &canceller);
            tokio::pin!(work);
            tokio::select! {
                biased;
                outcome = &mut work => outcome,
                // A cancelled stream ends without an error, whatever its method returns
                // (docs/builders/signalr-protocol.md#4.5).
                () = canceller.cancelled() => {
                    let finishing = async {
                        tokio::select! {
                            biased;
                            // At once if there are no listeners; or when the method, which was one, has returned.
                            () = canceller.unheard() => {}
                            _ = &mut work => {}
                        }
                    };
                    let _ = tokio::time::timeout(CANCELLED_STREAM_TIMEOUT, finishing).await;
                    Outcome::Void
                }
            }
        };
        self.count(&outcome, started);
        self.complete(Some(id), method.name(), outcome).await;
    }

    async fn forward_items(
        &self,
        id: &InvocationId,
        method: &dyn HubMethod,
        call: Call,
        canceller: &Canceller,
    ) -> Outcome {
        let target = method.name();
        let mut stream = match self.invoke(method, call).await {
            Ok(Reply::Stream(stream)) => stream,
            Ok(Reply::Empty | Reply::Value(_)) => {
                self.log_failed(target, "a method that is declared as streaming returned no stream");
                return Outcome::Error(format!(
                    "The value returned by the streaming method '{target}' is not a ChannelReader<> or IAsyncEnumerable<>."
                ));
            }
            Err(error) => {
                self.log_error(method, &error);
                return self.failure(target, &error);
            }
        };
        loop {
            let error = match catch_panic(self.log(), async { stream.next().await.transpose() }).await {
                Ok(None) => return Outcome::Void,
                // The client has cancelled the stream, so its items are dropped. That never waits for room in the
                // queue, so a stream that itself never waits would occupy the thread, and its timeout would never be
                // noticed.
                Ok(Some(_)) if canceller.is_cancelled() => {
                    tokio::task::coop::consume_budget().await;
                    continue;
                }
                Ok(Some(item)) => {
                    let message =
                        HubMessage::StreamItem { id: id.clone(), item: Ok(item), headers: Headers::default() };
                    match self.outbox.push_item(&OutgoingMessage::new(message)).await {
                        Ok(()) => continue,
                        Err(PushError::Value(error)) => {
                            self.log_failed(target, &error);
                            HubError::from(error)
                        }
                        Err(PushError::Full) => {
                            self.caller.close_as_slow();
                            return Outcome::Void;
                        }
                        Err(PushError::Finished) => return Outcome::Void,
                    }
                }
                Err(error) => {
                    self.log_error(method, &error);
                    error
                }
            };
            return Outcome::Error(self.detailed("An error occurred on the server while streaming results.", &error));
        }
    }

    async fn invoke(&self, method: &dyn HubMethod, call: Call) -> Result<Reply, HubError> {
        // The block is needed: it also contains a panic that happens before the method returns its future.
        catch_panic(self.log(), async { method.invoke(self.caller.clone(), call).await }).await
    }

    /// Completes a call that is refused before it runs.
    pub(super) async fn reject(&self, id: Option<InvocationId>, target: &str, outcome: Outcome) {
        self.host.metrics.invocation(InvocationOutcome::Rejected, Duration::ZERO);
        self.complete(id, target, outcome).await;
    }

    /// Sends the one Completion of a call, waiting for room in the client's queue.
    async fn complete(&self, id: Option<InvocationId>, target: &str, outcome: Outcome) {
        let Some(id) = id else { return };
        let message = |outcome| {
            OutgoingMessage::new(HubMessage::Completion { id: id.clone(), outcome, headers: Headers::default() })
        };
        let mut pushed = self.outbox.push_waiting(&message(outcome)).await;
        if let Err(PushError::Value(error)) = pushed {
            // The result cannot be encoded in the client's protocol. The call must be completed all the same.
            self.log_failed(target, &error);
            let failed = self.failure(target, &HubError::from(error));
            pushed = self.outbox.push_waiting(&message(failed)).await;
        }
        if pushed == Err(PushError::Full) {
            self.caller.close_as_slow();
        }
    }

    /// The completion of a call that failed with `error`.
    pub(super) fn failure(&self, target: &str, error: &HubError) -> Outcome {
        let base = match error.kind() {
            ErrorKind::InvalidArguments => format!("Failed to invoke '{target}' due to an error on the server."),
            _ => format!("An unexpected error occurred invoking '{target}' on the server."),
        };
        Outcome::Error(self.detailed(&base, error))
    }

    /// The error that the reader of an upload stream gets for an item that could not be bound.
    pub(super) fn item_failure(&self, error: BindingError) -> String {
        self.detailed("Failed to bind Stream message.", &error.into())
    }

    /// Appends the error's own text where clients may see it: always for a `HubException`, and with `detailed_errors`
    /// for all others (docs/builders/signalr-protocol.md#4.2).
    fn detailed(&self, base: &str, error: &HubError) -> String {
        if self.host.options.detailed_errors || error.is_shown_to_clients() {
            format!("{base} {}", error.wire_text())
        } else {
            base.to_owned()
        }
    }

    fn count(&self, outcome: &Outcome, started: Instant) {
        let failed = matches!(outcome, Outcome::Error(_));
        let outcome = if failed { InvocationOutcome::Failed } else { InvocationOutcome::Ok };
        self.host.metrics.invocation(outcome, started.elapsed());
    }
}

// === logging ===

impl InvocationRunner {
    fn log(&self) -> &LogRateLimiter {
        self.host.delivery.log()
    }

    fn allow(&self, kind: LogKind) -> Option<Allowed> {
        self.log().allow(kind, tokio::time::Instant::now())
    }

    /// Logs that a client called a method that does not exist.
    pub(super) fn log_unknown(&self, target: &str) {
        if let Some(Allowed { suppressed }) = self.allow(LogKind::UnknownMethod) {
            let method = Escaped::new(target).to_string();
            tracing::info!(method, suppressed, "a client called a method that the hub does not have");
        }
    }

    /// Logs that the arguments of a call do not match the parameters, without their values.
    pub(super) fn log_not_bound(&self, target: &str) {
        self.log_refused(target, "the types of the arguments do not match the parameters");
    }

    /// Logs that a call was refused before its method ran. `why` must not contain an argument.
    pub(super) fn log_refused(&self, target: &str, why: impl Display) {
        if let Some(Allowed { suppressed }) = self.allow(LogKind::CallRefused) {
            let method = Escaped::new(target).to_string();
            tracing::info!(method, reason = reason(why), suppressed, "a call was refused");
        }
    }

    /// Logs that the method's `authorize` does not permit the caller.
    pub(super) fn log_unauthorized(&self, target: &str) {
        if let Some(Allowed { suppressed }) = self.allow(LogKind::CallUnauthorized) {
            let method = Escaped::new(target).to_string();
            let reason = match self.caller.principal() {
                None => "the caller is anonymous, and the method's `authorize` requires a user",
                Some(_) => "the user does not fulfil the method's `authorize`",
            };
            tracing::info!(method, reason, suppressed, "a call was not authorized");
        }
    }

    /// Logs the error of a method, or of its stream, without its text, which may contain what the client sent.
    fn log_error(&self, method: &dyn HubMethod, error: &HubError) {
        match error.kind() {
            ErrorKind::InvalidArguments => self.log_not_bound(method.name()),
            _ if method.logs_failures() => {}
            _ => self.log_failed(method.name(), error.exception()),
        }
    }

    /// Logs that a method failed. `why` must not contain an argument.
    fn log_failed(&self, target: &str, why: impl Display) {
        if let Some(Allowed { suppressed }) = self.allow(LogKind::MethodFailed) {
            let method = Escaped::new(target).to_string();
            tracing::warn!(method, reason = reason(why), suppressed, "a method failed");
        }
    }
}

/// Awaits application code, and turns a panic in it into an error, so that it affects this call only.
pub(super) async fn catch_panic<T>(
    log: &LogRateLimiter,
    work: impl Future<Output = Result<T, HubError>>,
) -> Result<T, HubError> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| {
        if let Some(Allowed { suppressed }) = log.allow(LogKind::Panicked, tokio::time::Instant::now()) {
            tracing::error!(suppressed, "application code panicked; its caller gets an error");
        }
        Err(HubError::panicked())
    })
}
