//! The calls of one connection that are in flight: how many run, what they answer, streams on their way out
//! (reference/signalr-protocol.md 4.1-4.5).

use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::{AbortHandle, Abortable, BoxFuture};
use futures_util::stream::{BoxStream, FuturesUnordered};
use futures_util::{FutureExt, StreamExt};

use super::HubHost;
use crate::auth::policy;
use crate::frame::Frame;
use crate::hub::{Call, Caller, HubError, MethodShape, Reply};
use crate::ids::InvocationId;
use crate::metrics::InvocationOutcome;
use crate::outbox::Outbox;
use crate::protocol::{BindingError, Headers, HubMessage, Invocation, Outcome, RawValue};

/// The calls of one connection.
pub(super) struct Invocations {
    answerer: Answerer,
    /// Plain calls; at most `maximum_parallel_invocations_per_client`.
    slots: FuturesUnordered<BoxFuture<'static, ()>>,
    /// Streaming calls take no slot (section 4.4).
    streams: FuturesUnordered<BoxFuture<'static, Option<InvocationId>>>,
    /// How to cancel each running stream.
    cancel: HashMap<InvocationId, AbortHandle>,
}

/// Answers calls of one connection.
#[derive(Clone)]
struct Answerer {
    host: Arc<HubHost>,
    caller: Caller,
    outbox: Arc<Outbox>,
}

impl Invocations {
    pub(super) fn new(host: Arc<HubHost>, caller: Caller, outbox: Arc<Outbox>) -> Self {
        Self {
            answerer: Answerer { host, caller, outbox },
            slots: FuturesUnordered::new(),
            streams: FuturesUnordered::new(),
            cancel: HashMap::new(),
        }
    }

    /// Drives what is in flight; ends when some call has ended. Never ends while none runs.
    pub(super) async fn progress(&mut self) {
        tokio::select! {
            Some(()) = self.slots.next() => {}
            Some(ended) = self.streams.next() => {
                if let Some(id) = ended {
                    self.cancel.remove(&id);
                }
            }
            else => std::future::pending().await,
        }
    }

    /// Drives what is in flight to its end. Streams are cancelled: their reader has gone.
    pub(super) async fn finish(mut self) {
        for handle in self.cancel.values() {
            handle.abort();
        }
        while !self.slots.is_empty() || !self.streams.is_empty() {
            self.progress().await;
        }
    }

    /// A client's Cancel. Of plain calls and unknown ids it means nothing (section 4.7).
    pub(super) fn cancel(&mut self, id: &InvocationId) {
        if let Some(handle) = self.cancel.get(id) {
            handle.abort();
        }
    }

    /// A plain call. Waits for a free slot, then lets the call run and returns.
    pub(super) async fn invoke(&mut self, invocation: Invocation) {
        let Some((shape, id, call)) = self.admit(invocation).await else { return };
        if shape.streams {
            let text = format!(
                "The client attempted to invoke the streaming '{}' method with a non-streaming invocation.",
                call.target
            );
            return self.reject_after_binding(id, &call, text).await;
        }
        while self.slots.len() >= self.answerer.host.options.maximum_parallel_invocations_per_client {
            self.progress().await;
        }
        let answerer = self.answerer.clone();
        self.slots.push(Box::pin(async move { answerer.run(id, call).await }));
        // A method that does not wait ends here, without another turn of the reader.
        while let Some(Some(())) = self.slots.next().now_or_never() {}
    }

    /// A call whose results are streamed.
    pub(super) async fn stream(&mut self, invocation: Invocation) {
        let Some((shape, id, call)) = self.admit(invocation).await else { return };
        if !shape.streams {
            let text = format!(
                "The client attempted to invoke the non-streaming '{}' method with a streaming invocation.",
                call.target
            );
            return self.reject_after_binding(id, &call, text).await;
        }
        let Some(id) = id else { return };
        if self.cancel.contains_key(&id) {
            let text = format!("Invocation ID '{id}' is already in use.");
            return self.answerer.answer(Some(id), Outcome::Error(text)).await;
        }
        let (handle, registration) = AbortHandle::new_pair();
        self.cancel.insert(id.clone(), handle);
        let answerer = self.answerer.clone();
        self.streams.push(Box::pin(async move {
            answerer.run_stream(id.clone(), call, registration).await;
            Some(id)
        }));
    }

