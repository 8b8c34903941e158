//! Servers that take and give bytes, whatever they mean.

use std::{
    convert::Infallible,
    future::{Future, ready},
    pin::Pin,
    task::{Context, Poll},
};

use http::Request;
use testkit::raw_codec::Raw;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Response, Status,
    body::Body,
    codegen::{Service, http},
    server::{Grpc, NamedService},
    transport::Server,
};
use tower::service_fn;

/// A service whose calls are all answered alike.
pub trait RawService: Clone + Send + Sync + 'static {
    /// Its name, with its package.
    const NAME: &'static str;

    /// Sees a request before its message.
    fn see(&self, _: &Request<Body>) {}

    fn answer(&self, message: Vec<u8>) -> Result<Response<Vec<u8>>, Status>;
}

/// Serves until the test ends. Returns the URL.
pub async fn serve(service: impl RawService) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = Server::builder()
        .add_service(Served(service))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(serving);
    url
}

#[derive(Clone)]
struct Served<S>(S);

impl<S: RawService> NamedService for Served<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: RawService> Service<Request<Body>> for Served<S> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.0.see(&request);
        let this = self.0.clone();
        let answer = service_fn(move |request: tonic::Request<Vec<u8>>| {
            ready(this.answer(request.into_inner()))
        });
        Box::pin(async move { Ok(Grpc::new(Raw).unary(answer, request).await) })
    }
}
