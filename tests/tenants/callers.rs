//! The callers of the tenants.

use std::{
    fmt,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use testkit::requests::{get_request, store_request, token_request};
use token_broker::proto::v1::{
    GetAllRequest, UpstreamTokens, access_tokens_client::AccessTokensClient,
    token_broker_client::TokenBrokerClient,
};
use tonic::{Request, Status, metadata::MetadataValue, transport::Channel};

use crate::process::{Process, others, token};

/// How many of the quiet tenants call.
const CALLING: usize = 20;
/// How long each of them waits between two calls.
const PAUSE: Duration = Duration::from_millis(20);
/// How many calls wait for the provider that hangs.
const WAIT: usize = 100;

/// Returns tokens of about so many bytes.
pub fn tokens(bytes: usize) -> UpstreamTokens {
    UpstreamTokens {
        access_token: "a".repeat(bytes),
        user_id: "u".to_owned(),
        ..UpstreamTokens::default()
    }
}

/// A caller of one tenant.
#[derive(Clone)]
pub struct Client {
    tenant: String,
    channel: Channel,
}

impl Client {
    pub fn new(tenant: &str, channel: Channel) -> Self {
        Self {
            tenant: tenant.to_owned(),
            channel,
        }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let bearer = format!("Bearer {}", token(&self.tenant));
        let bearer = MetadataValue::try_from(bearer).unwrap();
        request.metadata_mut().insert("authorization", bearer);
        request
    }

    pub async fn get(&self, session: &str, provider: &str) -> Result<(), Status> {
        let request = get_request(session, provider);
        let mut client = TokenBrokerClient::new(self.channel.clone());
        client.get(self.request(request)).await.map(drop)
    }

    /// Reads all rows of a session.
    pub async fn get_all(&self, session: &str) -> Result<(), Status> {
        let request = GetAllRequest {
            session_id: session.to_owned(),
            ..GetAllRequest::default()
        };
        let mut client = TokenBrokerClient::new(self.channel.clone());
        client.get_all(self.request(request)).await.map(drop)
    }

    /// Stores a row, whose access token has expired if `expires_at` says so.
    pub async fn store(&self, session: &str, expires_at: Option<i64>) {
        let tokens = UpstreamTokens {
            refresh_token: format!("r-{session}"),
            expires_at: expires_at.map(|seconds| prost_types::Timestamp { seconds, nanos: 0 }),
            ..tokens(1_000)
        };
        self.store_of(session, "idp", tokens).await.unwrap();
    }

    /// Stores these tokens.
    pub async fn store_of(
        &self,
        session: &str,
        provider: &str,
        tokens: UpstreamTokens,
    ) -> Result<(), Status> {
        let request = store_request(session, provider, tokens);
        let mut client = TokenBrokerClient::new(self.channel.clone());
        client.store(self.request(request)).await.map(drop)
    }

    async fn access_token(&self, session: &str) -> Result<(), Status> {
        let request = token_request(session, "idp");
        let mut client = AccessTokensClient::new(self.channel.clone());
        client
            .get_access_token(self.request(request))
            .await
            .map(drop)
    }
}

/// The callers of tenants that do nothing unusual.
pub struct Quiet(Vec<Client>);

/// How the calls of the quiet tenants went.
pub struct Served {
    calls: usize,
    p50: Duration,
    pub p99: Duration,
    most: Duration,
}

impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            calls,
            p50,
            p99,
            most,
        } = self;
        write!(
            f,
            "{calls} calls, p50 {p50:.1?}, p99 {p99:.1?}, at most {most:.1?}"
        )
    }
}

impl Quiet {
    pub async fn of(process: &Process) -> Self {
        let mut clients = Vec::new();
        for tenant in others()
            .iter()
            .step_by(others().len() / CALLING)
            .take(CALLING)
        {
            clients.push(process.client(tenant).await);
        }
        Self(clients)
    }

    pub async fn store(&self) {
        join_all(self.0.iter().map(|client| client.store("s", None))).await;
    }

    /// Calls for so long. No call may fail.
    pub async fn served_for(&self, span: Duration) -> Served {
        let end = Instant::now() + span;
        let tasks = self.0.iter().cloned().map(|client| {
            tokio::spawn(async move {
                let mut took = Vec::new();
                while Instant::now() < end {
                    let begun = Instant::now();
                    client.get("s", "idp").await.unwrap();
                    took.push(begun.elapsed());
                    tokio::time::sleep(PAUSE).await;
                }
                took
            })
        });
        let tasks: Vec<_> = tasks.collect();
        let mut took = Vec::new();
        for task in tasks {
            took.extend(task.await.unwrap());
        }
        took.sort();
        let at = |percent: usize| took[took.len() * percent / 100];
        Served {
            calls: took.len(),
            p50: at(50),
            p99: at(99),
            most: *took.last().unwrap(),
        }
    }
}

/// Asks for tokens that have expired, for ever.
pub async fn wait_for_the_provider(client: Client) {
    let sessions: Vec<_> = (0..WAIT).map(|number| format!("s{number}")).collect();
    // One after the other: all at once are more than one caller may have in flight.
    for session in &sessions {
        client.store(session, Some(1)).await;
    }
    let calls = sessions.iter().map(|session| async {
        loop {
            assert!(client.access_token(session).await.is_err());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    join_all::<_>(calls).await;
}
