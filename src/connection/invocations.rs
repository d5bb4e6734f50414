//! The calls of one connection that are in flight: which are let in, how many run, streams in both directions
//! (reference/signalr-protocol.md 4.1, 4.4-4.7).

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::Notify;

use super::HubHost;
use super::answer::Answerer;
use super::uploads::Uploads;
use crate::auth::policy;
use crate::hub::asking::{Asking, Slot};
use crate::hub::{Call, Caller, Cancellation, MethodShape};
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
    /// Running streams, and how to cancel each. Their own task holds a clone.
    streams: HashMap<InvocationId, Cancellation>,
    /// Of all that runs: the client has gone.
    gone: Cancellation,
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
    shape: MethodShape,
    id: Option<InvocationId>,
    call: Call,
    uploading: Option<u64>,
}

/// Why a call whose arguments fit is not let in.
enum Refused {
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
            gone: Cancellation::default(),
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
    pub(super) async fn invoke(&mut self, invocation: Invocation) {
        self.waiting = self.admit(invocation, false).await;
        self.start().await;
    }

    /// Lets the call that waits run once there is a slot for it. Dropped half-way it waits on.
    async fn start(&mut self) {
        let takes_none = |admitted: &Admitted| admitted.shape.uploads > 0;
        let most = self.answerer.host.options.maximum_parallel_invocations_per_client;
        while self.slots.len() >= most && !self.waiting.as_ref().is_none_or(takes_none) {
            self.progress().await;
        }
        let Some(Admitted { shape, id, call, uploading }) = self.waiting.take() else { return };
        let mut answerer = self.answerer.clone();
        let slot = if shape.uploads == 0 {
            let slot = Arc::new(Slot::new(self.freed.clone()));
            self.slots.push(slot.clone());
            answerer.caller = answerer.caller.asking(Asking::Call(slot.clone()));
            Some(slot)
        } else {
            None
        };
        self.running.push(Box::pin(async move {
            answerer.run(id, call).await;
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

    /// A call whose results are streamed. Takes no slot (section 4.4).
    pub(super) async fn stream(&mut self, invocation: Invocation) {
        let Some(Admitted { id, mut call, uploading, .. }) = self.admit(invocation, true).await else { return };
        let Some(id) = id else { return };
        let cancellation = self.gone.child();
        call.cancellation = cancellation.clone();
        self.streams.insert(id.clone(), cancellation.clone());
        let answerer = self.answerer.clone();
        self.running.push(Box::pin(async move {
            answerer.run_stream(id.clone(), call, cancellation).await;
            Ended { stream: Some(id), uploading, slot: None }
        }));
        self.first_turn();
    }

    /// A client's Cancel. Of plain calls and unknown ids it means nothing (section 4.7).
    pub(super) fn cancel(&mut self, id: &InvocationId) {
        if let Some(stream) = self.streams.get(id) {
            stream.cancel();
        }
    }

    /// Why a call closes its connection although it could be read. In MessagePack the reference refuses an empty
    /// stream id, but reads the ids only of methods that it knows.
    pub(super) fn refuses(&self, invocation: &Invocation) -> Option<ProtocolError> {
        let empty = invocation.stream_ids.iter().any(|id| id.as_str().is_empty());
        let refused = empty
            && self.answerer.outbox.encoding().protocol == Protocol::MessagePack
            && self.answerer.host.hub.method(&invocation.target).is_some();
        refused.then(|| ProtocolError {
            exception: "InvalidDataException",
            detail: "Null or empty value in streamIds received.".to_owned(),
        })
    }

    /// What is checked before anything runs, in the reference's order: the method, the arguments, who calls, the mode of the
    /// call, the upload streams. None: the caller has been told what is wrong.
    async fn admit(&mut self, invocation: Invocation, streaming: bool) -> Option<Admitted> {
        let Invocation { id, target, arguments, stream_ids, .. } = invocation;
        let Some(shape) = self.answerer.host.hub.method(&target) else {
            // With the suffix whether details are on or not (section 4.2).
            let text = format!(
                "Failed to invoke '{target}' due to an error on the server. HubException: Method does not exist."
            );
            self.answerer.log_unknown(&target);
            self.answerer.reject(id, &target, Outcome::Error(text)).await;
            return None;
        };
        // From here on it is called as its hub calls it, in every text (FINDINGS 2).
        let target = self.answerer.host.hub.name(&target).map(str::to_owned).unwrap_or(target);
        let mut miscounted = false;
        let bound = arguments.and_then(|arguments| {
            let call = Call { target: target.clone(), arguments, uploads: Vec::new(), cancellation: self.gone.clone() };
            match shape.parameters {
                // Arguments are read before they are counted: one of the wrong type is told first (FINDINGS 2).
                Some(expected) if expected != call.arguments.len() => {
                    self.answerer.host.hub.check(&call)?;
                    miscounted = true;
                    Err(BindingError::argument_count(call.arguments.len(), expected))
                }
                _ => Ok(call),
            }
        });
        let mut call = match bound {
            Ok(call) => call,
            Err(error) => {
                // Only this text is known to repeat no argument; the other may be a hub's own.
                if miscounted {
                    self.answerer.log_refused(&target, &error.detail);
                } else {
                    self.answerer.log_not_bound(&target);
                }
                let outcome = self.answerer.binding_failure(&target, &error);
                self.answerer.reject(id, &target, outcome).await;
                return None;
            }
        };
        match self.open_streams(&shape, id.as_ref(), &call, &stream_ids, streaming) {
            Ok((uploading, uploads)) => {
                call.uploads = uploads;
                Some(Admitted { shape, id, call, uploading })
            }
            Err(refused) => {
                // The reference binds first: arguments of the wrong type are told before anything else that is wrong.
                let outcome = match self.answerer.host.hub.check(&call) {
                    Ok(()) => Outcome::Error(match refused {
                        Refused::Unauthorized => {
                            self.answerer.log_unauthorized(&call.target);
                            // Never detailed.
                            format!("Failed to invoke '{}' because user is unauthorized", call.target)
                        }
                        Refused::Mode(text) => {
                            self.answerer.log_refused(&call.target, &text);
                            text
                        }
                    }),
                    Err(error) => {
                        self.answerer.log_not_bound(&call.target);
                        self.answerer.binding_failure(&call.target, &error)
                    }
                };
                self.answerer.reject(id, &call.target, outcome).await;
                None
            }
        }
    }

    /// Checks who calls, and the mode of the call, and opens its upload streams: items sent right behind the call find them.
    fn open_streams(
        &mut self,
        shape: &MethodShape,
        id: Option<&InvocationId>,
        call: &Call,
        stream_ids: &[InvocationId],
        streaming: bool,
    ) -> Result<(Option<u64>, Vec<crate::hub::Upload>), Refused> {
        let target = &call.target;
        // After binding, before everything else (section 4.1).
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
    /// nobody reads is passed over; one that could not be read ends its stream with an error (section 4.6).
    pub(super) async fn item(&mut self, id: &InvocationId, item: Result<RawValue, BindingError>) {
        match item {
            Ok(item) => {
                let Some(stream) = self.uploads.get(id) else { return };
                self.beside(stream.item(item)).await;
            }
            Err(error) => {
                let Some(stream) = self.uploads.take(id) else { return };
                let text = self.answerer.item_failure(&error);
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
