//! The results of a streaming hub method: [`TestStream`].

use std::fmt;
use std::marker::PhantomData;

use super::test_client::ClientWire;
use super::test_error::TestError;
use crate::hub::Argument;
use crate::ids::InvocationId;
use crate::protocol::{Headers, HubMessage, Outcome, RawValue};

/// The results of a streaming hub method. Dropping it before the end cancels the stream, like [`TestStream::cancel`].
pub struct TestStream<T> {
    target: String,
    id: InvocationId,
    wire: ClientWire,
    over: bool,
    item: PhantomData<fn() -> T>,
}

enum NextItem {
    Item(RawValue),
    Over(Outcome),
}

impl<T: Argument> TestStream<T> {
    pub(super) fn new(target: String, id: InvocationId, wire: ClientWire) -> Self {
        Self { target, id, wire, over: false, item: PhantomData }
    }

    /// Waits for the next item. Returns `Ok(None)` when the stream has ended.
    pub async fn next(&mut self) -> Result<Option<T>, TestError> {
        if self.over {
            return Ok(None);
        }
        let (what, id) = (format!("an item of the stream {}", self.target), &self.id);
        let next = self.wire.inbox.wait(&what, |state| {
            if let Some(item) = state.items.get_mut(id).and_then(std::collections::VecDeque::pop_front) {
                return Some(NextItem::Item(item));
            }
            state.outcomes.remove(id).map(NextItem::Over)
        });
        match next.await? {
            NextItem::Item(item) => T::from_value(item).map(Some).map_err(|source| TestError::Value { what, source }),
            NextItem::Over(outcome) => {
                self.over = true;
                match outcome {
                    Outcome::Error(text) => Err(TestError::Invocation(text)),
                    Outcome::Void | Outcome::Value(_) => Ok(None),
                }
            }
        }
    }

    /// Waits for the end of the stream, and returns the remaining items.
    pub async fn collect(mut self) -> Result<Vec<T>, TestError> {
        let mut items = Vec::new();
        while let Some(item) = self.next().await? {
            items.push(item);
        }
        Ok(items)
    }
}

impl<T> TestStream<T> {
    /// Cancels the stream.
    pub async fn cancel(mut self) -> Result<(), TestError> {
        self.over = true;
        self.wire.send(&cancellation(&self.id)).await
    }
}

fn cancellation(id: &InvocationId) -> HubMessage {
    HubMessage::CancelInvocation { id: id.clone(), headers: Headers::default() }
}

impl<T> Drop for TestStream<T> {
    fn drop(&mut self) {
        if !self.over {
            self.wire.try_send(&cancellation(&self.id));
        }
        let id = &self.id;
        self.wire.inbox.change(|state| drop((state.items.remove(id), state.outcomes.remove(id))));
    }
}

impl<T> fmt::Debug for TestStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestStream").field("target", &self.target).finish_non_exhaustive()
    }
}
