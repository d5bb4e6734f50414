//! The invocations of one connection that are in flight: which are accepted, how many run, streams in both directions
//! (docs/builders/signalr-protocol.md#4.1, #4.4 to #4.7).

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::HubHost;
use super::invocation_runner::InvocationRunner;
use super::uploads::Uploads;
use crate::auth::policy;
use crate::hub::cancellation::Canceller;
use crate::hub::invocation_slot::{InvocationSlot, ResultPermission};
use crate::hub::{Call, Caller, Cancellation, HubError, HubMethod, Upload};
use crate::ids::InvocationId;
use crate::outbox::Outbox;
use crate::protocol::{BindingError, Invocation, Outcome, Protocol, ProtocolError, RawValue};

/// The invocations of one connection.
pub(super) struct Invocations {
    runner: InvocationRunner,
    /// The call that waits for a slot; the reader waits with it.
    waiting: Option<AcceptedInvocation>,
    /// Every call that runs.
    running: FuturesUnordered<BoxFuture<'static, FinishedInvocation>>,
    /// The slots of running calls. A call that has released its slot keeps running without one.
    slots: Vec<Arc<InvocationSlot>>,
    /// How many running calls are not in `slots` any more, because they have released their slot to wait for a client
    /// result.
    asking: usize,
    /// Notified when a running call releases its slot.
    slot_freed: Arc<Notify>,
    /// The running streams, each with the means to cancel it.
    streams: HashMap<InvocationId, Canceller>,
    /// Cancels everything that runs, when the client has disconnected.
    disconnected: CancellationToken,
    uploads: Uploads,
}

/// What a call held and releases when it ends.
#[derive(Default)]
struct FinishedInvocation {
    slot: Option<Arc<InvocationSlot>>,
    stream: Option<InvocationId>,
    upload_call: Option<u64>,
}

/// A call that has passed all checks.
struct AcceptedInvocation {
    method: Arc<dyn HubMethod>,
    id: Option<InvocationId>,
    call: Call,
    upload_call: Option<u64>,
}

/// Why a call is refused.
enum CallRefusal {
    /// Its arguments cannot be read, or have the wrong types.
    NotBound(HubError),
    /// It has too many or too few arguments.
    WrongArgumentCount(BindingError),
    /// The method's `authorize` does not permit the caller.
    Unauthorized,
    /// It is (or is not) a stream invocation, or its upload streams are wrong. The text is for the client.
    Mode(String),
}

impl Invocations {
    pub(super) fn new(host: Arc<HubHost>, caller: Caller, outbox: Arc<Outbox>) -> Self {
        Self {
            runner: InvocationRunner { host, caller, outbox },
            waiting: None,
            running: FuturesUnordered::new(),
            slots: Vec::new(),
            asking: 0,
            slot_freed: Arc::default(),
            streams: HashMap::new(),
            disconnected: CancellationToken::new(),
            uploads: Uploads::default(),
        }
    }

    /// Drives the running calls until one of them ends or releases its slot. Never returns while none runs.
    pub(super) async fn progress(&mut self) {
        tokio::select! {
            Some(finished) = self.running.next() => self.release(finished),
            () = self.slot_freed.notified() => {
                let running = self.slots.len();
                self.slots.retain(|slot| !slot.is_released());
                self.asking += running - self.slots.len();
            }
        }
    }

    fn release(&mut self, finished: FinishedInvocation) {
        if let Some(slot) = finished.slot {
            match self.slots.iter().position(|other| Arc::ptr_eq(other, &slot)) {
                Some(index) => drop(self.slots.swap_remove(index)),
                None => self.asking -= 1,
            }
        }
        if let Some(id) = finished.stream {
            self.streams.remove(&id);
        }
        if let Some(call) = finished.upload_call {
            self.uploads.close(call);
        }
    }

