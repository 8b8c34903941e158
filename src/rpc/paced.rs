//! The pace of what is answered beside the front door: health, reflection, and services that aren't there.
//!
//! Anybody may call these, and an answer costs as much as a refusal does, or more if it is large. So each call takes from the
//! allowance for refusals, and so do each further message of a stream and the bytes of answers.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Sleep;
use tonic::{
    Status,
    body::Body,
    codegen::{Bytes, Service},
};
use tower::Layer;

use super::{Admission, admission::Share};

/// gRPC's head of a message: whether it is compressed, and its length.
const HEAD: usize = 5;
/// So many bytes of answers take as much as a refusal. Reflection has answers of some tens of KiB.
const BYTES: usize = 4 * 1024;

/// Counts calls as refusals, whatever becomes of them.
#[derive(Clone, Debug)]
pub struct PaceLayer(Admission);

impl PaceLayer {
    /// Makes a layer whose calls take from the allowances of `admission`.
    #[must_use]
    pub fn new(admission: Admission) -> Self {
        Self(admission)
    }
}

impl<S> Layer<S> for PaceLayer {
    type Service = Paced<S>;

    fn layer(&self, inner: S) -> Paced<S> {
        Paced {
            inner,
            admission: self.0.clone(),
        }
    }
}

/// A gRPC server that [`PaceLayer`] wraps.
#[derive(Clone, Debug)]
pub struct Paced<S> {
    inner: S,
    admission: Admission,
}

impl<S> Service<Request<Body>> for Paced<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let share = self.admission.share_of(request.extensions());
        share.note_refused(None);
        let request = request.map(|body| match body.is_end_stream() {
            true => body,
            false => Body::new(Messages::new(body, Arc::clone(&share))),
        });
        let answering = self.inner.call(request);
        Box::pin(async move {
            let response = answering.await?;
            Ok(response.map(|body| match body.is_end_stream() {
                true => body,
                false => Body::new(Answer {
                    body,
                    share,
                    bytes: 0,
                }),
            }))
        })
    }
}

/// The body of a response, whose bytes count.
struct Answer {
    body: Body,
    share: Arc<Share>,
    /// Those that haven't counted yet.
    bytes: usize,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.bytes += data.len();
            for _ in 0..self.bytes / BYTES {
                self.share.note_refused(None);
            }
            self.bytes %= BYTES;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a request, whose messages are handed on one by one: each when the connection is to be read on.
struct Messages {
    /// `None` after the end, because the HTTP/2 stream must be released even while this value lives.
    body: Option<Body>,
    share: Arc<Share>,
    /// What has come and wasn't handed on.
    rest: Bytes,
    message: Message,
    /// Whether a message was handed on.
    is_later: bool,
    pause: Option<Pin<Box<Sleep>>>,
}

/// The message that is under way.
#[derive(Debug)]
enum Message {
    /// What is there of its head.
    Head(Vec<u8>),
    /// How many bytes are still to come.
    Rest(usize),
}

impl Message {
    /// Returns how many of these bytes belong to the message, and whether they end it. Then the next one begins.
    fn read(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut of_head = 0;
        if let Self::Head(head) = self {
            of_head = bytes.len().min(HEAD - head.len());
            head.extend_from_slice(&bytes[..of_head]);
            let Some(&[_, a, b, c, d]) = head.first_chunk() else {
                return (of_head, false);
            };
            *self = Self::Rest(u32::from_be_bytes([a, b, c, d]) as usize);
        }
        let Self::Rest(left) = self else {
            return (of_head, false);
        };
        let read = (*left).min(bytes.len() - of_head);
        *left -= read;
        let is_end = *left == 0;
        if is_end {
            *self = Self::default();
        }
        (of_head + read, is_end)
    }
}

impl Default for Message {
    fn default() -> Self {
        Self::Head(Vec::new())
    }
}

impl Messages {
    fn new(body: Body, share: Arc<Share>) -> Self {
        Self {
            body: Some(body),
            share,
            rest: Bytes::new(),
            message: Message::default(),
            is_later: false,
            pause: None,
        }
    }

    /// Returns the next message, or the part of it that is there.
    fn next(&mut self) -> Bytes {
        let (read, is_end) = self.message.read(&self.rest);
        if is_end && std::mem::replace(&mut self.is_later, true) {
            self.share.note_refused(None);
        }
        self.rest.split_to(read)
    }
}

impl HttpBody for Messages {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.rest.is_empty() {
            let Some(body) = &mut self.body else {
                return Poll::Ready(None);
            };
            let frame = ready!(Pin::new(body).poll_frame(cx));
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.rest = data,
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(error)) => {
                    self.body = None;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    self.body = None;
                    return Poll::Ready(None);
                }
            }
        }
        // The first message belongs to the call, which was counted when it came. What comes after it waits, but not the end.
        let this = &mut *self;
        if this.is_later {
            ready!(this.share.poll_pause(&mut this.pause, cx));
        }
        let data = this.next();
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use http_body_util::{BodyExt, Full};

    use super::*;
    use crate::{rpc::CallLimits, types::Source};

    /// The end of a call isn't a further message: whoever waits for it would have waited for its own pause.
    #[tokio::test(start_paused = true)]
    async fn only_further_messages_wait() {
        let admission = Admission::new(CallLimits {
            calls: 1,
            bytes: 1,
            largest: 1,
            of_a_tenant: None,
        });
        let share = admission.share(Source::default());
        let body = |messages: usize| {
            let sent = Bytes::from([0, 0, 0, 0, 1, 7].repeat(messages));
            let body = Body::new(Full::new(sent));
            Messages::new(body, Arc::clone(&share)).collect()
        };
        for _ in 0..5_000 {
            share.note_refused(None);
        }
        assert!(share.paused_until().is_some());
        assert!(body(1).now_or_never().is_some());
        let mut two = Box::pin(body(2));
        assert!(two.as_mut().now_or_never().is_none());
        assert_eq!(two.await.unwrap().to_bytes().len(), 12);
    }

    #[test]
    fn messages_are_told_apart_however_they_are_cut() {
        let messages = [
            &[0, 0, 0, 0, 2, 7, 7][..],
            &[0; 5],
            &[1, 0, 0, 1, 4],
            &[9; 260],
        ];
        let sent = messages.concat();
        for size in [1, 3, 5, 6, sent.len()] {
            let (mut message, mut ends, mut at) = (Message::default(), Vec::new(), 0);
            for chunk in sent.chunks(size) {
                let mut rest = chunk;
                while !rest.is_empty() {
                    let (read, is_end) = message.read(rest);
                    (rest, at) = (&rest[read..], at + read);
                    if is_end {
                        ends.push(at);
                    }
                }
            }
            assert_eq!(ends, [7, 12, sent.len()], "{size}");
        }
    }
}
