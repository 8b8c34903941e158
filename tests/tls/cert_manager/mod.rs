//! The files in `deploy/hardened/cert-manager`, as `docs/tls.md` describes them. Neither a cluster nor cert-manager is at hand: the
//! test reads the manifests, and does what these would do with them.

mod agree;
mod issuer;
mod kubelet;
mod manifests;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use hyper_util::rt::TokioIo;
use testkit::{
    authority::{Authority, Wanted},
    broker_process::BrokerProcess,
    hardened::Site,
    waiting::until,
};
use token_broker::{
    proto::v1::{
        self, access_tokens_client::AccessTokensClient, token_broker_client::TokenBrokerClient,
    },
    tls::{ClientFiles, client},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};
use tower::service_fn;

use self::{
    issuer::{CertManager, is_of_workload, secret},
    kubelet::{Pod, Volume},
    manifests::{Data, Manifests, name_of, namespace_of, string},
};

const TOKEN: &str = "an-access-token";
const PATIENCE: Duration = Duration::from_secs(20);

/// What becomes of a call.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Served,
    /// By the policy.
    Denied(Code),
    /// By the handshake.
    Disconnected,
}

/// A cluster with everything in these files.
struct Cluster {
    site: Site,
    manifests: Manifests,
    cert_manager: CertManager,
    pod: Pod,
    process: BrokerProcess,
    /// Volumes of callers so far.
    callers: AtomicUsize,
}

impl Cluster {
    fn start() -> Self {
        let (site, manifests) = (Site::start(), Manifests::read());
        let cert_manager = CertManager::start(&manifests);
        let mut secrets = BTreeMap::<String, Data>::new();
        for (path, text) in site.secrets() {
            let (of, file) = path.split_once('/').unwrap();
            let data = secrets.entry(format!("token-broker-{of}")).or_default();
            data.insert(file.to_owned(), text);
        }
        for wanted in manifests
            .all("Certificate")
            .filter(|one| is_of_workload(one))
        {
            let name = string(&wanted["spec"]["secretName"]).to_owned();
            secrets.insert(name, cert_manager.issue(&manifests, wanted));
        }
        let set = manifests.named("StatefulSet", "token-broker");
        let pod = Pod::start(&site.dir.path().join("pod"), &manifests, set, &secrets);
        let config = pod.file_of("--config");
        let outside = |path: &String| pod.outside(path).to_str().unwrap().to_owned();
        let mounts = pod.volumes.keys();
        let mounts: Vec<_> = mounts.map(|path| (path.as_str(), outside(path))).collect();
        let process = site.run(&site.placed(&config, &mounts));
        Self {
            site,
            manifests,
            cert_manager,
            pod,
            process,
            callers: AtomicUsize::default(),
        }
    }

    /// Returns a new certificate that is as a `Certificate` says.
    fn issue(&self, name: &str) -> Data {
        let wanted = self.manifests.named("Certificate", name);
        self.cert_manager.issue(&self.manifests, wanted)
    }

    /// Returns how a caller connects that has this secret. It trusts whom its own `ca.crt` names.
    fn caller(&self, data: &Data) -> Arc<ClientConfig> {
        let at = self.callers.fetch_add(1, Ordering::Relaxed);
        let dir = self.site.dir.path().join(format!("caller-{at}"));
        let volume = Volume::mount(dir, 0o440, data);
        let file = |name: &str| -> PathBuf { volume.file(name) };
        client(&ClientFiles {
            ca: Some(file("ca.crt")),
            identity: data
                .contains_key("tls.key")
                .then(|| (file("tls.crt"), file("tls.key"))),
        })
        .unwrap()
    }

    /// Opens a connection to the broker, by the name of its service.
    async fn stream(&self, config: Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
        stream(self.process.address(), self.service(), config).await
    }

