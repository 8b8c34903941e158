//! The configuration in `deploy/hardened`, as `docs/hardening.md` describes it, with paths and addresses of the test.

use std::{collections::BTreeSet, fs};

use testkit::{
    authority::{Authority, Identity, Wanted},
    broker_process::BrokerProcess,
    hardened::{self, CLIENT_SECRET, Site},
    private_file::write_private,
    requests::{get_request, store_request, tokens},
    security::BROKER_PASSWORD,
    waiting::until,
    workload_api::{Answer, Gift, PlayedAgent},
};
use token_broker::{
    proto::v1::{
        self, access_tokens_client::AccessTokensClient, token_broker_client::TokenBrokerClient,
    },
    tls::{ClientFiles, client},
};
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use toml::Table;
use tonic::{Code, transport::Channel};

use crate::broker::channel_to;

const TOKEN: &str = "an-access-token-of-the-hardened-broker";

/// The broker of `deploy/hardened`.
struct Hardened {
    site: Site,
    authority: Authority,
    domain: Authority,
    process: BrokerProcess,
    /// Gives the broker its certificate, if no file does. Its key isn't in any log.
    agent: Option<(PlayedAgent, Identity)>,
}

/// The configurations.
#[derive(Clone, Copy, PartialEq)]
enum Config {
    Broker,
    Spiffe,
}

impl Hardened {
    fn start(which: Config) -> Self {
        let site = Site::start();
        let (authority, domain) = (Authority::new("server ca"), Authority::new("prod.example"));
        let (dir, run) = (site.dir.path(), site.lay_out());
        let policy = hardened::file("policy.toml").to_str().unwrap().to_owned();
        let run_text = run.to_str().unwrap().to_owned();
        let mut replaced = vec![
            ("/etc/token-broker/policy.toml", policy),
            ("/run/token-broker", run_text),
        ];
        let (agent, config) = match which {
            Config::Broker => {
                let identity = authority.sign(&Wanted::server());
                write_private(&run.join("tls/tls.crt"), &identity.certificate);
                write_private(&run.join("tls/tls.key"), &identity.key);
                write_private(&run.join("spiffe/prod.example.pem"), &domain.pem);
                (None, hardened::text("broker.toml"))
            }
            Config::Spiffe => {
                let id = "spiffe://prod.example/ns/auth/sa/token-broker";
                let svid = authority.sign(&Wanted::server().uri(id));
                let gift = Gift::default().svid(id, &svid, &[&domain]);
                let socket = dir.join("agent.sock");
                let agent = PlayedAgent::started(&socket, Answer::Gives(gift));
                let socket = socket.to_str().unwrap().to_owned();
                replaced.push(("/run/spire/sockets/agent.sock", socket));
                (Some((agent, svid)), hardened::text("spiffe.toml"))
            }
        };
        let process = site.run(&site.placed(&config, &replaced));
        Self {
            site,
            authority,
            domain,
            process,
            agent,
        }
    }

    /// Connects as the workload with this SPIFFE id, or as nobody.
    async fn connect(&self, path: Option<&str>) -> Result<Channel, tonic::transport::Error> {
        let file = |name: &str| self.site.dir.path().join(name);
        fs::write(file("ca.pem"), &self.authority.pem).unwrap();
        let identity = path.map(|path| {
            let wanted = Wanted::nobody().uri(&format!("spiffe://prod.example{path}"));
            let identity: Identity = self.domain.sign(&wanted);
            identity.write_to(self.site.dir.path(), "client");
            (file("client.pem"), file("client.key"))
        });
        let files = ClientFiles {
            ca: Some(file("ca.pem")),
            identity,
        };
        channel_to(self.process.address(), client(&files).unwrap()).await
    }
}

fn get() -> v1::GetRequest {
    get_request("s", "okta")
}

/// The test has one thread, because hyper loses calls where several share a connection that is refused (see `broker::called`).
#[tokio::test]
async fn it_serves_whom_its_policy_names_and_redis_has_no_token() {
    serves_whom_its_policy_names(Config::Broker).await;
}

/// The same with certificates by the Workload API.
#[tokio::test]
async fn an_agent_gives_what_the_files_would_have() {
    serves_whom_its_policy_names(Config::Spiffe).await;
}

