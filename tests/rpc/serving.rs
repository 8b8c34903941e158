//! A broker that serves within the test's process, on a port of its own.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use testkit::{
    broker::rules,
    redis_tenant::RedisTenant,
    requests::{get_request, store_request, tokens},
    waiting::until,
};
use token_broker::{
    access::Guard,
    audit::{Audit, Witness},
    config::ServerOptions,
    meter::Trust,
    proto::v1::{
        self, access_tokens_client::AccessTokensClient, identities_client::IdentitiesClient,
        pending_authorizations_client::PendingAuthorizationsClient,
        token_broker_client::TokenBrokerClient,
    },
    refresh::provider::ProviderOptions,
    server::{Ready, Server, Upkeep, metrics::Metrics},
    store::{FullStore, MemoryStore},
    tokens::Rules,
    traces::Traces,
    types::Tenant,
};
use tokio::{net::TcpListener, sync::oneshot};
use tonic::transport::{Channel, Endpoint};

pub type Client = TokenBrokerClient<Channel>;

/// A tenant's store and rules, and the upkeep of its data.
pub type OfTenant<S> = (S, Rules, Box<dyn Upkeep>);

/// A broker that serves until it is dropped.
pub struct Serving {
    address: SocketAddr,
    metrics: Metrics,
    trust: Arc<Trust>,
    _stop: oneshot::Sender<()>,
}

/// Returns options that are suitable for a public service.
pub fn options() -> ServerOptions {
    ServerOptions {
        workers: Some(2),
        max_calls: 256,
        max_calls_of_tenant: None,
        max_connections: 1_000,
        max_message_bytes: 128 * 1024,
        call_timeout: Duration::from_secs(10),
        keepalive_interval: Duration::from_secs(20),
        idle_timeout: Duration::from_secs(60),
        max_bytes_in_flight: 128 * 1024 * 1024,
        max_connection_age: Duration::from_secs(3_600),
        max_connection_age_grace: Duration::from_secs(30),
        shutdown_delay: Duration::ZERO,
        shutdown_grace: Duration::from_millis(10),
    }
}

impl Serving {
    /// Starts a broker that keeps rows in memory.
    pub async fn memory() -> Self {
        Self::memory_with(options()).await
    }

    /// Like [`memory`], with other options.
    pub async fn memory_with(options: ServerOptions) -> Self {
        let tenant = "default:default".parse().unwrap();
        Self::start(tenant, MemoryStore::new(), options, async {}).await
    }

    /// Starts a broker of `tenant`.
    pub async fn redis(tenant: &RedisTenant, options: ServerOptions) -> Self {
        let store = tenant.store_with(Duration::from_secs(5));
        Self::start(tenant.name().clone(), store, options, async {}).await
    }

    /// Starts a broker that keeps rows in memory, and refreshes them at these providers.
    pub async fn refreshing(
        providers: impl IntoIterator<Item = ProviderOptions>,
        options: ServerOptions,
    ) -> Self {
        let rules = Rules {
            providers: testkit::provider::providers(providers),
            ..rules("default:default".parse().unwrap())
        };
        Self::start_with(rules, MemoryStore::new(), options, async {}).await
    }

    /// Starts a broker that keeps rows in memory, and serves whom `guard` lets in.
    pub async fn guarded(guard: Guard, options: ServerOptions) -> Self {
        let rules = rules("default:default".parse().unwrap());
        let tenant: OfTenant<_> = (MemoryStore::new(), rules, Box::new(Ready));
        Self::of_tenants(guard, [tenant], options).await
    }

    /// Starts a broker of these tenants, which serves whom `guard` lets in.
    pub async fn of_tenants<S: FullStore>(
        guard: Guard,
        tenants: impl IntoIterator<Item = OfTenant<S>>,
        options: ServerOptions,
    ) -> Self {
        Self::run(Server::new(guard, tenants, options), async {}).await
    }

    /// Like [`guarded`](Self::guarded), with an audit trail.
    pub async fn audited(guard: Guard, audit: Audit, options: ServerOptions) -> Self {
        let rules = Rules {
            witness: Witness::of(audit.clone(), Arc::new("default:default".parse().unwrap())),
            ..rules("default:default".parse().unwrap())
        };
        let tenant: OfTenant<_> = (MemoryStore::new(), rules, Box::new(Ready));
        let server = Server::new(guard, [tenant], options).audited_by(audit);
        Self::run(server, async {}).await
    }

