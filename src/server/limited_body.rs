//! A request body with a maximum size (413) and a timeout (408), which becomes short when the server closes. See
//! `request_timeout` (docs/design.md#3) and "Stopping" (docs/design.md#4).

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::BoxError;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::StatusCode;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::sleep;

use super::drain::UNFINISHED_TIMEOUT;
use crate::phase::{Phase, PhaseWatch};

/// The maximum size of a body in bytes, as in ASP.NET Core's web server.
pub(super) const MAX_BODY_BYTES: u64 = 30_000_000;

/// Which limit a body has exceeded. The request handler reads it after the route has run: the route sees only a body
/// that fails, and may answer anything.
#[derive(Clone, Debug, Default)]
pub(super) struct ExceededLimit(Arc<AtomicU8>);

const TOO_LARGE: u8 = 1;
const TOO_SLOW: u8 = 2;

impl ExceededLimit {
    /// The status with which the request must be answered; `None` if no limit was exceeded.
    pub(super) fn status(&self) -> Option<StatusCode> {
        match self.0.load(Ordering::Relaxed) {
            TOO_LARGE => Some(StatusCode::PAYLOAD_TOO_LARGE),
            TOO_SLOW => Some(StatusCode::REQUEST_TIMEOUT),
            _ => None,
        }
    }

    fn set(&self, limit: u8) {
        self.0.store(limit, Ordering::Relaxed);
    }
}

/// A body that fails when it exceeds a limit.
pub(super) struct LimitedBody<B> {
    inner: B,
    left: u64,
    timeout: Duration,
    phase: PhaseWatch,
    /// Created when the body is not ready for the first time. Most bodies always are.
    timer: Option<BoxFuture<'static, ()>>,
    limit: ExceededLimit,
}

/// Why reading a body failed.
#[derive(Debug)]
pub(super) enum BodyError {
    TooLarge,
    TooSlow,
    Broken(BoxError),
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(f, "the body is larger than {MAX_BODY_BYTES} bytes"),
            Self::TooSlow => f.write_str("the body did not arrive in time"),
            Self::Broken(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BodyError {}

impl<B> LimitedBody<B> {
    /// Limits a body. It may take `timeout` to arrive, but [`UNFINISHED_TIMEOUT`] at most once the server is closing.
    pub(super) fn new(inner: B, timeout: Duration, phase: PhaseWatch) -> (Self, ExceededLimit) {
        let limit = ExceededLimit::default();
        (Self { inner, left: MAX_BODY_BYTES, timeout, phase, timer: None, limit: limit.clone() }, limit)
    }

    fn fail(&self, limit: u8, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.limit.set(limit);
        Poll::Ready(Some(Err(error)))
    }
}

/// Waits until the body has taken too long: for `timeout`, or until the server has been closing for
/// [`UNFINISHED_TIMEOUT`].
async fn too_long(timeout: Duration, phase: PhaseWatch) {
    let closing = async {
        phase.reached(Phase::Closing).await;
        sleep(UNFINISHED_TIMEOUT).await;
    };
    tokio::select! {
        () = sleep(timeout) => {}
        () = closing => {}
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin> Body for LimitedBody<B> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        // The size may be known from Content-Length. Then the body is refused before its first byte, and before a
        // client that expects "100 Continue" receives it.
        if this.inner.size_hint().lower() > this.left {
            return this.fail(TOO_LARGE, BodyError::TooLarge);
        }
        let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) else {
            let (timeout, phase) = (this.timeout, &this.phase);
            let timer = this.timer.get_or_insert_with(|| Box::pin(too_long(timeout, phase.clone())));
            ready!(timer.as_mut().poll(cx));
            return this.fail(TOO_SLOW, BodyError::TooSlow);
        };
        let length = match &frame {
            Some(Ok(frame)) => frame.data_ref().map_or(0, |data| data.len() as u64),
            _ => 0,
        };
        match this.left.checked_sub(length) {
            Some(left) => this.left = left,
            None => return this.fail(TOO_LARGE, BodyError::TooLarge),
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|error| BodyError::Broken(error.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
