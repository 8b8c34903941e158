//! The side door: the layer around the services for probes and tools, which are health and reflection.
//!
//! They have small bounds of their own. So probes are answered while calls are refused, and streams, which
//! may last for ever, can't fill the memory. Where all places are taken, the connection that has the
//! most makes room for the next call, unless it is a caller's: anybody may call here, and nobody can keep others out by that.

use std::{
    collections::HashSet,
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::future::{self, Either, Ready};
use http::{HeaderMap, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::{sync::oneshot, time::timeout};
use tonic::{
    Status,
    body::Body,
    codegen::{Bytes, Service},
};
use tower::Layer;

use super::{
    Admission,
    admission::{Aside, SidePlaces},
    status, stream_limit,
};
use crate::error::Error;

/// How many unary calls, such as probes, may be in flight.
const UNARY: usize = 1024;

/// The entrance for probes and tools. Clones share their state.
#[derive(Clone, Debug)]
pub struct SideDoor(Arc<Door>);

#[derive(Debug)]
struct Door {
    admission: Admission,
    streaming: HashSet<String>,
    unary: SidePlaces,
    streams: SidePlaces,
    timeout: Duration,
}

impl SideDoor {
    /// Makes a door for at most `streams` calls to the paths of `streaming` at once, and for unary calls,
    /// which may take at most `timeout`.
    #[must_use]
    pub fn new(
        admission: Admission,
        streaming: HashSet<String>,
        streams: usize,
        timeout: Duration,
    ) -> Self {
        Self(Arc::new(Door {
            admission,
            streaming,
            unary: SidePlaces::new(UNARY),
            streams: SidePlaces::new(streams),
            timeout,
        }))
    }
}

impl<S> Layer<S> for SideDoor {
    type Service = SideEntrance<S>;

    fn layer(&self, inner: S) -> SideEntrance<S> {
        SideEntrance {
            inner,
            door: Arc::clone(&self.0),
        }
    }
}

/// A service behind a [`SideDoor`].
#[derive(Clone, Debug)]
pub struct SideEntrance<S> {
    inner: S,
    door: Arc<Door>,
}

/// Ends when another call has taken a place.
type Lost = oneshot::Receiver<()>;

type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl<S> Service<Request<Body>> for SideEntrance<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<Ready<Result<Response<Body>, Infallible>>, Answering>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let door = &self.door;
        let is_stream = door.streaming.contains(request.uri().path());
        let places = if is_stream {
            &door.streams
        } else {
            &door.unary
        };
        let share = door.admission.share_of(request.extensions());
        let Ok(mut place) = share.admit_aside(places) else {
            let refusal = status::from_error(&Error::Overloaded);
            return Either::Left(future::ready(Ok(refusal.into_http())));
        };
        let limit = door.timeout;
        // A stream begins when its first message has arrived.
        let answering = timeout(limit, self.inner.call(request));
        Either::Right(Box::pin(async move {
            let mut lost = place.lost();
            let answered = tokio::select! {
                biased;
                answered = answering => answered,
                _ = &mut lost => return Ok(status::from_error(&Error::Overloaded).into_http()),
            };
            let Ok(response) = answered else {
                return Ok(status::from_error(&Error::DeadlineExceeded).into_http());
            };
            if !is_stream {
                stream_limit::ends_within(limit);
            }
            Ok(response?.map(|body| {
                Body::new(Held {
                    rest: Some((body, lost)),
                    _place: place,
                })
            }))
        }))
    }
}

/// The body of a response that holds a place. If the place is lost, it ends as `OVERLOADED`.
struct Held {
    /// `None` after the end.
    rest: Option<(Body, Lost)>,
    _place: Aside,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some((body, lost)) = &mut self.rest else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        _ = ready!(Pin::new(lost).poll(cx));
        self.rest = None;
        let mut trailers = HeaderMap::new();
        let written = status::from_error(&Error::Overloaded).add_header(&mut trailers);
        Poll::Ready(Some(written.map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        let rest = self.rest.as_ref();
        rest.is_none_or(|(body, _)| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.as_ref();
        rest.map_or_else(SizeHint::default, |(body, _)| body.size_hint())
    }
}