    /// What is checked before anything runs: the method, the arguments, the number of upload streams. None: the
    /// caller has been told what is wrong.
    async fn admit(&mut self, invocation: Invocation) -> Option<(MethodShape, Option<InvocationId>, Call)> {
        let Invocation { id, target, arguments, stream_ids, .. } = invocation;
        let refused = match (self.answerer.host.hub.method(&target), arguments) {
            (None, _) => {
                // With the suffix whether details are on or not (section 4.2).
                Outcome::Error(format!(
                    "Failed to invoke '{target}' due to an error on the server. HubException: Method does not exist."
                ))
            }
            (Some(_), Err(error)) => self.answerer.binding_failure(&target, &error),
            (Some(shape), Ok(arguments)) => match shape.parameters {
                Some(expected) if expected != arguments.len() => {
                    self.answerer.binding_failure(&target, &BindingError::argument_count(arguments.len(), expected))
                }
                // After binding, before everything else (section 4.1); the text is never detailed.
                _ if !self.answerer.permits(&shape) => {
                    let call = Call { target, arguments };
                    let text = format!("Failed to invoke '{}' because user is unauthorized", call.target);
                    self.reject_after_binding(id, &call, text).await;
                    return None;
                }
                _ if shape.uploads != stream_ids.len() => {
                    let call = Call { target, arguments };
                    let text = format!(
                        "An unexpected error occurred invoking '{}' on the server. HubException: Client sent {} stream(s), Hub method expects {}.",
                        call.target,
                        stream_ids.len(),
                        shape.uploads
                    );
                    self.reject_after_binding(id, &call, text).await;
                    return None;
                }
                _ => return Some((shape, id, Call { target, arguments })),
            },
        };
        self.answerer.host.metrics.invocation(InvocationOutcome::Rejected, std::time::Duration::ZERO);
        self.answerer.answer(id, refused).await;
        None
    }

    /// The reference binds first: arguments of the wrong type are told before anything else that is wrong.
    async fn reject_after_binding(&mut self, id: Option<InvocationId>, call: &Call, text: String) {
        let outcome = match self.answerer.host.hub.check(call) {
            Ok(()) => Outcome::Error(text),
            Err(error) => self.answerer.binding_failure(&call.target, &error),
        };
        self.answerer.host.metrics.invocation(InvocationOutcome::Rejected, std::time::Duration::ZERO);
        self.answerer.answer(id, outcome).await;
    }
}

impl Answerer {
    /// Whether the caller may call a method.
    fn permits(&self, shape: &MethodShape) -> bool {
        shape.policy.as_ref().is_none_or(|rule| policy::permits(rule, self.caller.principal()))
    }

    /// Runs a plain call and answers it; a call without an id is never answered, not even with an error (4.3).
    async fn run(self, id: Option<InvocationId>, call: Call) {
        let began = Instant::now();
        let target = call.target.clone();
        let reply = contain(self.host.hub.invoke(self.caller.clone(), call)).await;
        let outcome = match reply {
            Ok(Reply::Empty) => Outcome::Value(RawValue::null()),
            Ok(Reply::Value(value)) => Outcome::Value(value),
            Ok(Reply::Stream(_)) => {
                let error = HubError::failed(
                    "InvalidOperationException",
                    "a method that is not declared as streaming returned a stream",
                );
                self.failure(&target, &error)
            }
            Err(error) => self.failure(&target, &error),
        };
        self.count(&outcome, began);
        self.answer(id, outcome).await;
    }

