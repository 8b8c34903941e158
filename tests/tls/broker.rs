//! A broker that serves TLS, and its clients.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use testkit::{
    authority::{Authority, Identity, Wanted},
    broker_process::BrokerProcess,
    requests::get_request,
    waiting::until,
};
use token_broker::{
    proto::v1::{self, token_broker_client::TokenBrokerClient},
    tls::{ClientFiles, client},
};
use tokio::{net::TcpStream, runtime, task::spawn_blocking, time::timeout};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore, SupportedProtocolVersion,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    },
};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tower::service_fn;

use crate::raw::Heedless;

/// For how long a client waits at most. Much more than a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// The files of a broker, in a directory that is swapped as Kubernetes does it: `now` leads to the directory in force.
pub struct Files {
    dir: TempDir,
    generation: u32,
}

impl Files {
    /// Makes the first directory, which `fill` fills.
    pub fn new(fill: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut files = Self { dir, generation: 0 };
        files.swap(fill);
        files
    }

    /// Makes another directory, and swaps the link in one step.
    pub fn swap(&mut self, fill: impl FnOnce(&Path)) {
        self.generation += 1;
        let name = format!("generation-{}", self.generation);
        let (dir, link) = (self.dir.path().join(&name), self.dir.path().join("link"));
        fs::create_dir(&dir).unwrap();
        fill(&dir);
        symlink(name, &link).unwrap();
        fs::rename(link, self.dir.path().join("now")).unwrap();
    }

    /// Returns the path of a file that is in force.
    pub fn path(&self, name: &str) -> String {
        let path = self.dir.path().join("now").join(name);
        path.to_str().unwrap().to_owned()
    }
}

/// A broker, with the authority that signed its certificate.
pub struct Broker {
    pub process: BrokerProcess,
    pub files: Files,
    /// Vouches for the broker.
    pub authority: Authority,
    /// Vouches for clients.
    pub clients: Authority,
    clients_dir: TempDir,
}

impl Broker {
    /// Starts a broker that wants certificates of [`clients`](Self::clients), with these arguments in addition.
    pub async fn start(args: &[&str]) -> Self {
        Self::with_domains(&[], args).await
    }

    /// Starts a broker that also takes SPIFFE ids of these trust domains.
    pub async fn with_domains(domains: &[(&str, &Authority)], args: &[&str]) -> Self {
        let broker = Self::with_domains_serving(domains, args).await;
        let good = broker.good();
        until("a good client is served", || async {
            broker.serves(Some(&good)).await.is_ok()
        })
        .await;
        broker
    }

    /// Like [`with_domains`](Self::with_domains), where a good client may be refused by a policy.
    pub async fn with_domains_serving(domains: &[(&str, &Authority)], args: &[&str]) -> Self {
        let (authority, clients) = (Authority::new("server ca"), Authority::new("client ca"));
        let files = Files::new(|dir| {
            authority.sign(&Wanted::server()).write_to(dir, "server");
            fs::write(dir.join("clients.pem"), &clients.pem).unwrap();
            for (name, domain) in domains {
                fs::write(dir.join(format!("{name}.pem")), &domain.pem).unwrap();
            }
        });
        let mut all: Vec<String> = ["--tls-cert", &files.path("server.pem")]
            .map(String::from)
            .to_vec();
        all.extend(["--tls-key", &files.path("server.key")].map(String::from));
        all.extend(["--client-ca", &files.path("clients.pem")].map(String::from));
        for (name, _) in domains {
            let domain = format!("{name}={}", files.path(&format!("{name}.pem")));
            all.extend(["--trust-domains".to_owned(), domain]);
        }
        all.extend(args.iter().map(|arg| (*arg).to_owned()));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let broker = Self {
            process: BrokerProcess::start(&all),
            files,
            authority,
            clients,
            clients_dir: tempfile::tempdir().unwrap(),
        };
        let health = HealthClient::new(broker.channel(&broker.good()).await);
        until("it serves", || {
            let mut health = health.clone();
            async move {
                let asked = health.check(HealthCheckRequest::default()).await;
                asked.is_ok_and(|answer| answer.into_inner().status() == ServingStatus::Serving)
            }
        })
        .await;
        broker
    }