    /// Drives all accepted calls to their end, including one that still waits for its slot. Streams are cancelled,
    /// since their client is gone, and uploads fail.
    pub(super) async fn finish(mut self) {
        self.uploads = Uploads::default();
        self.disconnected.cancel();
        self.start().await;
        while !self.running.is_empty() {
            self.progress().await;
        }
    }
}

// === calls ===

impl Invocations {
    /// Handles an invocation without streamed results: waits for a free slot, starts the call and returns. A call with
    /// upload streams needs no slot. An error ends the connection.
    pub(super) async fn invoke(&mut self, invocation: Invocation) -> Result<(), ProtocolError> {
        self.waiting = self.accept(invocation, false).await?;
        self.start().await;
        Ok(())
    }

    /// Starts the waiting call as soon as there is a slot for it. Cancel safe: the call then keeps waiting.
    async fn start(&mut self) {
        let needs_no_slot = |accepted: &AcceptedInvocation| accepted.method.shape().uploads > 0;
        let maximum = self.runner.host.options.maximum_parallel_invocations_per_client;
        while self.slots.len() >= maximum && !self.waiting.as_ref().is_none_or(needs_no_slot) {
            self.progress().await;
        }
        let Some(AcceptedInvocation { method, id, call, upload_call }) = self.waiting.take() else { return };
        let mut runner = self.runner.clone();
        let slot = if method.shape().uploads == 0 {
            let slot = Arc::new(InvocationSlot::new(self.slot_freed.clone()));
            self.slots.push(slot.clone());
            runner.caller = runner.caller.with_permission(ResultPermission::Call(slot.clone()));
            Some(slot)
        } else {
            None
        };
        self.running.push(Box::pin(async move {
            runner.run(id, &*method, call).await;
            FinishedInvocation { slot, upload_call, stream: None }
        }));
        self.poll_ready();
    }

    /// Polls the calls once. A method that does not wait ends here and is completed at once, in order.
    fn poll_ready(&mut self) {
        while let Some(Some(finished)) = self.running.next().now_or_never() {
            self.release(finished);
        }
    }

    /// Handles an invocation with streamed results, which needs no slot (docs/builders/signalr-protocol.md#4.4). An
    /// error ends the connection.
    pub(super) async fn stream(&mut self, invocation: Invocation) -> Result<(), ProtocolError> {
        let accepted = self.accept(invocation, true).await?;
        let Some(AcceptedInvocation { method, id: Some(id), mut call, upload_call }) = accepted else { return Ok(()) };
        let canceller = Canceller::new(&self.disconnected);
        call.cancellation = canceller.cancellation();
        self.streams.insert(id.clone(), canceller.clone());
        let runner = self.runner.clone();
        self.running.push(Box::pin(async move {
            runner.run_stream(id.clone(), &*method, call, canceller).await;
            FinishedInvocation { stream: Some(id), upload_call, slot: None }
        }));
        self.poll_ready();
        Ok(())
    }

    /// Cancels a stream at the client's request. Ignored for other calls and unknown ids
    /// (docs/builders/signalr-protocol.md#4.7).
    pub(super) fn cancel(&mut self, id: &InvocationId) {
        if let Some(stream) = self.streams.get(id) {
            stream.cancel();
        }
    }