    /// Like [`of_tenants`](Self::of_tenants) with one tenant, whose calls are traced.
    pub async fn traced<S: FullStore>(
        guard: Guard,
        tenant: OfTenant<S>,
        traces: Traces,
        options: ServerOptions,
    ) -> Self {
        let server = Server::new(guard, [tenant], options).traced_by(traces);
        Self::run(server, async {}).await
    }

    /// A broker that admits calls once `prepare` is done.
    pub async fn start<S: FullStore>(
        tenant: Tenant,
        store: S,
        options: ServerOptions,
        prepare: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let rules = Rules {
            // A machine under load needs more than usual to find out what became of a write.
            patience: Duration::from_secs(5),
            ..rules(tenant)
        };
        Self::start_with(rules, store, options, prepare).await
    }

    async fn start_with<S: FullStore>(
        rules: Rules,
        store: S,
        options: ServerOptions,
        prepare: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let guard = Guard::open(rules.tenant.clone());
        let tenant: OfTenant<_> = (store, rules, Box::new(Ready));
        Self::run(Server::new(guard, [tenant], options), prepare).await
    }

    async fn run<S: FullStore>(
        server: Server<S>,
        prepare: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let (metrics, trust) = (server.metrics(), Arc::clone(server.trust()));
        tokio::spawn(async move {
            let prepare = async {
                prepare.await;
                Ok(())
            };
            let stopped = async { _ = stopped.await };
            server.run(listener, prepare, stopped).await.unwrap();
        });
        Self {
            address,
            metrics,
            trust,
            _stop: stop,
        }
    }

    /// Returns what the broker measures, in Prometheus's text format.
    pub fn metrics(&self) -> String {
        self.metrics.encode()
    }

    /// Returns the numbers that those who guard the broker fill.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens another connection.
    pub async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        endpoint.connect().await.unwrap()
    }

    /// Returns a client with gRPC's default limits, which can make calls at once.
    pub async fn client(&self) -> Client {
        let mut client = Client::new(self.channel().await);
        until("the broker admits calls", || {
            let mut client = client.clone();
            async move {
                let user_id = "nobody".to_owned();
                client
                    .delete_user(v1::DeleteUserRequest { user_id })
                    .await
                    .is_ok()
            }
        })
        .await;
        client = client.max_decoding_message_size(4 * 1024 * 1024);
        client
    }

    /// Returns a client of `Identities`, which can make calls at once.
    pub async fn users(&self) -> IdentitiesClient<Channel> {
        self.client().await;
        IdentitiesClient::new(self.channel().await)
    }

    /// Returns a client of `PendingAuthorizations`, which can make calls at once.
    pub async fn pending(&self) -> PendingAuthorizationsClient<Channel> {
        self.client().await;
        PendingAuthorizationsClient::new(self.channel().await)
    }

    /// Returns a client of `AccessTokens`.
    pub async fn access_tokens(&self) -> AccessTokensClient<Channel> {
        AccessTokensClient::new(self.channel().await)
    }
}

/// The mark of texts that no message may repeat. Each session id, token and key of these tests
/// contains it.
pub const SECRET: &str = "xSECRETx";

/// Returns a session id that is a secret.
pub fn session(name: &str) -> String {
    format!("{name}-{SECRET}")
}

/// Returns a request that stores a row of the user `u` in `session`.
pub fn store(session: &str, provider: &str) -> v1::StoreRequest {
    let tokens = v1::UpstreamTokens {
        refresh_token: format!("rt-{SECRET}"),
        client_id: "client".to_owned(),
        upstream_subject: "subject".to_owned(),
        ..tokens(&format!("at-{SECRET}"), "u")
    };
    store_request(&self::session(session), provider, tokens)
}

pub fn get(session: &str, provider: &str) -> v1::GetRequest {
    get_request(&self::session(session), provider)
}

pub fn get_all(session: &str) -> v1::GetAllRequest {
    v1::GetAllRequest {
        session_id: self::session(session),
        binding: None,
    }
}
