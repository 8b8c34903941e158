//! Serves one connection: HTTP/2, its limits, its age and its end.

use std::{
    convert::Infallible,
    error::Error,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
};

use futures_util::{FutureExt, future::BoxFuture};
use http::{Request, Response};
use hyper::{body::Incoming, rt::Executor, server::conn::http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;
use tonic::body::Body;

use super::{
    activity::Activity,
    begun::{Begun, Refused},
    events::{Events, Order},
    handshake::Handshakes,
    services::Shared,
    socket::{self, Outbox, Socket},
    wire::Wire,
};
use crate::{
    config::ServerOptions,
    rpc::{Admission, Limited, Stopping, admission::Share},
    types::{Peer, Source},
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
    /// What comes before HTTP/2.
    pub handshakes: Handshakes,
}

/// The service of one connection.
#[derive(Clone)]
struct Connection<S> {
    services: S,
    share: Arc<Share>,
    begun: Begun,
    peer: Arc<Peer>,
}

impl<S: Shared> hyper::service::Service<Request<Incoming>> for Connection<S> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = S::Future;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.begun.note();
        let mut request = request.map(Body::new);
        let extensions = request.extensions_mut();
        extensions.insert(Arc::clone(&self.share));
        extensions.insert(Arc::clone(&self.peer));
        self.services.clone().call(request)
    }
}

/// Runs the tasks of a connection's streams.
#[derive(Clone)]
struct Tasks;

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        tokio::spawn(Limited::new(task));
    }
}

impl<S: Shared> Entrance<S> {
    /// Returns what makes the socket of a connection from `source` the future that serves it until it ends, and what the
    /// connection is doing.
    pub fn admit(
        &self,
        source: Source,
        stopping: &Stopping,
    ) -> (
        impl FnOnce(Wire) -> BoxFuture<'static, ()> + Send + use<S>,
        Arc<Activity>,
    ) {
        let options = self.options;
        let share = self.admission.share(source);
        let activity = Activity::new(Arc::clone(&share));
        let services = self.services.clone();
        let streams = self.admission.limits().calls_of_a_connection();
        let (stopping, known) = (stopping.clone(), Arc::clone(&activity));
        let handshakes = self.handshakes.clone();
        let serve = move |wire: Wire| {
            let serving = async move {
                let begin = Instant::now() + options.call_timeout;
                wire.send_at_once();
                // In a box of its own, so that a connection needs no memory for it later.
                let ready = handshakes.done(wire, begin, &known, &stopping).boxed();
                let Some(ready) = ready.await else { return };
                let events = Events::new(options, &stopping, &known, ready.standing);
                let (begun, paused) = (Begun::default(), Arc::clone(&share));
                let service = Connection {
                    services,
                    share: Arc::clone(&share),
                    begun: begun.clone(),
                    peer: ready.peer,
                };
                let (socket, outbox) = socket::wrap(ready.transport, begin, paused);
                let connection =
                    http2(&options, streams).serve_connection(TokioIo::new(socket), service);
                let refused = begun.refused(share);
                serve(connection, outbox, refused, known, events).await;
            };
            serving.boxed()
        };
        (serve, activity)
    }
}

/// Returns how HTTP/2 is spoken, with at most `streams` calls at once.
fn http2(options: &ServerOptions, streams: usize) -> http2::Builder<Tasks> {
    let mut http2 = http2::Builder::new(Tasks);
    http2
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
        .max_send_buf_size(SEND_BUFFER);
    http2
}

/// Serves a connection until it ends.
async fn serve<S: Shared>(
    connection: http2::Connection<TokioIo<Socket>, Connection<S>, Tasks>,
    outbox: Outbox,
    mut refused: Refused,
    activity: Arc<Activity>,
    mut events: Events,
) {
    let mut connection = pin!(connection);
    let _end = EndOfSending(&activity);
    poll_fn(|cx| {
        outbox.go_on();
        loop {
            // Before the calls that have arrived: none may begin after its right has ended.
            match events.poll_next(&outbox, cx) {
                Poll::Ready(Order::GoAway) => {
                    connection.as_mut().graceful_shutdown();
                    continue;
                }
                Poll::Ready(Order::Close(why)) => {
                    tracing::debug!("a connection is closed: {why}");
                    return Poll::Ready(());
                }
                Poll::Pending => {}
            }
            let has_answers = activity.has_answers();
            if let Poll::Ready(served) = connection.as_mut().poll(cx) {
                if let Err(error) = served {
                    let reason = error.source().map(tracing::field::display);
                    tracing::debug!(%error, reason, "a connection failed");
                }
                return Poll::Ready(());
            }
            refused.note(&outbox);
            if outbox.is_held() {
                cx.waker().wake_by_ref();
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
            return Poll::Pending;
        }
    })
    .await;
    // Whatever has ended the connection, whoever had calls refused on it may come again.
    refused.note_all(&outbox);
}

/// Takes note, when it is dropped, that a connection sends nothing any more.
struct EndOfSending<'a>(&'a Activity);