    /// Returns how a client connects that shows this certificate.
    pub fn config(&self, identity: Option<&Identity>) -> Arc<ClientConfig> {
        let dir = self.clients_dir.path();
        let ca = dir.join("ca.pem");
        fs::write(&ca, &self.authority.pem).unwrap();
        let identity = identity.map(|identity| {
            let name = format!("client-{}", rand::random::<u64>());
            identity.write_to(dir, &name);
            let file = |end: &str| -> PathBuf { dir.join(format!("{name}.{end}")) };
            (file("pem"), file("key"))
        });
        client(&ClientFiles {
            ca: Some(ca),
            identity,
        })
        .unwrap()
    }

    /// Returns how a client connects that speaks one version of TLS, and offers these protocols.
    pub fn config_of(
        &self,
        identity: &Identity,
        version: &'static SupportedProtocolVersion,
        protocols: &[&[u8]],
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let pem = self.authority.pem.as_bytes();
        roots
            .add(CertificateDer::from_pem_slice(pem).unwrap())
            .unwrap();
        let chain = vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|one| one.to_vec()).collect();
        config
    }

    /// Returns a good client's certificate.
    pub fn good(&self) -> Identity {
        self.clients.sign(&Wanted::nobody().dns_name("caller.test"))
    }

    /// Opens a connection, which has no HTTP/2 yet.
    pub async fn stream(&self, config: Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
        stream(self.process.address(), config).await
    }

    /// Opens a connection of a client that ignores what it is told.
    pub async fn heedless(&self, config: Arc<ClientConfig>) -> Heedless<TlsStream<TcpStream>> {
        heedless(self.process.address(), config).await
    }

    /// Connects, and returns a client that connects again when its connection has ended.
    pub async fn client(
        &self,
        config: Arc<ClientConfig>,
    ) -> Result<TokenBrokerClient<Channel>, tonic::transport::Error> {
        self.connect(config).await.map(TokenBrokerClient::new)
    }

    /// Connects with a good certificate.
    async fn channel(&self, identity: &Identity) -> Channel {
        self.connect(self.config(Some(identity))).await.unwrap()
    }

    async fn connect(&self, config: Arc<ClientConfig>) -> Result<Channel, tonic::transport::Error> {
        channel_to(self.process.address(), config).await
    }

    /// Makes one call as this client. Returns why it isn't served.
    ///
    /// # Panics
    /// Panics if it is neither served nor refused.
    pub async fn serves(&self, identity: Option<&Identity>) -> Result<(), String> {
        called(self.process.address(), self.config(identity)).await
    }
}

/// Makes one call on a connection of its own. Returns why it isn't served.
///
/// The client has one thread. With several, hyper loses a call for good that one thread hands to it in the moment in which another
/// one ends the connection (hyper, issue 4122), as when a broker refuses a certificate.
///
/// # Panics
/// Panics if it is neither served nor refused.
pub async fn called(address: SocketAddr, config: Arc<ClientConfig>) -> Result<(), String> {
    let called = async move {
        let channel = channel_to(address, config).await;
        let mut client = TokenBrokerClient::new(channel.map_err(|error| format!("{error:?}"))?);
        served(client.get(request()).await.map(drop))
    };
    let on_one_thread = move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        runtime
            .unwrap()
            .block_on(async { timeout(PATIENCE, called).await })
    };
    let called = spawn_blocking(on_one_thread).await.unwrap();
    called.expect("a call is served or refused")
}

/// Connects to a broker over TLS.
pub async fn channel_to(
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> Result<Channel, tonic::transport::Error> {
    let connect = service_fn(move |_| {
        let config = Arc::clone(&config);
        async move { stream(address, config).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://broker");
    endpoint.connect_with_connector(connect).await
}

/// Opens a connection, which has no HTTP/2 yet.
pub async fn stream(
    address: std::net::SocketAddr,
    config: Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(config).connect(name, stream).await
}

/// Opens a connection of a client that ignores what it is told.
///
/// # Panics
/// Panics if the broker doesn't accept it.
pub async fn heedless(
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> Heedless<TlsStream<TcpStream>> {
    Heedless::begin(stream(address, config).await.unwrap()).await
}

/// Returns a call that changes nothing.
pub fn request() -> v1::GetRequest {
    get_request("s", "p")
}

/// Whether the broker itself answered such a call.
pub fn served(answer: Result<(), Status>) -> Result<(), String> {
    match answer {
        Err(status) if status.code() == Code::NotFound => Ok(()),
        other => Err(format!("{other:?}")),
    }
}
