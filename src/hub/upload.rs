//! [`Upload`]: a stream that a client uploads with a call (docs/builders/signalr-protocol.md#4.6).

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use tokio::sync::mpsc;

use super::{ErrorKind, HubError};
use crate::protocol::RawValue;

/// A stream that a client uploads with a call. [`Items`](super::Items) is the same with typed items.
///
/// The stream ends when the client completes it. It ends with an error if the client completes it with one, or if the
/// connection ends first.
///
/// The hub's option `stream_buffer_capacity` is the maximum number of items that are buffered. While the buffer is
/// full, the connection is not read, so the client cannot send anything else. An `Upload` may be dropped at any time;
/// further items are ignored then.
pub struct Upload {
    /// The connection task holds the sender. If it is closed without a final [`UploadEvent::Completed`], the connection
    /// has ended.
    events: mpsc::Receiver<UploadEvent>,
    ended: bool,
}

/// The sending half of an [`Upload`], held by the connection task. Clones send to the same stream.
#[derive(Clone, Debug)]
pub(crate) struct UploadSender(mpsc::Sender<UploadEvent>);

#[derive(Debug)]
enum UploadEvent {
    Item(RawValue),
    Completed(Option<String>),
}

impl Upload {
    /// Creates a stream that buffers at most `capacity` items, and its sending half.
    pub(crate) fn new(capacity: usize) -> (UploadSender, Self) {
        let (sender, events) = mpsc::channel(capacity.max(1));
        (UploadSender(sender), Self { events, ended: false })
    }

    /// Awaits the next item. `None` means that the stream has ended.
    ///
    /// # Errors
    ///
    /// The client's own error if it completed the stream with one, and [`ErrorKind::Aborted`] if the connection ended
    /// first. Both end the stream.
    pub async fn next(&mut self) -> Option<Result<RawValue, HubError>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl Stream for Upload {
    type Item = Result<RawValue, HubError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let error = match ready!(self.events.poll_recv(context)) {
            Some(UploadEvent::Item(item)) => return Poll::Ready(Some(Ok(item))),
            Some(UploadEvent::Completed(error)) => error.map(HubError::client),
            None => Some(HubError::new(ErrorKind::Aborted, "The underlying connection was closed.")),
        };
        self.ended = true;
        Poll::Ready(error.map(Err))
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl UploadSender {
    /// Sends an item; waits while the buffer is full. The item is dropped if the [`Upload`] has been dropped.
    pub(crate) async fn item(&self, item: RawValue) {
        let _ = self.0.send(UploadEvent::Item(item)).await;
    }

    /// Ends the stream because the client completed it, perhaps with an error.
    pub(crate) async fn complete(self, error: Option<String>) {
        let _ = self.0.send(UploadEvent::Completed(error)).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at once")]
    use futures_util::{FutureExt, StreamExt};

    use super::*;

    #[tokio::test]
    async fn items_arrive_in_order_and_nothing_follows_the_end() {
        let (uploading, mut upload) = Upload::new(2);
        uploading.item(RawValue::text("a")).await;
        uploading.complete(None).await;
        assert_eq!(upload.next().await, Some(Ok(RawValue::text("a"))));
        assert_eq!(StreamExt::next(&mut upload).await, None);
        assert_eq!(upload.next().await, None);
    }

    #[tokio::test]
    async fn an_error_ends_the_stream() {
        let (uploading, mut upload) = Upload::new(2);
        uploading.complete(Some("bad".to_owned())).await;
        assert_eq!(upload.next().await, Some(Err(HubError::client("bad"))));
        assert_eq!(upload.next().await, None);

        let (uploading, mut upload) = Upload::new(2);
        drop(uploading);
        assert!(
            upload.next().await.unwrap().unwrap_err().to_string().contains("The underlying connection was closed.")
        );
        assert_eq!(upload.next().await, None);
    }

    #[tokio::test]
    async fn a_full_stream_makes_its_sender_wait_and_a_dropped_one_does_not() {
        let (uploading, upload) = Upload::new(1);
        uploading.item(RawValue::null()).await;
        assert!(uploading.item(RawValue::null()).now_or_never().is_none());
        drop(upload);
        assert!(uploading.item(RawValue::null()).now_or_never().is_some());
    }
}
