//! A server whose answers tell everything, each in one place.

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    pin::Pin,
    task::{Context, Poll},
};

use http::{HeaderName, Request, Response};
use testkit::raw_codec::Raw;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Code, Status,
    body::Body,
    codegen::{Service, http},
    metadata::{MetadataMap, MetadataValue},
    server::{Grpc, NamedService, UnaryService},
    transport::{Endpoint, Server},
};

use crate::caller::{Caller, Told};

/// A place in an answer that isn't its message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Text,
    Details,
    Header,
    BinaryHeader,
    /// Of an answer that is no error.
    HeaderOfSuccess,
}

/// All of them.
pub const PLACES: [Place; 5] = [
    Place::Text,
    Place::Details,
    Place::Header,
    Place::BinaryHeader,
    Place::HeaderOfSuccess,
];

/// The server.
#[derive(Clone)]
pub struct Refusing {
    pub place: Place,
    /// What it tells.
    pub text: String,
}

impl Refusing {
    /// Starts it, and returns a caller of it.
    pub async fn caller(self, told: &Told) -> Caller {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = Server::builder()
            .add_service(self)
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serving);
        let endpoint = Endpoint::from_shared(url).unwrap();
        Caller::over(endpoint.connect_lazy(), told)
    }

    fn headers(&self) -> MetadataMap {
        let mut headers = http::HeaderMap::new();
        let name = HeaderName::from_static("x-told");
        headers.insert(name, self.text.parse().unwrap());
        MetadataMap::from_headers(headers)
    }
}

impl NamedService for Refusing {
    const NAME: &'static str = "tokenbroker.v1.TokenBroker";
}

impl Service<Request<Body>> for Refusing {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { Ok(Grpc::new(Raw).unary(this, request).await) })
    }
}

impl UnaryService<Vec<u8>> for Refusing {
    type Response = Vec<u8>;
    type Future = Ready<Result<tonic::Response<Vec<u8>>, Status>>;

    fn call(&mut self, _: tonic::Request<Vec<u8>>) -> Self::Future {
        let (code, text) = (Code::Internal, self.text.clone());
        ready(match self.place {
            Place::Text => Err(Status::new(code, text)),
            Place::Details => Err(Status::with_details(code, "", text.into_bytes().into())),
            Place::Header => Err(Status::with_metadata(code, "", self.headers())),
            Place::BinaryHeader => {
                let mut headers = MetadataMap::new();
                headers.insert_bin("x-told-bin", MetadataValue::from_bytes(text.as_bytes()));
                Err(Status::with_metadata(code, "", headers))
            }
            Place::HeaderOfSuccess => {
                let mut answer = tonic::Response::new(Vec::new());
                *answer.metadata_mut() = self.headers();
                Ok(answer)
            }
        })
    }
}
