//! The calls of one connection that are in flight: which are let in, how many run, streams in both directions
//! (docs/builders/signalr-protocol.md#4.1, #4.4 to #4.7).

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::HubHost;
use super::answer::Answerer;
use super::uploads::Uploads;
use crate::auth::policy;
use crate::hub::asking::{Asking, Slot};
use crate::hub::cancellation::Canceller;
use crate::hub::{Call, Caller, Cancellation, HubError, HubMethod, Upload};
use crate::ids::InvocationId;
use crate::outbox::Outbox;
use crate::protocol::{BindingError, Invocation, Outcome, Protocol, ProtocolError, RawValue};

/// The calls of one connection.
pub(super) struct Invocations {
    answerer: Answerer,
    /// The plain call that waits for a slot.
    waiting: Option<Admitted>,
    /// Everything that runs.
    running: FuturesUnordered<BoxFuture<'static, Ended>>,
    /// The slots of plain calls that run; those given up do not count.
    slots: Vec<Arc<Slot>>,
    /// Told when a slot is given up by a call that goes on.
    freed: Arc<Notify>,
    /// Running streams, and how to cancel each.
    streams: HashMap<InvocationId, Canceller>,
    /// Cancels all that runs: the client has gone.
    gone: CancellationToken,
    uploads: Uploads,
}

/// What a call held, given back when it ends.
#[derive(Default)]
struct Ended {
    slot: Option<Arc<Slot>>,
    stream: Option<InvocationId>,
    uploading: Option<u64>,
}

/// A call that has been let in.
struct Admitted {
    method: Arc<dyn HubMethod>,
    id: Option<InvocationId>,
    call: Call,
    uploading: Option<u64>,
}

/// Why a call is not let in.
enum Refused {
    /// Its arguments cannot be read, or are of the wrong types.
    NotBound(HubError),
    /// It has too many arguments, or too few.
    Miscounted(BindingError),
    /// The method's `authorize` does not permit the caller.
    Unauthorized,
    /// The mode of the call, or its streams; the text is the answer.
    Mode(String),
}

impl Invocations {
    pub(super) fn new(host: Arc<HubHost>, caller: Caller, outbox: Arc<Outbox>) -> Self {
        Self {
            answerer: Answerer { host, caller, outbox },
            waiting: None,
            running: FuturesUnordered::new(),
            slots: Vec::new(),
            freed: Arc::default(),
            streams: HashMap::new(),
            gone: CancellationToken::new(),
            uploads: Uploads::default(),
        }
    }

    /// Drives what is in flight; ends when some call has ended or has given its slot up. Never ends while none runs.
    pub(super) async fn progress(&mut self) {
        tokio::select! {
            Some(ended) = self.running.next() => self.give_back(ended),
            () = self.freed.notified() => self.slots.retain(|slot| !slot.is_given_up()),
        }
    }

    fn give_back(&mut self, ended: Ended) {
        if let Some(slot) = ended.slot {
            self.slots.retain(|other| !Arc::ptr_eq(other, &slot));
        }
        if let Some(id) = ended.stream {
            self.streams.remove(&id);
        }
        if let Some(call) = ended.uploading {
            self.uploads.close(call);
        }
    }

    /// Drives what is in flight to its end, a call that waits for its slot too: it was accepted. Streams are cancelled,
    /// since their reader has gone, and uploads fail.
    pub(super) async fn finish(mut self) {
        self.uploads = Uploads::default();
        self.gone.cancel();
        self.start().await;
        while !self.running.is_empty() {
            self.progress().await;
        }
    }
}

// === calls ===

impl Invocations {
    /// A plain call. Waits for a free slot, then lets the call run and returns. Calls with upload streams take none.
    /// An error ends the connection.
    pub(super) async fn invoke(&mut self, invocation: Invocation) -> Result<(), ProtocolError> {
        self.waiting = self.admit(invocation, false).await?;
        self.start().await;
        Ok(())
    }

    /// Lets the call that waits run once there is a slot for it. Dropped half-way it waits on.
    async fn start(&mut self) {
        let takes_none = |admitted: &Admitted| admitted.method.shape().uploads > 0;
        let most = self.answerer.host.options.maximum_parallel_invocations_per_client;
        while self.slots.len() >= most && !self.waiting.as_ref().is_none_or(takes_none) {
            self.progress().await;
        }
        let Some(Admitted { method, id, call, uploading }) = self.waiting.take() else { return };
        let mut answerer = self.answerer.clone();
        let slot = if method.shape().uploads == 0 {
            let slot = Arc::new(Slot::new(self.freed.clone()));
            self.slots.push(slot.clone());
            answerer.caller = answerer.caller.asking(Asking::Call(slot.clone()));
            Some(slot)
        } else {
            None
        };
        self.running.push(Box::pin(async move {
            answerer.run(id, &*method, call).await;
            Ended { slot, uploading, stream: None }
        }));
        self.first_turn();
    }

