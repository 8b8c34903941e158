//! Three broker processes, and calls that are all under way before Redis answers the first of them.

use std::collections::BTreeMap;

use testkit::{
    broker_process::BrokerProcess, deployment::Deployment, redis_server::RedisServer,
    waiting::until,
};
use token_broker::proto::v1::{
    ConsumeRequest, CreateRequest, ResolveUserRequest, identities_client::IdentitiesClient,
    pending_authorizations_client::PendingAuthorizationsClient,
    token_broker_client::TokenBrokerClient,
};
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt;

/// How many connections the callers of a broker have.
const CONNECTIONS: usize = 4;

/// A broker process and connections to it.
pub struct Broker {
    process: BrokerProcess,
    channels: Vec<Channel>,
}

impl Broker {
    /// Starts a broker on the Redis that these settings lead to.
    pub async fn start(settings: &[String], more: &[&str]) -> Self {
        let mut args = vec![
            "--backend=redis",
            "--metrics-listen=127.0.0.1:0",
            "--max-calls=4000",
            "--call-timeout=30s",
        ];
        args.extend(settings.iter().map(String::as_str));
        args.extend(more);
        let process = BrokerProcess::start(&args);
        process.serving().await;
        let mut channels = Vec::new();
        for _ in 0..CONNECTIONS {
            channels.push(process.connect().await);
        }
        Self { process, channels }
    }

    pub fn identities(&self) -> IdentitiesClient<Channel> {
        IdentitiesClient::new(self.channels[0].clone())
    }

    pub fn rows(&self) -> TokenBrokerClient<Channel> {
        TokenBrokerClient::new(self.channels[0].clone())
    }

    pub fn pending(&self) -> PendingAuthorizationsClient<Channel> {
        PendingAuthorizationsClient::new(self.channels[0].clone())
    }

    /// Returns the process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Returns how many calls are under way.
    fn in_flight(&self) -> u64 {
        let figure = self.process.metric("token_broker_calls_in_flight ");
        figure.unwrap()
    }
}

/// Three brokers of one tenant.
pub struct Brokers(pub Vec<Broker>);

impl Brokers {
    /// Starts brokers on this deployment.
    pub async fn on(deployment: &impl Deployment, more: &[&str]) -> Self {
        Self::with(&settings(deployment), more).await
    }

    /// Starts brokers whose Redis is behind a proxy on this port.
    pub async fn behind(port: u16, more: &[&str]) -> Self {
        Self::with(&[at_port(port)], more).await
    }

    async fn with(settings: &[String], more: &[&str]) -> Self {
        let start = || Broker::start(settings, more);
        let (a, b, c) = tokio::join!(start(), start(), start());
        Self(vec![a, b, c])
    }

    /// Makes calls through all brokers, and holds `servers` until all of them are under way. Returns what they were answered.
    pub async fn crowd<T: Send + 'static, F>(
        &self,
        servers: &[&RedisServer],
        calls: usize,
        call: impl Fn(usize, Channel) -> F,
    ) -> Vec<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        servers.iter().for_each(|server| server.pause());
        let crowd = self.spawn(calls, call);
        until("all calls are under way", async || {
            let mut under_way = 0;
            for broker in &self.0 {
                under_way += broker.in_flight();
            }
            under_way == calls as u64
        })
        .await;
        servers.iter().for_each(|server| server.resume());
        crowd.await
    }

    /// Makes calls through all brokers as fast as that goes. Returns what they were answered.
    pub async fn rush<T: Send + 'static, F>(
        &self,
        calls: usize,
        call: impl Fn(usize, Channel) -> F,
    ) -> Vec<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        self.spawn(calls, call).await
    }

    /// Begins calls, whose answers come in their order.
    fn spawn<T: Send + 'static, F>(
        &self,
        calls: usize,
        call: impl Fn(usize, Channel) -> F,
    ) -> impl Future<Output = Vec<T>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let begin = |number: usize| {
            let broker = &self.0[number % self.0.len()];
            let channel = &broker.channels[number / self.0.len() % CONNECTIONS];
            tokio::spawn(call(number, channel.clone()))
        };
        let begun: Vec<_> = (0..calls).map(begin).collect();
        async {
            let mut answers = Vec::with_capacity(begun.len());
            for call in begun {
                answers.push(call.await.unwrap());
            }
            answers
        }
    }

    /// Returns the broker of this number.
    pub fn one(&self, number: usize) -> &Broker {
        &self.0[number]
    }
}

/// Returns the arguments by which a broker reaches the servers.
pub fn settings(deployment: &impl Deployment) -> Vec<String> {
    let settings = deployment.settings().into_iter();
    settings
        .map(|(name, value)| format!("--{name}={value}"))
        .collect()
}

/// Returns the argument by which a broker reaches a Redis on this port.
pub fn at_port(port: u16) -> String {
    format!("--redis-url=redis://127.0.0.1:{port}/0")
}

/// Answers of Redis may be held for a while, without that a broker gives up.
pub const PATIENT: [&str; 2] = ["--redis-timeout=20s", "--redis-connect-timeout=20s"];

/// Returns the answers and how often each came: `OK`, or the reason of an error.
pub fn tally<T>(answers: &[Result<T, Status>]) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for answer in answers {
        let word = match answer {
            Ok(_) => "OK".to_owned(),
            Err(status) => reason(status),
        };
        *tally.entry(word).or_default() += 1;
    }
    tally
}

/// Returns the reason of an error, or its code if it has none.
pub fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    match details.error_info() {
        Some(info) => info.reason.clone(),
        None => format!("{:?}", status.code()),
    }
}

/// Returns a tally.
pub fn counts<const N: usize>(counts: [(&str, usize); N]) -> BTreeMap<String, usize> {
    let counts = counts.into_iter().filter(|(_, count)| *count > 0);
    counts
        .map(|(word, count)| (word.to_owned(), count))
        .collect()
}

/// Calls `ResolveUser`. Returns the user's id and whether this call made it.
pub async fn resolve(
    channel: Channel,
    provider: &str,
    subject: &str,
) -> Result<(String, bool), Status> {
    let request = ResolveUserRequest {
        provider: provider.to_owned(),
        provider_subject: subject.to_owned(),
    };
    let answer = IdentitiesClient::new(channel).resolve_user(request).await?;
    let answer = answer.into_inner();
    Ok((answer.user_id, answer.created))
}

/// Returns a pending authorization at `okta`.
pub fn pending(state: &str, client: &str) -> CreateRequest {
    CreateRequest {
        state: state.to_owned(),
        provider: "okta".to_owned(),
        session_id: format!("session of {state}"),
        client_id: client.to_owned(),
        payload: b"verifier".to_vec(),
        ..CreateRequest::default()
    }
}

/// Calls `Consume`. Returns the session.
pub async fn consume(
    channel: Channel,
    state: &str,
    provider: Option<&str>,
) -> Result<String, Status> {
    let request = ConsumeRequest {
        state: state.to_owned(),
        provider: provider.map(str::to_owned),
    };
    let answer = PendingAuthorizationsClient::new(channel)
        .consume(request)
        .await?;
    Ok(answer.into_inner().session_id)
}

/// Whether a call may be repeated after this error.
pub fn is_unavailable(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded)
}

impl Broker {
    /// Returns a connection.
    pub fn channel(&self) -> Channel {
        self.channels[0].clone()
    }
}
