//! Serves one connection: HTTP/2, its limits, its age and its end.

use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};

use futures_util::FutureExt;
use http::{Request, Response};
use hyper::{body::Incoming, rt::Executor, server::conn::http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpStream,
    time::{Instant, MissedTickBehavior, interval_at, sleep},
};
use tonic::{
    body::Body,
    service::Routes,
    transport::server::{Connected, TcpConnectInfo},
};
use tower::Service;

use super::{activity::Activity, socket::Socket};
use crate::{
    config::ServerOptions,
    rpc::{Admission, Limited, Stopping, Streams, admission::Share},
};

/// How large the headers of a request may be, in bytes.
const HEADERS: u32 = 16 * 1024;
/// How many bytes of a request the client may send ahead of the broker's reading, on a stream and in all.
const WINDOWS: (u32, u32) = (256 * 1024, 1024 * 1024);
/// How many bytes of a stream's answer HTTP/2 takes ahead of the client's reading.
const SEND_BUFFER: usize = 128 * 1024;
/// How much the ages of connections differ, so that clients don't all reconnect at once.
const JITTER: std::ops::RangeInclusive<f64> = 0.9..=1.1;
/// How long a client has to go that was asked to make room, and calls nothing. It is much more than a way to the
/// client and back, and less than probes wait.
const LEAVE: Duration = Duration::from_millis(500);

/// The way from a connection to the services.
pub(super) struct Entrance {
    /// The services, and the layers around all of them.
    pub services: Streams<Routes>,
    pub admission: Admission,
    pub options: ServerOptions,
}

/// The service of one connection.
#[derive(Clone)]
struct Connection {
    services: Streams<Routes>,
    share: Arc<Share>,
    info: TcpConnectInfo,
}

type Answering = <Streams<Routes> as Service<Request<Body>>>::Future;

impl hyper::service::Service<Request<Incoming>> for Connection {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Arc::clone(&self.share));
        request.extensions_mut().insert(self.info.clone());
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

impl Entrance {
    /// Returns a future that serves a connection until it ends, and what the connection is doing.
    pub fn serve(
        &self,
        stream: TcpStream,
        stopping: &Stopping,
    ) -> (impl Future<Output = ()> + Send + use<>, Arc<Activity>) {
        let options = self.options;
        let service = Connection {
            services: self.services.clone(),
            share: self.admission.share(),
            info: stream.connect_info(),
        };
        let share = Arc::clone(&service.share);
        let activity = Activity::new(Arc::clone(&share));
        let streams = self.admission.limits().calls_of_a_connection();
        let socket = Socket::new(stream, options.call_timeout, options.idle_timeout);
        let connection = http2::Builder::new(Tasks(Arc::clone(&activity)))
            .timer(TokioTimer::new())
            .keep_alive_interval(options.keepalive_interval)
            .keep_alive_timeout(options.keepalive_interval)
            .max_header_list_size(HEADERS)
            .max_concurrent_streams(u32::try_from(streams).unwrap_or(u32::MAX))
            // All callers of a process share a connection, and all may give up at once when the broker was slow. Only a
            // client that resets more than that attacks.
            .max_pending_accept_reset_streams(streams)
            .initial_stream_window_size(WINDOWS.0)
            .initial_connection_window_size(WINDOWS.1)
            .max_send_buf_size(SEND_BUFFER)
            .serve_connection(TokioIo::new(socket), service);
        let stopping = stopping.begun();
        let doing = Arc::clone(&activity);
        let serving = async move {
            tokio::pin!(connection);
            let age = options
                .max_connection_age
                .mul_f64(rand::random_range(JITTER));
            let grown_old = sleep(age);
            let end = sleep(Duration::MAX);
            let leave = sleep(Duration::MAX);
            tokio::pin!(grown_old, end, leave, stopping);
            let mut going = false;
            let mut look = interval_at(Instant::now() + options.call_timeout, options.call_timeout);
            look.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    served = connection.as_mut() => {
                        if let Err(error) = served {
                            let reason = std::error::Error::source(&error).map(tracing::field::display);
                            tracing::debug!(%error, reason, "a connection failed");
                        }
                        return;
                    }
                    () = &mut grown_old, if !going => {
                        going = true;
                        end.as_mut().reset(Instant::now() + options.max_connection_age_grace);
                        connection.as_mut().graceful_shutdown();
                    }
                    () = &mut stopping, if !going => {
                        going = true;
                        connection.as_mut().graceful_shutdown();
                    }
                    () = doing.asked_to_leave() => {
                        if !going {
                            going = true;
                            end.as_mut().reset(Instant::now() + options.max_connection_age_grace);
                        }
                        leave.as_mut().reset(Instant::now() + LEAVE);
                        connection.as_mut().graceful_shutdown();
                    }
                    () = &mut leave => {
                        // A call may just have arrived.
                        let has_ended = connection.as_mut().now_or_never().is_some();
                        if has_ended || doing.idle_for().is_some_and(|idle| idle >= LEAVE) {
                            tracing::debug!("an idle connection is closed to make room");
                            return;
                        }
                        leave.as_mut().reset(Instant::now() + LEAVE);
                    }
                    () = &mut end => {
                        tracing::debug!("the calls and streams of an old connection are cut off");
                        return;
                    }
                    _ = look.tick() => {
                        if share.is_stuck() {
                            tracing::debug!("a connection is closed: its client reads no answers");
                            return;
                        }
                    }
                }
            }
        };
        (serving, activity)
    }
}
