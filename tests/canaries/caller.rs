//! Calls of any RPC with any bytes, and what their callers are told when they fail.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use testkit::{authority::Identity, requests::send};
use token_broker::tls::{ClientFiles, client};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};
use tonic::{
    Request, Status,
    metadata::{KeyAndValueRef, MetadataMap, MetadataValue},
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;
use tower::service_fn;

/// What callers were told, by all of them.
#[derive(Clone, Default)]
pub struct Told(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    errors: Vec<u8>,
    /// How each RPC ended, by the names of its codes and reasons.
    ends: BTreeMap<String, BTreeSet<String>>,
    /// The reasons of all errors, as they are on the wire.
    reasons: BTreeSet<String>,
    /// How the last call failed.
    last: Option<Status>,
}

impl Told {
    /// Returns everything but the messages of answers: errors whole, with their details, and all headers.
    pub fn errors(&self) -> Vec<u8> {
        self.0.lock().unwrap().errors.clone()
    }

    /// Returns the reasons of all errors.
    pub fn reasons(&self) -> BTreeSet<String> {
        self.0.lock().unwrap().reasons.clone()
    }

    /// Returns how each RPC ended.
    pub fn ends(&self) -> BTreeMap<String, BTreeSet<String>> {
        self.0.lock().unwrap().ends.clone()
    }

    /// Returns how the call failed that failed last.
    pub fn last(&self) -> Option<Status> {
        self.0.lock().unwrap().last.clone()
    }

    fn note(&self, rpc: &str, end: String, bytes: Vec<u8>) {
        let mut state = self.0.lock().unwrap();
        state.errors.extend(bytes);
        state.ends.entry(rpc.to_owned()).or_default().insert(end);
    }
}

/// A caller.
#[derive(Clone)]
pub struct Caller {
    channel: Channel,
    authorization: Option<String>,
    told: Told,
}

impl Caller {
    /// Connects over TLS, with a certificate if there is one.
    pub async fn connect(
        address: std::net::SocketAddr,
        (ca, identity): (PathBuf, Option<&Identity>),
        told: &Told,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let own = |end: &str| dir.path().join(format!("own.{end}"));
        let files = ClientFiles {
            ca: Some(ca),
            identity: identity.map(|identity| {
                identity.write_to(dir.path(), "own");
                (own("pem"), own("key"))
            }),
        };
        let config = client(&files).unwrap();
        let connect = service_fn(move |_| {
            let config = Arc::clone(&config);
            async move {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                let name = ServerName::try_from("localhost").unwrap();
                let stream = TlsConnector::from(config).connect(name, stream).await?;
                Ok::<_, std::io::Error>(TokioIo::new(stream))
            }
        });
        let endpoint = Endpoint::from_static("http://broker");
        Self::over(endpoint.connect_with_connector_lazy(connect), told)
    }

    /// Returns a caller with this connection.
    pub fn over(channel: Channel, told: &Told) -> Self {
        Self {
            channel,
            authorization: None,
            told: told.clone(),
        }
    }

    /// Returns the same caller, who shows this in its header `authorization`.
    pub fn showing(&self, authorization: &str) -> Self {
        Self {
            authorization: Some(authorization.to_owned()),
            ..self.clone()
        }
    }

    /// Returns the same caller, who notes elsewhere what it is told.
    pub fn telling(&self, told: &Told) -> Self {
        Self {
            told: told.clone(),
            ..self.clone()
        }
    }

    /// Calls an RPC, such as `TokenBroker/Get`.
    pub async fn call(&self, rpc: &str, message: Vec<u8>, within: Duration) -> Option<Vec<u8>> {
        self.call_with(rpc, message, within, &[]).await
    }

    /// Calls an RPC with more headers.
    pub async fn call_with(
        &self,
        rpc: &str,
        message: Vec<u8>,
        within: Duration,
        headers: &[(&'static str, &str)],
    ) -> Option<Vec<u8>> {
        let mut request = Request::new(message);
        request.set_timeout(within);
        let own = self.authorization.iter();
        let own = own.map(|shown| ("authorization", shown.as_str()));
        for (name, value) in own.chain(headers.iter().copied()) {
            let value = MetadataValue::try_from(value).unwrap();
            request.metadata_mut().insert(name, value);
        }
        match send(self.channel.clone(), rpc, request).await {
            Ok(answer) => {
                let headers = bytes_of(answer.metadata());
                self.told.note(rpc, "OK".to_owned(), headers);
                Some(answer.into_inner())
            }
            Err(status) => {
                let mut bytes = format!("{status}\n{status:?}\n").into_bytes();
                bytes.extend_from_slice(status.message().as_bytes());
                bytes.push(b'\n');
                // tonic has decoded them.
                bytes.extend_from_slice(status.details());
                bytes.extend(bytes_of(status.metadata()));
                self.told.note(rpc, format!("{:?}", status.code()), bytes);
                let mut state = self.told.0.lock().unwrap();
                let info = status.get_details_error_info();
                state.reasons.extend(info.map(|info| info.reason));
                state.last = Some(status);
                None
            }
        }
    }
}

fn bytes_of(metadata: &MetadataMap) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in metadata.iter() {
        let (name, value) = match entry {
            KeyAndValueRef::Ascii(name, value) => {
                (name.as_str(), value.as_encoded_bytes().to_vec())
            }
            KeyAndValueRef::Binary(name, value) => {
                (name.as_str(), value.to_bytes().unwrap().to_vec())
            }
        };
        bytes.extend_from_slice(format!("\n{name}: ").as_bytes());
        bytes.extend(value);
    }
    bytes.push(b'\n');
    bytes
}
