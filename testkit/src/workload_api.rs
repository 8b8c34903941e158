//! An agent of SPIFFE's Workload API, as a test plays it. It speaks by SPIFFE's own proto, and refuses calls without the
//! header that the standard wants, as SPIRE's agent does.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tokio::{
    net::UnixListener,
    runtime::{Builder, Runtime},
    sync::{mpsc, watch},
};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Code, Request, Response, Status, transport::Server};

use self::proto::{
    JwtBundlesRequest, JwtBundlesResponse, JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest,
    ValidateJwtsvidResponse, X509BundlesRequest, X509BundlesResponse, X509svid, X509svidRequest,
    X509svidResponse,
    spiffe_workload_api_server::{SpiffeWorkloadApi, SpiffeWorkloadApiServer},
};
use crate::authority::{Authority, Identity};

/// The code that is generated from SPIFFE's proto.
#[allow(missing_docs, clippy::all)]
mod proto {
    tonic::include_proto!("_");
}

/// What an agent answers to a workload.
#[derive(Clone, Debug)]
pub enum Answer {
    /// SVIDs and bundles.
    Gives(Gift),
    /// An error.
    Refuses(Code),
}

/// SVIDs and bundles.
#[derive(Clone, Debug, Default)]
pub struct Gift {
    svids: Vec<X509svid>,
    federated: Vec<(String, Vec<u8>)>,
    /// What nobody reads, to make the message larger.
    crl: Vec<u8>,
}

/// An agent at a Unix socket. It ends with the value.
pub struct PlayedAgent {
    socket: PathBuf,
    answer: watch::Sender<Answer>,
    running: Option<Runtime>,
}

impl Gift {
    /// Adds an SVID, with the authorities of its trust domain.
    #[must_use]
    pub fn svid(mut self, id: &str, identity: &Identity, authorities: &[&Authority]) -> Self {
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
        self.svids.push(X509svid {
            spiffe_id: id.to_owned(),
            x509_svid: der(&identity.certificate),
            x509_svid_key: key.secret_der().to_vec(),
            bundle: bundle(authorities),
            hint: String::new(),
        });
        self
    }

    /// Adds the authorities of a foreign trust domain.
    #[must_use]
    pub fn federated(mut self, domain: &str, authorities: &[&Authority]) -> Self {
        let id = format!("spiffe://{domain}");
        self.federated.push((id, bundle(authorities)));
        self
    }

    /// Makes the message larger by so many bytes, which nobody reads.
    #[must_use]
    pub fn padded(mut self, bytes: usize) -> Self {
        self.crl = vec![0; bytes];
        self
    }

    /// Puts other bytes into the place of the first SVID's certificate.
    #[must_use]
    pub fn with_certificate(mut self, der: &[u8]) -> Self {
        self.svids[0].x509_svid = der.to_vec();
        self
    }

    /// Puts other bytes into the place of the bundle of the first SVID's trust domain.
    #[must_use]
    pub fn with_bundle(mut self, der: &[u8]) -> Self {
        self.svids[0].bundle = der.to_vec();
        self
    }
}

fn der(pem: &str) -> Vec<u8> {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    certificate.to_vec()
}

fn bundle(authorities: &[&Authority]) -> Vec<u8> {
    authorities.iter().flat_map(|one| der(&one.pem)).collect()
}

impl PlayedAgent {
    /// Returns an agent that isn't there yet, and what it will answer.
    pub fn at(socket: &Path, answer: Answer) -> Self {
        Self {
            socket: socket.to_owned(),
            answer: watch::Sender::new(answer),
            running: None,
        }
    }

    /// Returns an agent that answers.
    pub fn started(socket: &Path, answer: Answer) -> Self {
        let mut agent = Self::at(socket, answer);
        agent.start();
        agent
    }

    /// Has it answer at its socket.
    pub fn start(&mut self) {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let runtime = runtime.unwrap();
        let entered = runtime.enter();
        fs::remove_file(&self.socket).ok();
        let listener = UnixListenerStream::new(UnixListener::bind(&self.socket).unwrap());
        drop(entered);
        let service = SpiffeWorkloadApiServer::new(Service(self.answer.subscribe()));
        let serving = Server::builder().add_service(service);
        runtime.spawn(serving.serve_with_incoming(listener));
        self.running = Some(runtime);
    }

    /// Ends it with all its connections, as if it were killed.
    pub fn stop(&mut self) {
        if let Some(runtime) = self.running.take() {
            runtime.shutdown_background();
            fs::remove_file(&self.socket).ok();
        }
    }

    /// Has it refuse those who are connected, and those who come.
    pub fn refuses(&self, code: Code) {
        self.answer.send_replace(Answer::Refuses(code));
    }

    /// Changes what it gives. Those who are connected are told at once.
    pub fn gives(&self, gift: Gift) {
        self.answer.send_replace(Answer::Gives(gift));
    }
}

impl Drop for PlayedAgent {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Service(watch::Receiver<Answer>);

type Answers<T> = Result<Response<ReceiverStream<Result<T, Status>>>, Status>;

#[tonic::async_trait]
impl SpiffeWorkloadApi for Service {
    type FetchX509SVIDStream = ReceiverStream<Result<X509svidResponse, Status>>;
    type FetchX509BundlesStream = ReceiverStream<Result<X509BundlesResponse, Status>>;
    type FetchJWTBundlesStream = ReceiverStream<Result<JwtBundlesResponse, Status>>;

    async fn fetch_x509svid(&self, request: Request<X509svidRequest>) -> Answers<X509svidResponse> {
        let header = request.metadata().get("workload.spiffe.io");
        if header.is_none_or(|value| value != "true") {
            return Err(Status::invalid_argument(
                "security header missing from request",
            ));
        }
        let mut answer = self.0.clone();
        let (answers, taken) = mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                let now = answer.borrow_and_update().clone();
                let now = match now {
                    Answer::Gives(gift) => Ok(X509svidResponse {
                        svids: gift.svids,
                        crl: vec![b"not read".to_vec(), gift.crl],
                        federated_bundles: gift.federated.into_iter().collect(),
                    }),
                    Answer::Refuses(code) => Err(Status::new(code, "played")),
                };
                let is_last = now.is_err();
                if answers.send(now).await.is_err() || is_last || answer.changed().await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(taken)))
    }

    async fn fetch_x509_bundles(
        &self,
        _: Request<X509BundlesRequest>,
    ) -> Answers<X509BundlesResponse> {
        Err(unplayed())
    }

    async fn fetch_jwtsvid(
        &self,
        _: Request<JwtsvidRequest>,
    ) -> Result<Response<JwtsvidResponse>, Status> {
        Err(unplayed())
    }

    async fn fetch_jwt_bundles(
        &self,
        _: Request<JwtBundlesRequest>,
    ) -> Answers<JwtBundlesResponse> {
        Err(unplayed())
    }

    async fn validate_jwtsvid(
        &self,
        _: Request<ValidateJwtsvidRequest>,
    ) -> Result<Response<ValidateJwtsvidResponse>, Status> {
        Err(unplayed())
    }
}

fn unplayed() -> Status {
    Status::unimplemented("the broker has no use for it")
}