    async fn run_stream(self, id: InvocationId, call: Call, registration: futures_util::future::AbortRegistration) {
        let began = Instant::now();
        let work = Abortable::new(self.clone().pump(id.clone(), call), registration);
        // Cancelled by the client: the stream ends without an error (4.5).
        let outcome = work.await.unwrap_or(Outcome::Void);
        self.count(&outcome, began);
        self.answer(Some(id), outcome).await;
    }

    async fn pump(self, id: InvocationId, call: Call) -> Outcome {
        let target = call.target.clone();
        let mut stream: BoxStream<'static, _> = match contain(self.host.hub.invoke(self.caller.clone(), call)).await {
            Ok(Reply::Stream(stream)) => stream,
            Ok(Reply::Empty | Reply::Value(_)) => {
                return Outcome::Error(format!(
                    "The value returned by the streaming method '{target}' is not a ChannelReader<> or IAsyncEnumerable<>."
                ));
            }
            Err(error) => return self.failure(&target, &error),
        };
        loop {
            match contain(async { stream.next().await.transpose() }).await {
                Ok(None) => return Outcome::Void,
                Ok(Some(item)) => {
                    let message = HubMessage::StreamItem { id: id.clone(), item, headers: Headers::default() };
                    if self.outbox.push_waiting(&Frame::new(message)).await.is_err() {
                        return Outcome::Void;
                    }
                }
                Err(error) => {
                    return Outcome::Error(
                        self.detailed("An error occurred on the server while streaming results.", &error),
                    );
                }
            }
        }
    }

    /// Sends the one Completion of a call, waiting for room in the client's queue.
    async fn answer(&self, id: Option<InvocationId>, outcome: Outcome) {
        let Some(id) = id else { return };
        let message =
            |outcome| Frame::new(HubMessage::Completion { id: id.clone(), outcome, headers: Headers::default() });
        match self.outbox.push_waiting(&message(outcome)).await {
            Err(crate::outbox::PushError::Value(error)) => {
                // The result has no form in the client's protocol; the call is answered all the same.
                let error = HubError::failed("JsonException", error.to_string());
                let text = self.detailed("An unexpected error occurred invoking a method on the server.", &error);
                let _ = self.outbox.push_waiting(&message(Outcome::Error(text))).await;
            }
            Ok(()) | Err(_) => {}
        }
    }

    fn failure(&self, target: &str, error: &HubError) -> Outcome {
        match error {
            HubError::Binding(error) => self.binding_failure(target, error),
            _ => {
                tracing::debug!(hub = %self.host.name, connection = %self.caller.connection_id(), %error, "a call failed");
                Outcome::Error(
                    self.detailed(&format!("An unexpected error occurred invoking '{target}' on the server."), error),
                )
            }
        }
    }

    fn binding_failure(&self, target: &str, error: &BindingError) -> Outcome {
        let base = format!("Failed to invoke '{target}' due to an error on the server.");
        Outcome::Error(if self.host.options.detailed_errors { format!("{base} {error}") } else { base })
    }

    /// The suffix rule of section 4.2: a hub's own errors are always told, others with detailed errors only.
    fn detailed(&self, base: &str, error: &HubError) -> String {
        if self.host.options.detailed_errors || matches!(error, HubError::Hub(_)) {
            format!("{base} {error}")
        } else {
            base.to_owned()
        }
    }

    fn count(&self, outcome: &Outcome, began: Instant) {
        let outcome =
            if matches!(outcome, Outcome::Error(_)) { InvocationOutcome::Failed } else { InvocationOutcome::Ok };
        self.host.metrics.invocation(outcome, began.elapsed());
    }
}

/// Awaits application code; a panic in it becomes an error of that call alone.
pub(super) async fn contain<T>(work: impl Future<Output = Result<T, HubError>>) -> Result<T, HubError> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!("application code panicked; the call is answered with an error");
        Err(HubError::failed("PanicException", "the application panicked"))
    })
}