impl Drop for EndOfSending<'_> {
    fn drop(&mut self) {
        self.0.note_sending(false);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::future::{Ready, ready};
    use hyper_util::rt::TokioExecutor;
    use testkit::authority::{Authority, Wanted};
    use tokio::{
        io::{AsyncRead, AsyncWrite},
        net::{TcpListener, TcpStream, UnixStream},
    };
    use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};
    use tower::Service;

    use super::*;
    use crate::types::{Address, lock};
    use crate::{
        config::Settings,
        rpc::CallLimits,
        tls::{self, ClientCertificates, ClientFiles, Tls, TlsOptions, client},
        types::Channel,
    };

    /// A service that keeps who has called.
    #[derive(Clone, Default)]
    struct Keeping(Arc<Mutex<Vec<Option<Arc<Peer>>>>>);

    impl Service<Request<Body>> for Keeping {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = Ready<Result<Response<Body>, Infallible>>;

        fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<Body>) -> Self::Future {
            let peer = request.extensions().get::<Arc<Peer>>().cloned();
            let mut kept = lock(&self.0);
            kept.push(peer);
            ready(Ok(Response::new(Body::empty())))
        }
    }

    /// Returns who the service is told has called, when `connect` makes the client's end ready.
    async fn told<C, S>(wire: Wire, tls: Option<Tls>, connect: C) -> Peer
    where
        C: Future<Output = S>,
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let admission = Admission::new(CallLimits {
            calls: 100,
            bytes: 1024,
            largest: 1024,
            of_a_tenant: None,
        });
        let keeping = Keeping::default();
        let entrance = Entrance {
            services: keeping.clone(),
            admission,
            options: Settings::default().resolve().unwrap().server,
            handshakes: Handshakes::new(tls.map(Arc::new)),
        };
        let (serve, _activity) = entrance.admit(Source::of(None), &Stopping::new());
        tokio::spawn(serve(wire));
        let stream = TokioIo::new(connect.await);
        let client = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
        let (mut sender, connection) = client.await.unwrap();
        tokio::spawn(connection);
        for _ in 0..2 {
            let request = Request::get("http://broker/").body(Body::empty()).unwrap();
            sender.send_request(request).await.unwrap();
        }
        let kept = keeping.0.lock().unwrap();
        let [Some(first), Some(second)] = &kept[..] else {
            panic!("a request has no peer");
        };
        assert!(Arc::ptr_eq(first, second));
        Peer::clone(first)
    }

    async fn tcp() -> (Wire, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (stream, peer) = accepted.unwrap();
        (Wire::Tcp(stream, peer), client.unwrap())
    }

    #[tokio::test]
    async fn each_request_tells_who_calls() {
        let (wire, client) = tcp().await;
        let own = Address::Tcp(client.local_addr().unwrap());
        let peer = told(wire, None, async { client }).await;
        assert_eq!((peer.channel, peer.certificate), (Channel::Loopback, None));
        assert_eq!(peer.address, Some(own));
        let (ours, theirs) = UnixStream::pair().unwrap();
        // The process that connected is this one.
        let own = Address::Unix {
            uid: rustix::process::getuid().as_raw(),
            pid: i32::try_from(std::process::id()).ok(),
        };
        let peer = told(Wire::Unix(ours), None, async { theirs }).await;
        assert_eq!((peer.channel, peer.certificate), (Channel::Unix, None));
        assert_eq!(peer.address, Some(own));
    }

    #[tokio::test]
    async fn over_tls_it_is_what_the_certificate_says() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        let (own, domain) = (Authority::new("own"), Authority::new("domain"));
        own.sign(&Wanted::server()).write_to(dir.path(), "server");
        std::fs::write(file("own.pem"), &own.pem).unwrap();
        std::fs::write(file("domain.pem"), &domain.pem).unwrap();
        let uris = Wanted::nobody().uri("https://a.test/").dns_name("A.test");
        own.sign(&uris).write_to(dir.path(), "named");
        let id = Wanted::nobody()
            .uri("spiffe://a.test/b")
            .dns_name("admin.test");
        domain.sign(&id).write_to(dir.path(), "workload");
        let options = TlsOptions {
            source: tls::Source::Files {
                certificate: file("server.pem"),
                key: file("server.key"),
                trust_domains: [("a.test".to_owned(), file("domain.pem"))].into(),
            },
            client_certificates: ClientCertificates::Optional,
            client_ca: Some(file("own.pem")),
        };
        let mut peers = Vec::new();
        for name in [None, Some("named"), Some("workload")] {
            let identity = name.map(|name| {
                let file = |end| file(&format!("{name}.{end}"));
                (file("pem"), file("key"))
            });
            let ca = Some(file("own.pem"));
            let config = client(&ClientFiles { ca, identity }).unwrap();
            let (wire, client) = tcp().await;
            let host = ServerName::try_from("localhost").unwrap();
            let connect = async {
                let connector = TlsConnector::from(config);
                connector.connect(host, client).await.unwrap()
            };
            let tls = Tls::load(options.clone(), Arc::default()).unwrap();
            let peer = told(wire, Some(tls), connect).await;
            assert_eq!(peer.channel, Channel::Tls);
            peers.push(peer.certificate);
        }
        let [nobody, Some(named), Some(workload)] = &peers[..] else {
            panic!("{peers:?}");
        };
        assert_eq!(*nobody, None);
        assert_eq!(named.spiffe_id, None);
        assert_eq!(named.uris, ["https://a.test/"]);
        assert_eq!(named.dns_names, ["a.test"]);
        // A trust domain vouches for no DNS name.
        let id = workload.spiffe_id.as_ref().map(ToString::to_string);
        assert_eq!(id.as_deref(), Some("spiffe://a.test/b"));
        assert!(workload.uris.is_empty() && workload.dns_names.is_empty());
    }
}