    /// Checks a call before it runs, in the same order as ASP.NET Core: the method, the arguments, the authorization,
    /// whether it is a stream invocation, the upload streams. `None` means that the call was refused and the caller
    /// informed. An error ends the connection.
    async fn accept(
        &mut self,
        invocation: Invocation,
        streaming: bool,
    ) -> Result<Option<AcceptedInvocation>, ProtocolError> {
        let Invocation { id, target, arguments, stream_ids, .. } = invocation;
        let Some(method) = self.runner.host.hub.resolve(&target) else {
            // The suffix is sent with and without `detailed_errors` (docs/builders/signalr-protocol.md#4.2).
            let text = format!(
                "Failed to invoke '{target}' due to an error on the server. HubException: Method does not exist."
            );
            self.runner.log_unknown(&target);
            self.runner.reject(id, &target, Outcome::Error(text)).await;
            return Ok(None);
        };
        // In MessagePack ASP.NET Core refuses an empty stream id, but it reads the ids only if it knows the method.
        if self.runner.outbox.encoding().protocol == Protocol::MessagePack
            && stream_ids.iter().any(|id| id.as_str().is_empty())
        {
            return Err(ProtocolError::invalid_data("Null or empty value in streamIds received."));
        }
        let accepted = match self.bind(&*method, arguments) {
            Ok(call) => self.open_streams(&*method, id.as_ref(), call, &stream_ids, streaming),
            Err(refused) => Err(refused),
        };
        match accepted {
            Ok((upload_call, call)) => Ok(Some(AcceptedInvocation { method, id, call, upload_call })),
            Err(refused) => {
                let outcome = self.refusal(method.name(), refused);
                self.runner.reject(id, method.name(), outcome).await;
                Ok(None)
            }
        }
    }

    /// Logs why a call is refused, and returns its completion.
    fn refusal(&self, target: &str, refused: CallRefusal) -> Outcome {
        match refused {
            CallRefusal::NotBound(error) => {
                self.runner.log_not_bound(target);
                self.runner.failure(target, &error)
            }
            CallRefusal::WrongArgumentCount(error) => {
                self.runner.log_refused(target, &error.detail);
                self.runner.failure(target, &error.into())
            }
            CallRefusal::Unauthorized => {
                self.runner.log_unauthorized(target);
                // The same with and without `detailed_errors`.
                Outcome::Error(format!("Failed to invoke '{target}' because user is unauthorized"))
            }
            CallRefusal::Mode(text) => {
                self.runner.log_refused(target, &text);
                Outcome::Error(text)
            }
        }
    }

    /// Makes the call, if its arguments could be read and have the number that the method expects.
    fn bind(
        &self,
        method: &dyn HubMethod,
        arguments: Result<Vec<RawValue>, BindingError>,
    ) -> Result<Call, CallRefusal> {
        let mut call = Call::new(arguments.map_err(|error| CallRefusal::NotBound(error.into()))?);
        call.cancellation = Cancellation::of_connection(&self.disconnected);
        match method.shape().parameters {
            // ASP.NET Core reads arguments before it counts them, so a wrong type is reported before a wrong number
            // (tests/probes/FINDINGS.md#2).
            Some(expected) if expected != call.arguments.len() => {
                method.check(&self.runner.caller, &call.arguments).map_err(CallRefusal::NotBound)?;
                Err(CallRefusal::WrongArgumentCount(BindingError::argument_count(call.arguments.len(), expected)))
            }
            _ => Ok(call),
        }
    }

    /// Performs the checks after the binding, and opens the upload streams of the call, so that they exist when the
    /// items that follow the call are dispatched.
    fn open_streams(
        &mut self,
        method: &dyn HubMethod,
        id: Option<&InvocationId>,
        mut call: Call,
        stream_ids: &[InvocationId],
        streaming: bool,
    ) -> Result<(Option<u64>, Call), CallRefusal> {
        match self.uploads_of(method, id, stream_ids, streaming) {
            Ok((upload_call, uploads)) => {
                call.uploads = uploads;
                Ok((upload_call, call))
            }
            // ASP.NET Core binds first: arguments of the wrong type are reported before anything else.
            Err(refused) => {
                Err(method.check(&self.runner.caller, &call.arguments).map_or_else(CallRefusal::NotBound, |()| refused))
            }
        }
    }

