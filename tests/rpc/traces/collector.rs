//! A collector that takes spans by OTLP, within the test's process.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
    trace::v1::Span,
};
use prost::Message;
use token_broker::traces::{Collector, Traces, TracesOptions};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status,
    transport::{Identity, Server, ServerTlsConfig},
};

/// What a collector does with a request.
#[derive(Clone, Copy, Debug)]
pub enum Does {
    /// It takes it.
    Take,
    /// It never answers.
    Hang,
    /// It takes all spans but this many.
    RefuseSome(i64),
    /// It answers with an error.
    Fail,
    /// It answers its first request with an error, and takes the others.
    FailOnce,
}

/// A collector, which keeps what it gets.
pub struct Collecting {
    pub address: SocketAddr,
    got: Arc<Mutex<Got>>,
}

#[derive(Debug, Default)]
struct Got {
    requests: Vec<ExportTraceServiceRequest>,
    authorizations: Vec<Option<String>>,
}

struct Service {
    does: Does,
    got: Arc<Mutex<Got>>,
}

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let authorization = request.metadata().get("authorization");
        let authorization = authorization.map(|value| value.to_str().unwrap().to_owned());
        let is_first = {
            let mut got = self.got.lock().unwrap();
            got.authorizations.push(authorization);
            got.requests.push(request.into_inner());
            got.requests.len() == 1
        };
        let refused = match self.does {
            Does::FailOnce if is_first => return Err(Status::invalid_argument("no")),
            Does::Take | Does::FailOnce => None,
            Does::Hang => std::future::pending().await,
            Does::RefuseSome(rejected_spans) => Some(ExportTracePartialSuccess {
                rejected_spans,
                error_message: "too many".to_owned(),
            }),
            Does::Fail => return Err(Status::invalid_argument("no")),
        };
        Ok(Response::new(ExportTraceServiceResponse {
            partial_success: refused,
        }))
    }
}

impl Collecting {
    /// Starts a collector, over TLS if it is somebody.
    pub async fn start(does: Does, identity: Option<Identity>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let got = Arc::<Mutex<Got>>::default();
        let service = TraceServiceServer::new(Service {
            does,
            got: Arc::clone(&got),
        });
        let mut server = Server::builder();
        if let Some(identity) = identity {
            let tls = ServerTlsConfig::new().identity(identity);
            server = server.tls_config(tls).unwrap();
        }
        let serving = server
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serving);
        Self { address, got }
    }

    /// Returns options with which no call is traced unless its caller asks for it.
    pub fn options(&self) -> TracesOptions {
        options(&format!("http://{}", self.address))
    }

    /// The spans that it got, in the order in which they ended.
    pub fn spans(&self) -> Vec<Span> {
        let got = self.got.lock().unwrap();
        let resources = got
            .requests
            .iter()
            .flat_map(|request| &request.resource_spans);
        let scopes = resources.flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    /// All bytes of what it got.
    pub fn bytes(&self) -> Vec<u8> {
        let got = self.got.lock().unwrap();
        let requests = got.requests.iter();
        requests.flat_map(Message::encode_to_vec).collect()
    }

    /// What the spans are of.
    pub fn resource(&self) -> Vec<(String, String)> {
        let got = self.got.lock().unwrap();
        let resource = got.requests[0].resource_spans[0].resource.clone().unwrap();
        let attributes = resource.attributes.into_iter();
        attributes
            .map(|pair| match pair.value.unwrap().value.unwrap() {
                Value::StringValue(text) => (pair.key, text),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    /// The `authorization` of each request.
    pub fn authorizations(&self) -> Vec<Option<String>> {
        self.got.lock().unwrap().authorizations.clone()
    }
}

/// Returns options with which the spans of what callers ask for go to this address.
pub fn options(address: &str) -> TracesOptions {
    TracesOptions {
        collector: Collector::new(address, None, None).unwrap(),
        part: 0.0,
        asked: 1000,
        room: 4096,
        service: "broker".to_owned(),
        instance: Some("one".to_owned()),
    }
}

/// Sends what is there, and returns how many spans ended in which way: exported, dropped, failed.
pub async fn closed(traces: &Traces, limit: std::time::Duration) -> (u64, u64, u64) {
    traces.close(limit).await;
    let figures = traces.figures().unwrap();
    assert_eq!(figures.waiting(), 0);
    (
        figures.exported.get(),
        figures.dropped.get(),
        figures.failed.get(),
    )
}