    fn service(&self) -> ServerName<'static> {
        let service = self.manifests.named("Service", "token-broker");
        let name = format!("{}.{}.svc", name_of(service), namespace_of(service));
        name.try_into().unwrap()
    }

    /// Connects, and counts each connection that is made.
    async fn connect(
        &self,
        config: Arc<ClientConfig>,
        connects: &Arc<AtomicUsize>,
    ) -> Result<Channel, tonic::transport::Error> {
        let (address, name, connects) =
            (self.process.address(), self.service(), Arc::clone(connects));
        let connector = service_fn(move |_| {
            connects.fetch_add(1, Ordering::Relaxed);
            let stream = stream(address, name.clone(), Arc::clone(&config));
            async move { stream.await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://broker");
        endpoint.connect_with_connector(connector).await
    }

    async fn channel(&self, data: &Data) -> Channel {
        let connected = self.connect(self.caller(data), &Arc::default()).await;
        connected.unwrap()
    }

    /// Makes the proxy's call.
    async fn answers(&self, data: &Data) -> Answer {
        let called = async {
            let connected = self.connect(self.caller(data), &Arc::default()).await;
            let Ok(channel) = connected else {
                return Answer::Disconnected;
            };
            let answer = AccessTokensClient::new(channel)
                .get_access_token(ask())
                .await;
            match answer.map_err(|status| status.code()) {
                Ok(_) => Answer::Served,
                Err(code @ (Code::Unauthenticated | Code::PermissionDenied)) => {
                    Answer::Denied(code)
                }
                // A client may learn that its certificate was refused while it calls, by one of several codes.
                Err(_) => Answer::Disconnected,
            }
        };
        timeout(PATIENCE, called).await.expect("an answer")
    }
}

async fn stream(
    address: std::net::SocketAddr,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    TlsConnector::from(config).connect(name, stream).await
}

/// What the proxy asks for, whose client the row belongs to.
fn ask() -> v1::GetAccessTokenRequest {
    v1::GetAccessTokenRequest {
        session_id: "s".to_owned(),
        provider: "okta".to_owned(),
        binding: Some(v1::Binding {
            client_id: Some("web".to_owned()),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn row() -> v1::StoreRequest {
    v1::StoreRequest {
        session_id: "s".to_owned(),
        provider: "okta".to_owned(),
        tokens: Some(v1::UpstreamTokens {
            access_token: TOKEN.to_owned(),
            user_id: "u".to_owned(),
            client_id: "web".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The test has one thread, because hyper loses calls where several share a connection that is refused (see `broker::called`).
#[tokio::test]
async fn it_serves_whom_cert_manager_gave_a_name() {
    let mut cluster = Cluster::start();
    let auth_server = cluster.channel(&cluster.issue("auth-server-caller")).await;
    let auth_server = TokenBrokerClient::new(auth_server);
    until("it stores a row", || {
        let mut auth_server = auth_server.clone();
        async move { auth_server.store(row()).await.is_ok() }
    })
    .await;
    let proxy = cluster.issue("proxy-caller");
    assert_eq!(cluster.answers(&proxy).await, Answer::Served);
    refuses_everybody_else(&cluster, &proxy).await;

    // Renewed: the certificate of the broker, and that of the authority.
    let steady = Steady::default();
    let channel = cluster.connect(cluster.caller(&proxy), &steady.connects);
    let channel = channel.await.unwrap();
    let calling = tokio::spawn(steady.clone().go_on(AccessTokensClient::new(channel)));
    steady.served_again().await;
    cluster.cert_manager.renew_authorities(&cluster.manifests);
    let renewed = cluster.issue("token-broker");
    cluster.pod.change("token-broker-tls", &renewed);
    let shown = CertificateDer::from_pem_slice(&renewed["tls.crt"]).unwrap();
    let config = cluster.caller(&proxy);
    until("the new certificate is shown", || {
        let (connected, shown) = (cluster.stream(Arc::clone(&config)), &shown);
        async move {
            let stream = connected.await.unwrap();
            let chain = stream.get_ref().1.peer_certificates();
            chain.unwrap()[0] == *shown
        }
    })
    .await;
    let renewed = cluster.issue("proxy-caller");
    assert_eq!(cluster.answers(&renewed).await, Answer::Served);
    steady.served_again().await;
    steady.over.store(true, Ordering::Relaxed);
    calling.await.unwrap();
    let connects = steady.connects.load(Ordering::Relaxed);
    assert_eq!(connects, 1, "the connection stayed");
    refuses_everybody_else(&cluster, &proxy).await;
    let log = cluster.process.log();
    assert!(!log.contains("can't be used"), "{log}");
}

/// A caller that calls all the time.
#[derive(Clone, Default)]
struct Steady {
    over: Arc<AtomicBool>,
    connects: Arc<AtomicUsize>,
    calls: Arc<AtomicUsize>,
}

impl Steady {
    /// No call may fail.
    async fn go_on(self, mut proxy: AccessTokensClient<Channel>) {
        while !self.over.load(Ordering::Relaxed) {
            let got = proxy.get_access_token(ask()).await.unwrap();
            assert_eq!(got.into_inner().token.unwrap().access_token, TOKEN);
            self.calls.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until a call has begun and ended.
    async fn served_again(&self) {
        let before = self.calls.load(Ordering::Relaxed);
        until("calls are served", || async {
            self.calls.load(Ordering::Relaxed) >= before + 2
        })
        .await;
    }
}

/// Certificates that aren't the proxy's don't do what its own does.
async fn refuses_everybody_else(cluster: &Cluster, proxy: &Data) {
    let names = |name: &str| Wanted::nobody().dns_name(name);
    let ours = &cluster.cert_manager.authorities["token-broker-ca"];
    let of_nobody = |(name, data): (&String, &Vec<u8>)| {
        (name == "ca.crt").then(|| (name.clone(), data.clone()))
    };
    // Another authority of the same name vouches for the proxy's own name.
    let foreign = Authority::new("token-broker-ca");
    let mut foreign = secret(&foreign, &foreign.sign(&names("proxy.web.svc")));
    foreign.insert("ca.crt".to_owned(), ours.pem.clone().into_bytes());
    for (who, data, answer) in [
        ("another authority's", foreign, Answer::Disconnected),
        (
            "the broker's own, which is no client's",
            cluster.issue("token-broker"),
            Answer::Disconnected,
        ),
        (
            "no certificate",
            proxy.iter().filter_map(of_nobody).collect(),
            Answer::Disconnected,
        ),
        (
            "a name that the policy doesn't know",
            secret(ours, &ours.sign(&names("other.web.svc"))),
            Answer::Denied(Code::Unauthenticated),
        ),
        (
            "a caller with another role",
            cluster.issue("console-caller"),
            Answer::Denied(Code::PermissionDenied),
        ),
    ] {
        assert_eq!(cluster.answers(&data).await, answer, "{who}");
    }
}
