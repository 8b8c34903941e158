//! Serves one connection: HTTP/2, its limits, its age and its end.

use std::{
    convert::Infallible,
    error::Error,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::{Poll, ready},
};

use futures_util::{FutureExt, future::BoxFuture};
use http::{Request, Response};
use hyper::{body::Incoming, rt::Executor, server::conn::http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tonic::{
    body::Body,
    transport::server::{Connected, TcpConnectInfo},
};

use super::{
    activity::Activity,
    events::{Events, Order},
    services::Shared,
    socket::{self, Outbox, Socket},
};
use crate::{
    config::ServerOptions,
    rpc::{Admission, Limited, Stopping, admission::Share},
    types::{Channel, Peer},
};

/// How large the headers of a request may be, in bytes.
const HEADERS: u32 = 16 * 1024;
/// How many bytes of a request the client may send ahead of the broker's reading, on a stream and in all.
const WINDOWS: (u32, u32) = (256 * 1024, 1024 * 1024);
/// How many bytes of a stream's answer HTTP/2 takes ahead of the client's reading.
const SEND_BUFFER: usize = 128 * 1024;

/// The way from a connection to the services.
pub(super) struct Entrance<S> {
    /// The services, and the layers around them.
    pub services: S,
    pub admission: Admission,
    pub options: ServerOptions,
}

/// The service of one connection.
#[derive(Clone)]
struct Connection<S> {
    services: S,
    share: Arc<Share>,
    info: TcpConnectInfo,
    peer: Arc<Peer>,
}

impl<S: Shared> hyper::service::Service<Request<Incoming>> for Connection<S> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = S::Future;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Arc::clone(&self.share));
        request.extensions_mut().insert(self.info.clone());
        request.extensions_mut().insert(Arc::clone(&self.peer));
        self.services.clone().call(request)
    }
}

/// Runs the tasks of a connection's streams.
#[derive(Clone)]
struct Tasks(Arc<Activity>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        let stream = self.0.begin();
        tokio::spawn(async {
            Limited::new(task).await;
            drop(stream);
        });
    }
}

impl<S: Shared> Entrance<S> {
    /// Returns what makes a connection's socket the future that serves it until it ends, and what the connection is
    /// doing.
    pub fn admit(
        &self,
        stopping: &Stopping,
    ) -> (
        impl FnOnce(TcpStream) -> BoxFuture<'static, ()> + Send + use<S>,
        Arc<Activity>,
    ) {
        let options = self.options;
        let share = self.admission.share();
        let activity = Activity::new(Arc::clone(&share));
        let (services, doing) = (self.services.clone(), Arc::clone(&activity));
        let streams = self.admission.limits().calls_of_a_connection();
        let (stopping, known) = (stopping.clone(), Arc::clone(&activity));
        let serve = move |stream: TcpStream| {
            let events = Events::new(options, &stopping, &known);
            let info = stream.connect_info();
            let service = Connection {
                services,
                share,
                peer: Arc::new(peer(&info)),
                info,
            };
            let (socket, outbox) = socket::wrap(stream, options.call_timeout);
            let connection = http2::Builder::new(Tasks(doing))
                .timer(TokioTimer::new())
                // gRPC has no use for it, and it would fill the table of known headers.
                .auto_date_header(false)
                .keep_alive_interval(options.keepalive_interval)
                .keep_alive_timeout(options.keepalive_interval)
                .max_header_list_size(HEADERS)
                .max_concurrent_streams(u32::try_from(streams).unwrap_or(u32::MAX))
                // All callers of a process share a connection, and all may give up at once when the broker was slow.
                // Only a client that resets more than that attacks.
                .max_pending_accept_reset_streams(streams)
                .initial_stream_window_size(WINDOWS.0)
                .initial_connection_window_size(WINDOWS.1)
                .max_send_buf_size(SEND_BUFFER)
                .serve_connection(TokioIo::new(socket), service);
            serve(connection, outbox, known, events).boxed()
        };
        (serve, activity)
    }
}

/// Returns who is at the other end of a connection in plain text.
fn peer(info: &TcpConnectInfo) -> Peer {
    let is_loopback = info.remote_addr().is_some_and(|at| at.ip().is_loopback());
    Peer {
        channel: match is_loopback {
            true => Channel::Loopback,
            false => Channel::Network,
        },
        certificate: None,
    }
}

/// Serves a connection until it ends.
async fn serve<S: Shared>(
    connection: http2::Connection<TokioIo<Socket>, Connection<S>, Tasks>,
    outbox: Outbox,
    activity: Arc<Activity>,
    mut events: Events,
) {
    let mut connection = pin!(connection);
    let _end = EndOfSending(&activity);
    poll_fn(|cx| {
        loop {
            let has_answers = activity.has_answers();
            if let Poll::Ready(served) = connection.as_mut().poll(cx) {
                if let Err(error) = served {
                    let reason = error.source().map(tracing::field::display);
                    tracing::debug!(%error, reason, "a connection failed");
                }
                return Poll::Ready(());
            }
            match outbox.send(cx) {
                Ok(true) => activity.note_sending(false),
                // What HTTP/2 itself has to say matters to nobody but the client.
                Ok(false) if has_answers => activity.note_sending(true),
                Ok(false) => {}
                Err(error) => {
                    tracing::debug!(%error, "a connection failed");
                    return Poll::Ready(());
                }
            }
            match ready!(events.poll_next(&outbox, cx)) {
                Order::GoAway => connection.as_mut().graceful_shutdown(),
                Order::Close(why) => {
                    tracing::debug!("a connection is closed: {why}");
                    return Poll::Ready(());
                }
            }
        }
    })
    .await;
}

/// Takes note, when it is dropped, that a connection sends nothing any more.
struct EndOfSending<'a>(&'a Activity);

impl Drop for EndOfSending<'_> {
    fn drop(&mut self) {
        self.0.note_sending(false);
    }
}
