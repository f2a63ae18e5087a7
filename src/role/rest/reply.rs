//! Answers on their way out: a whole text, or a stream that ends when its sender does.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use tokio::sync::mpsc::Receiver;

use super::seats::Busy;
use crate::face::rest::Refusal;

/// Type of the bodies in JSON.
pub(super) const JSON: &str = "application/json";

/// The body of an answer.
pub(super) struct Reply {
    text: Text,
    /// The request is answered when this goes.
    busy: Option<Busy>,
}

enum Text {
    Whole(Bytes),
    Stream(Receiver<Bytes>),
}

impl Reply {
    fn whole(bytes: impl Into<Bytes>) -> Reply {
        Reply { text: Text::Whole(bytes.into()), busy: None }
    }

    /// Keeps the connection busy until the end of the body.
    pub(super) fn keep(&mut self, busy: Busy) {
        self.busy = Some(busy);
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match &mut self.text {
            Text::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Text::Whole(bytes) => Poll::Ready(Some(std::mem::take(bytes))),
            Text::Stream(receiver) => receiver.poll_recv(cx),
        };
        if let Poll::Ready(None) = next {
            self.busy = None;
        }
        next.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.text, Text::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.text {
            Text::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Text::Stream(_) => SizeHint::new(),
        }
    }
}

/// An answer with a whole text, as it is now.
pub(super) fn live(status: u16, kind: &'static str, bytes: impl Into<Bytes>) -> Response<Reply> {
    with(status, kind, "no-store", Reply::whole(bytes))
}

/// An answer that stays the same as long as its tag does. Without its text where the client has it.
pub(super) fn tagged(bytes: &Bytes, tag: &str, known: Option<&str>) -> Response<Reply> {
    let has = |known: &str| {
        known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag || one.trim() == "*")
    };
    let (status, bytes) = if known.is_some_and(has) { (304, Bytes::new()) } else { (200, bytes.clone()) };
    let mut response = with(status, JSON, "no-cache", Reply::whole(bytes));
    put(&mut response, ETAG, tag);
    response
}

/// A stream of events.
pub(super) fn events(receiver: Receiver<Bytes>) -> Response<Reply> {
    with(200, "text/event-stream", "no-store", Reply { text: Text::Stream(receiver), busy: None })
}

/// A refusal.
pub(super) fn refused(refusal: &Refusal) -> Response<Reply> {
    let mut response = live(refusal.status, JSON, refusal_body(refusal));
    if let Some(allow) = refusal.allow {
        put(&mut response, ALLOW, allow);
    }
    if let Some(seconds) = refusal.retry_after {
        put(&mut response, RETRY_AFTER, &seconds.to_string());
    }
    if refusal.status == 401 {
        put(&mut response, WWW_AUTHENTICATE, "Bearer realm=\"pgbalancer\"");
    }
    response
}

/// What is said with a refusal.
pub(super) fn refusal_body(refusal: &Refusal) -> Vec<u8> {
    serde_json::to_vec(&refusal.body()).unwrap_or_default()
}

/// The fields of the head that every answer has.
pub(super) fn fields(kind: &'static str, cache: &'static str) -> [(HeaderName, &'static str); 3] {
    [(CONTENT_TYPE, kind), (CACHE_CONTROL, cache), (X_CONTENT_TYPE_OPTIONS, "nosniff")]
}

fn with(status: u16, kind: &'static str, cache: &'static str, reply: Reply) -> Response<Reply> {
    let mut response = Response::new(reply);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in fields(kind, cache) {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn put(response: &mut Response<Reply>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