async fn serves_whom_its_policy_names(which: Config) {
    let hardened = Hardened::start(which);
    until("there is a certificate", || async {
        let channel = hardened.connect(Some("/ns/auth/sa/auth-server")).await;
        channel.is_ok()
    })
    .await;
    let auth_server = hardened.connect(Some("/ns/auth/sa/auth-server")).await;
    let mut auth_server = TokenBrokerClient::new(auth_server.unwrap());
    let tokens = v1::UpstreamTokens {
        client_id: "web".to_owned(),
        ..tokens(TOKEN, "u")
    };
    let store = store_request("s", "okta", tokens);
    until("it stores a row", || {
        let (mut auth_server, store) = (auth_server.clone(), store.clone());
        async move { auth_server.store(store).await.is_ok() }
    })
    .await;

    let proxy = hardened.connect(Some("/ns/web/sa/proxy")).await.unwrap();
    let refused = TokenBrokerClient::new(proxy.clone()).get(get()).await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    let ask = |client: Option<&str>| v1::GetAccessTokenRequest {
        session_id: "s".to_owned(),
        provider: "okta".to_owned(),
        binding: client.map(|client| v1::Binding {
            client_id: Some(client.to_owned()),
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut proxy = AccessTokensClient::new(proxy);
    let unbound = proxy.get_access_token(ask(None)).await;
    assert_eq!(unbound.unwrap_err().code(), Code::InvalidArgument);
    let got = proxy.get_access_token(ask(Some("web"))).await.unwrap();
    assert_eq!(got.into_inner().token.unwrap().access_token, TOKEN);

    let stranger = hardened.connect(Some("/ns/web/sa/other")).await.unwrap();
    let unknown = TokenBrokerClient::new(stranger).get(get()).await;
    assert_eq!(unknown.unwrap_err().code(), Code::Unauthenticated);
    let nobody = match hardened.connect(None).await {
        Ok(channel) => TokenBrokerClient::new(channel).get(get()).await.is_ok(),
        Err(_) => false,
    };
    assert!(!nobody, "a certificate is required");

    let server = &hardened.site.redis.server;
    let (mut redis, at) = (server.raw(), "thv:auth:{t-hardened:conf}:upstream:s:okta");
    let row: String = redis::cmd("GET").arg(at).query(&mut redis).unwrap();
    assert!(
        !row.contains(TOKEN) && row.contains("\"user_id\":\"u\""),
        "sealed"
    );
    // What somebody plants isn't served.
    let planted = format!(
        r#"{{"provider_id":"okta","access_token":"{TOKEN}","user_id":"u","client_id":"web"}}"#
    );
    let set = redis::cmd("SET").arg(at).arg(planted).exec(&mut redis);
    set.unwrap();
    let planted = auth_server.get(get()).await.unwrap_err();
    assert_eq!(planted.code(), Code::DataLoss);

    let audit = fs::read_to_string(hardened.site.dir.path().join("audit.jsonl")).unwrap();
    assert!(
        audit.contains(r#""caller":"web-proxy""#),
        "the proxy's calls are told"
    );
    let log = hardened.process.ended().await.log + &audit;
    for secret in [TOKEN, BROKER_PASSWORD, CLIENT_SECRET] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    if let Some((_, svid)) = &hardened.agent {
        let key = PrivateKeyDer::from_pem_slice(svid.key.as_bytes()).unwrap();
        // The secret of a P-256 key lies from byte 36 on.
        let part = &key.secret_der()[36..48];
        let hex: String = part.iter().map(|byte| format!("{byte:02x}")).collect();
        let decimal = format!("{part:?}");
        let escaped = part.escape_ascii().to_string();
        for form in [&hex, decimal.trim_matches(['[', ']']), &escaped] {
            assert!(!log.contains(form), "the key is in the log");
        }
    }
}

/// Returns the settings in which a configuration differs from `broker.toml`.
fn differs(name: &str) -> Vec<String> {
    let settings = |name: &str| hardened::text(name).parse::<Table>().unwrap();
    let (plain, other) = (settings("broker.toml"), settings(name));
    let all: BTreeSet<_> = plain.keys().chain(other.keys()).collect();
    let differing = all
        .into_iter()
        .filter(|key| plain.get(*key) != other.get(*key));
    differing.cloned().collect()
}

/// What one configuration says isn't said of another one by mistake.
#[test]
fn configurations_differ_in_what_they_say() {
    let certificates = [
        "spiffe-workload-api",
        "tls-cert",
        "tls-key",
        "trust-domains",
    ];
    assert_eq!(differs("spiffe.toml"), certificates);
    let authorities = ["client-ca", "memory-lock", "trust-domains"];
    assert_eq!(differs("cert-manager/broker.toml"), authorities);
    let without = |name: &str, credential: &str| {
        let mut policy: Table = hardened::text(name).parse().unwrap();
        for (_, caller) in policy["callers"].as_table_mut().unwrap() {
            caller.as_table_mut().unwrap().remove(credential).unwrap();
        }
        policy
    };
    assert_eq!(
        without("policy.toml", "spiffe-ids"),
        without("cert-manager/policy.toml", "dns-names")
    );
}