    /// A method that does not wait ends here, without another turn of the reader, and is answered in its turn.
    fn first_turn(&mut self) {
        while let Some(Some(ended)) = self.running.next().now_or_never() {
            self.give_back(ended);
        }
    }

    /// A call whose results are streamed. Takes no slot (docs/builders/signalr-protocol.md#4.4). An error ends the
    /// connection.
    pub(super) async fn stream(&mut self, invocation: Invocation) -> Result<(), ProtocolError> {
        let admitted = self.admit(invocation, true).await?;
        let Some(Admitted { method, id: Some(id), mut call, uploading }) = admitted else { return Ok(()) };
        let canceller = Canceller::new(&self.gone);
        call.cancellation = canceller.cancellation();
        self.streams.insert(id.clone(), canceller.clone());
        let answerer = self.answerer.clone();
        self.running.push(Box::pin(async move {
            answerer.run_stream(id.clone(), &*method, call, canceller).await;
            Ended { stream: Some(id), uploading, slot: None }
        }));
        self.first_turn();
        Ok(())
    }

    /// A client's Cancel. Of plain calls and unknown ids it means nothing (docs/builders/signalr-protocol.md#4.7).
    pub(super) fn cancel(&mut self, id: &InvocationId) {
        if let Some(stream) = self.streams.get(id) {
            stream.cancel();
        }
    }

    /// What is checked before anything runs, in the reference's order: the method, the arguments, who calls, the mode
    /// of the call, the upload streams. None: the caller has been told what is wrong. An error ends the connection.
    async fn admit(&mut self, invocation: Invocation, streaming: bool) -> Result<Option<Admitted>, ProtocolError> {
        let Invocation { id, target, arguments, stream_ids, .. } = invocation;
        let Some(method) = self.answerer.host.hub.resolve(&target) else {
            // With the suffix whether details are on or not (docs/builders/signalr-protocol.md#4.2).
            let text = format!(
                "Failed to invoke '{target}' due to an error on the server. HubException: Method does not exist."
            );
            self.answerer.log_unknown(&target);
            self.answerer.reject(id, &target, Outcome::Error(text)).await;
            return Ok(None);
        };
        // In MessagePack the reference refuses an empty stream id, but reads the ids only of methods that it knows.
        if self.answerer.outbox.encoding().protocol == Protocol::MessagePack
            && stream_ids.iter().any(|id| id.as_str().is_empty())
        {
            return Err(ProtocolError::invalid_data("Null or empty value in streamIds received."));
        }
        let admitted = match self.bind(&*method, arguments) {
            Ok(call) => self.open_streams(&*method, id.as_ref(), call, &stream_ids, streaming),
            Err(refused) => Err(refused),
        };
        match admitted {
            Ok((uploading, call)) => Ok(Some(Admitted { method, id, call, uploading })),
            Err(refused) => {
                let outcome = self.refusal(method.name(), refused);
                self.answerer.reject(id, method.name(), outcome).await;
                Ok(None)
            }
        }
    }

    /// Logs why a call is refused, and what its caller is told.
    fn refusal(&self, target: &str, refused: Refused) -> Outcome {
        match refused {
            Refused::NotBound(error) => {
                self.answerer.log_not_bound(target);
                self.answerer.failure(target, &error)
            }
            Refused::Miscounted(error) => {
                self.answerer.log_refused(target, &error.detail);
                self.answerer.failure(target, &error.into())
            }
            Refused::Unauthorized => {
                self.answerer.log_unauthorized(target);
                // Never detailed.
                Outcome::Error(format!("Failed to invoke '{target}' because user is unauthorized"))
            }
            Refused::Mode(text) => {
                self.answerer.log_refused(target, &text);
                Outcome::Error(text)
            }
        }
    }

