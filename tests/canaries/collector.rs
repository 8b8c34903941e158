//! A collector of traces that keeps all bytes that it is sent, whatever they mean.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use http::{Request, Response};
use testkit::raw_codec::Raw;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Status,
    body::Body,
    codegen::{Service, http},
    server::{Grpc, NamedService, UnaryService},
    transport::Server,
};

/// The header by which the collector knows the broker, which is for nobody else.
pub const HEADER: &str = "authorization";

/// A collector.
pub struct Collector {
    /// Its address, as `traces-endpoint` has it.
    pub url: String,
    got: Arc<Mutex<Got>>,
}

#[derive(Default)]
struct Got {
    bytes: Vec<u8>,
    /// What it was shown in [`HEADER`].
    shown: Vec<Vec<u8>>,
}

impl Collector {
    /// Starts one.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let got = Arc::<Mutex<Got>>::default();
        let service = Keeping(Arc::clone(&got));
        let serving = Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serving);
        Self { url, got }
    }

    /// Returns the messages, and all headers but [`HEADER`].
    pub fn bytes(&self) -> Vec<u8> {
        self.got.lock().unwrap().bytes.clone()
    }

    /// Returns what was shown in [`HEADER`], once for each request.
    pub fn shown(&self) -> Vec<Vec<u8>> {
        self.got.lock().unwrap().shown.clone()
    }
}

/// The service, which takes everything.
#[derive(Clone)]
struct Keeping(Arc<Mutex<Got>>);

impl NamedService for Keeping {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

impl Service<Request<Body>> for Keeping {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            {
                let mut got = this.0.lock().unwrap();
                let head = format!("\n{} {}\n", request.method(), request.uri());
                got.bytes.extend_from_slice(head.as_bytes());
                for (name, value) in request.headers() {
                    if name == HEADER {
                        got.shown.push(value.as_bytes().to_vec());
                        continue;
                    }
                    got.bytes.extend_from_slice(name.as_str().as_bytes());
                    got.bytes.extend_from_slice(b": ");
                    got.bytes.extend_from_slice(value.as_bytes());
                    got.bytes.push(b'\n');
                }
            }
            Ok(Grpc::new(Raw).unary(this, request).await)
        })
    }
}

impl UnaryService<Vec<u8>> for Keeping {
    type Response = Vec<u8>;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<Vec<u8>>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<Vec<u8>>) -> Self::Future {
        self.0.lock().unwrap().bytes.extend(request.into_inner());
        // An empty message says that all was taken.
        Box::pin(async { Ok(tonic::Response::new(Vec::new())) })
    }
}
