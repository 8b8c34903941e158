//! A broker that has its certificates from an agent of SPIFFE's Workload API.

use std::{fs, path::PathBuf, sync::Arc};

use tempfile::TempDir;
use testkit::{
    authority::{Authority, Identity, Wanted},
    broker_process::BrokerProcess,
    waiting::until,
    workload_api::{Answer, Gift, PlayedAgent},
};
use token_broker::{
    proto::v1::token_broker_client::TokenBrokerClient,
    tls::{ClientFiles, client},
};
use tokio_rustls::rustls::ClientConfig;
use tonic::transport::Channel;

use crate::broker::{called, channel_to, stream};

/// The id of the broker.
pub const ID: &str = "spiffe://prod.test/broker";

/// A broker, its agent, and the authorities of two trust domains: its own and one that it is federated with.
pub struct Spiffe {
    pub process: BrokerProcess,
    pub agent: PlayedAgent,
    pub prod: Authority,
    pub partner: Authority,
    dir: TempDir,
}

impl Spiffe {
    /// Starts a broker whose agent gives it an identity and both bundles.
    pub async fn start(args: &[&str]) -> Self {
        let spiffe = Self::before_serving(args, |gift, agent| {
            agent.gives(gift);
            agent.start();
        });
        until("it serves", || async {
            spiffe.serves("spiffe://prod.test/proxy").await.is_ok()
        })
        .await;
        spiffe
    }

    /// Starts a broker whose agent isn't there until `prepare` starts it.
    pub fn before_serving(args: &[&str], prepare: impl FnOnce(Gift, &mut PlayedAgent)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (prod, partner) = (Authority::new("prod"), Authority::new("partner"));
        let socket = dir.path().join("agent.sock");
        let mut agent = PlayedAgent::at(&socket, Answer::Gives(Gift::default()));
        let gift = gift(&prod, &partner);
        agent.gives(gift.clone());
        prepare(gift, &mut agent);
        let socket = format!("unix://{}", socket.display());
        let mut all = vec!["--spiffe-workload-api", &socket];
        all.extend(args);
        Self {
            process: BrokerProcess::start(&all),
            agent,
            prod,
            partner,
            dir,
        }
    }

    /// Returns what the agent usually gives, with a new SVID.
    pub fn gift(&self) -> Gift {
        gift(&self.prod, &self.partner)
    }

    /// Returns how the workload with this id connects, as its own domain vouches for it.
    pub fn config(&self, id: &str) -> Arc<ClientConfig> {
        let authority = match id.starts_with("spiffe://partner.test/") {
            true => &self.partner,
            false => &self.prod,
        };
        self.config_with(&authority.sign(&Wanted::nobody().uri(id)))
    }

    /// Returns how a client connects that shows this certificate.
    pub fn config_with(&self, identity: &Identity) -> Arc<ClientConfig> {
        let file = |name: &str| -> PathBuf { self.dir.path().join(name) };
        let name = format!("client-{}", rand::random::<u64>());
        identity.write_to(self.dir.path(), &name);
        fs::write(file("ca.pem"), &self.prod.pem).unwrap();
        let identity = (file(&format!("{name}.pem")), file(&format!("{name}.key")));
        let files = ClientFiles {
            ca: Some(file("ca.pem")),
            identity: Some(identity),
        };
        client(&files).unwrap()
    }

    /// Connects, and returns a client that connects again when its connection has ended.
    pub async fn client(
        &self,
        config: Arc<ClientConfig>,
    ) -> Result<TokenBrokerClient<Channel>, tonic::transport::Error> {
        let channel = channel_to(self.process.address(), config).await;
        channel.map(TokenBrokerClient::new)
    }

    /// Makes one call as the workload with this id. Returns why it isn't served.
    pub async fn serves(&self, id: &str) -> Result<(), String> {
        self.serves_with(self.config(id)).await
    }

    /// Makes one call on a connection of its own. Returns why it isn't served.
    pub async fn serves_with(&self, config: Arc<ClientConfig>) -> Result<(), String> {
        called(self.process.address(), config).await
    }

    /// Returns the certificate that the broker shows now, or `None` if it shows none.
    pub async fn shown(&self) -> Option<Vec<u8>> {
        let config = self.config("spiffe://prod.test/looker");
        let stream = stream(self.process.address(), config).await.ok()?;
        let chain = stream.get_ref().1.peer_certificates()?;
        Some(chain[0].to_vec())
    }

    /// Waits until the log has this text.
    pub async fn logs(&self, text: &str) {
        self.process.tells(text).await;
    }
}

/// Returns a certificate for the broker.
pub fn broker_svid(authority: &Authority) -> Identity {
    authority.sign(&Wanted::server().uri(ID))
}

fn gift(prod: &Authority, partner: &Authority) -> Gift {
    Gift::default()
        .svid(ID, &broker_svid(prod), &[prod])
        .federated("partner.test", &[partner])
}
