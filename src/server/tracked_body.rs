//! A request body that notices when it has arrived completely: the next byte on its HTTP connection starts a new
//! request.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::transport::http_socket::RequestStart;

/// Wraps a request body and sets `starts` when its end has been read.
pub(super) struct TrackedBody<B> {
    inner: B,
    /// The HTTP connection reads this flag.
    starts: RequestStart,
}

impl<B: Body> TrackedBody<B> {
    /// Wraps a body. Many requests have none and are complete with their head.
    pub(super) fn new(inner: B, starts: RequestStart) -> Self {
        starts.set(inner.is_end_stream());
        Self { inner, starts }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for TrackedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) || self.inner.is_end_stream() {
            self.starts.set(true);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