    fn uploads_of(
        &mut self,
        method: &dyn HubMethod,
        id: Option<&InvocationId>,
        stream_ids: &[InvocationId],
        streaming: bool,
    ) -> Result<(Option<u64>, Vec<Upload>), CallRefusal> {
        let (target, shape) = (method.name(), method.shape());
        // After the binding, before everything else (docs/builders/signalr-protocol.md#4.1).
        if !shape.policy.as_ref().is_none_or(|rule| policy::permits(rule, self.runner.caller.principal())) {
            return Err(CallRefusal::Unauthorized);
        }
        let text = match (shape.streams, streaming) {
            (true, false) => format!(
                "The client attempted to invoke the streaming '{target}' method with a non-streaming invocation."
            ),
            (false, true) => format!(
                "The client attempted to invoke the non-streaming '{target}' method with a streaming invocation."
            ),
            _ if shape.uploads != stream_ids.len() => hub_exception(
                target,
                &format!("Client sent {} stream(s), Hub method expects {}.", stream_ids.len(), shape.uploads),
            ),
            _ => match id.filter(|id| streaming && self.streams.contains_key(*id)) {
                Some(id) => format!("Invocation ID '{id}' is already in use."),
                None => match self.exceeded_limit(streaming, stream_ids.len()) {
                    Some(what) => {
                        format!("Failed to invoke '{target}' because the client has too many {what} in flight.")
                    }
                    None if stream_ids.is_empty() => return Ok((None, Vec::new())),
                    None => {
                        let capacity = self.runner.host.options.stream_buffer_capacity;
                        match self.uploads.open(stream_ids, capacity) {
                            Ok((call, uploads)) => return Ok((Some(call), uploads)),
                            Err(id) => hub_exception(target, &format!("Stream ID '{id}' is already in use.")),
                        }
                    }
                },
            },
        };
        Err(CallRefusal::Mode(text))
    }
}

impl Invocations {
    /// How many running calls have released their slot to wait for a client result.
    fn asking(&self) -> usize {
        self.asking + self.slots.iter().filter(|slot| slot.is_released()).count()
    }

    /// Names what the client would have too many of if one more call were accepted.
    fn exceeded_limit(&self, streaming: bool, uploads: usize) -> Option<&'static str> {
        let options = &self.runner.host.options;
        let exceeds = |maximum: Option<usize>, count: usize| maximum.is_some_and(|maximum| count > maximum);
        if streaming && exceeds(options.maximum_streams_per_client, self.streams.len() + 1) {
            Some("streams")
        } else if uploads > 0 && exceeds(options.maximum_uploads_per_client, self.uploads.count() + uploads) {
            Some("uploads")
        } else if !streaming && uploads == 0 && exceeds(options.maximum_asks_per_client, self.asking() + 1) {
            Some("asks")
        } else {
            None
        }
    }
}

// === uploads ===

impl Invocations {
    /// Passes an item to its upload stream. Waits while the stream is full, and drives the running calls meanwhile. An
    /// item of an unknown stream is ignored; one that could not be read ends its stream with an error
    /// (docs/builders/signalr-protocol.md#4.6).
    pub(super) async fn item(&mut self, id: &InvocationId, item: Result<RawValue, BindingError>) {
        match item {
            Ok(item) => {
                let Some(stream) = self.uploads.get(id) else { return };
                self.drive_until(stream.item(item)).await;
            }
            Err(error) => {
                let Some(stream) = self.uploads.take(id) else { return };
                let text = self.runner.item_failure(error);
                self.drive_until(stream.complete(Some(text))).await;
            }
        }
    }

    /// Ends an upload stream at the client's request. If there is no such stream, `Err` returns the outcome.
    pub(super) async fn complete(&mut self, id: &InvocationId, outcome: Outcome) -> Result<(), Outcome> {
        let Some(stream) = self.uploads.take(id) else { return Err(outcome) };
        self.drive_until(stream.complete(Uploads::error_of(outcome))).await;
        Ok(())
    }

    /// Waits for room in a stream, and drives the running calls meanwhile, since one of them has to read from it.
    async fn drive_until(&mut self, transfer: impl Future<Output = ()>) {
        tokio::pin!(transfer);
        loop {
            tokio::select! {
                () = &mut transfer => return,
                () = self.progress() => {}
            }
        }
    }
}

fn hub_exception(target: &str, text: &str) -> String {
    format!("An unexpected error occurred invoking '{target}' on the server. HubException: {text}")
}
