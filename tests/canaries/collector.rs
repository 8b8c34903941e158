//! A collector of traces that keeps all bytes that it is sent, whatever they mean.

use std::sync::{Arc, Mutex};

use http::Request;
use tonic::{Response, Status, body::Body, codegen::http};

use crate::raw_service::{RawService, serve};

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
        let got = Arc::<Mutex<Got>>::default();
        let url = serve(Keeping(Arc::clone(&got))).await;
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

impl RawService for Keeping {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";

    fn see(&self, request: &Request<Body>) {
        let mut got = self.0.lock().unwrap();
        let head = format!("\n{} {}\n", request.method(), request.uri());
        got.bytes.extend_from_slice(head.as_bytes());
        for (name, value) in request.headers() {
            if name == HEADER {
                got.shown.push(value.as_bytes().to_vec());
                continue;
            }
            let line = [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\n"];
            got.bytes.extend(line.concat());
        }
    }

    fn answer(&self, message: Vec<u8>) -> Result<Response<Vec<u8>>, Status> {
        self.0.lock().unwrap().bytes.extend(message);
        // An empty message says that all was taken.
        Ok(Response::new(Vec::new()))
    }
}