    /// The call, if its arguments could be read and are as many as the method takes.
    fn bind(&self, method: &dyn HubMethod, arguments: Result<Vec<RawValue>, BindingError>) -> Result<Call, Refused> {
        let mut call = Call::new(arguments.map_err(|error| Refused::NotBound(error.into()))?);
        call.cancellation = Cancellation::of_connection(&self.gone);
        match method.shape().parameters {
            // Arguments are read before they are counted: one of the wrong type is told first
            // (tests/probes/FINDINGS.md#2).
            Some(expected) if expected != call.arguments.len() => {
                method.check(&self.answerer.caller, &call.arguments).map_err(Refused::NotBound)?;
                Err(Refused::Miscounted(BindingError::argument_count(call.arguments.len(), expected)))
            }
            _ => Ok(call),
        }
    }

    /// Checks who calls, and the mode of the call, and opens its upload streams: items sent right behind the call find
    /// them.
    fn open_streams(
        &mut self,
        method: &dyn HubMethod,
        id: Option<&InvocationId>,
        mut call: Call,
        stream_ids: &[InvocationId],
        streaming: bool,
    ) -> Result<(Option<u64>, Call), Refused> {
        match self.uploads_of(method, id, stream_ids, streaming) {
            Ok((uploading, uploads)) => {
                call.uploads = uploads;
                Ok((uploading, call))
            }
            // The reference binds first: arguments of the wrong type are told before anything else that is wrong.
            Err(refused) => {
                Err(method.check(&self.answerer.caller, &call.arguments).map_or_else(Refused::NotBound, |()| refused))
            }
        }
    }

    fn uploads_of(
        &mut self,
        method: &dyn HubMethod,
        id: Option<&InvocationId>,
        stream_ids: &[InvocationId],
        streaming: bool,
    ) -> Result<(Option<u64>, Vec<Upload>), Refused> {
        let (target, shape) = (method.name(), method.shape());
        // After binding, before everything else (docs/builders/signalr-protocol.md#4.1).
        if !shape.policy.as_ref().is_none_or(|rule| policy::permits(rule, self.answerer.caller.principal())) {
            return Err(Refused::Unauthorized);
        }
        let text = match (shape.streams, streaming) {
            (true, false) => format!(
                "The client attempted to invoke the streaming '{target}' method with a non-streaming invocation."
            ),
            (false, true) => format!(
                "The client attempted to invoke the non-streaming '{target}' method with a streaming invocation."
            ),
            _ if shape.uploads != stream_ids.len() => hub_failure(
                target,
                &format!("Client sent {} stream(s), Hub method expects {}.", stream_ids.len(), shape.uploads),
            ),
            _ => match id.filter(|id| streaming && self.streams.contains_key(*id)) {
                Some(id) => format!("Invocation ID '{id}' is already in use."),
                None if stream_ids.is_empty() => return Ok((None, Vec::new())),
                None => {
                    let capacity = self.answerer.host.options.stream_buffer_capacity;
                    match self.uploads.open(stream_ids, capacity) {
                        Ok((call, uploads)) => return Ok((Some(call), uploads)),
                        Err(id) => hub_failure(target, &format!("Stream ID '{id}' is already in use.")),
                    }
                }
            },
        };
        Err(Refused::Mode(text))
    }
}

// === uploads ===

impl Invocations {
    /// An item of an upload stream; waits while the stream is full, and calls go on meanwhile. One of a stream that
    /// nobody reads is passed over; one that could not be read ends its stream with an error
    /// (docs/builders/signalr-protocol.md#4.6).
    pub(super) async fn item(&mut self, id: &InvocationId, item: Result<RawValue, BindingError>) {
        match item {
            Ok(item) => {
                let Some(stream) = self.uploads.get(id) else { return };
                self.beside(stream.item(item)).await;
            }
            Err(error) => {
                let Some(stream) = self.uploads.take(id) else { return };
                let text = self.answerer.item_failure(error);
                self.beside(stream.complete(Some(text))).await;
            }
        }
    }

    /// The client ends an upload stream. `Err` gives the outcome back: there is no such stream.
    pub(super) async fn complete(&mut self, id: &InvocationId, outcome: Outcome) -> Result<(), Outcome> {
        let Some(stream) = self.uploads.take(id) else { return Err(outcome) };
        self.beside(stream.complete(Uploads::error_of(outcome))).await;
        Ok(())
    }

    /// Waits for room in a stream; calls go on meanwhile, and may be what makes the room.
    async fn beside(&mut self, handing_over: impl Future<Output = ()>) {
        tokio::pin!(handing_over);
        loop {
            tokio::select! {
                () = &mut handing_over => return,
                () = self.progress() => {}
            }
        }
    }
}

fn hub_failure(target: &str, text: &str) -> String {
    format!("An unexpected error occurred invoking '{target}' on the server. HubException: {text}")
}
