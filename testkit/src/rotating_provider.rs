//! A provider that rotates refresh tokens and revokes a whole family when a token comes a second time. It knows the truth:
//! which token was redeemed how often.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use crate::token_endpoint::{Behaviour, read};

/// What the provider does with a request, beside what it is asked for.
#[derive(Clone, Debug, Default)]
pub struct Fault {
    /// How long it waits before it looks at the token.
    pub before: Duration,
    /// What it answers without looking at the token.
    pub instead: Option<Behaviour>,
    /// How long it waits before it answers. The token is redeemed already.
    pub after: Duration,
    /// What has to be true before it answers. The token is redeemed already.
    pub held: Option<watch::Receiver<bool>>,
    /// Whether the answer is lost: the connection is reset.
    pub loses_answer: bool,
    /// What it answers although the token is redeemed.
    pub answers: Option<Behaviour>,
}

/// What became of the refresh tokens of one login.
#[derive(Clone, Debug, Default)]
struct Family {
    /// The number of the refresh token that counts.
    current: u32,
    /// When the one before it was redeemed.
    redeemed_at: Option<Instant>,
    is_revoked: bool,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests.
    pub requests: usize,
    /// Refresh tokens that were redeemed for the first time.
    pub redemptions: usize,
    /// Refresh tokens that came again within the grace.
    pub repeats: usize,
    /// Refresh tokens that came again, so that their families were revoked.
    pub replays: usize,
}

/// What the provider is like.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Whether it replaces the refresh token.
    pub rotates: bool,
    /// How long the token that was redeemed last may come again.
    pub grace: Duration,
    /// How long access tokens live, in seconds. `None`: the answer doesn't say.
    pub expires_in: Option<u64>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            rotates: true,
            grace: Duration::ZERO,
            expires_in: Some(3600),
        }
    }
}

type Faults = Box<dyn Fn(usize) -> Fault + Send>;

#[derive(Default)]
struct State {
    families: HashMap<u64, Family>,
    /// How often each refresh token came.
    sent: HashMap<String, usize>,
    tally: Tally,
    faults: Option<Faults>,
    /// What it answers to a refresh token that it didn't give out.
    to_others: Option<Behaviour>,
    clients: Clients,
}

/// How the provider knows its client.
#[derive(Default)]
struct Clients {
    /// The client secrets that count. `None`: it takes anybody.
    secrets: Option<Vec<String>>,
    /// How often each secret came.
    sent: HashMap<String, usize>,
    /// How many requests were refused because of their secrets.
    refused: usize,
}

impl Clients {
    /// Notes who asks. Returns the answer to somebody who isn't known.
    fn meet(&mut self, secret: &str) -> Option<Behaviour> {
        *self.sent.entry(secret.to_owned()).or_default() += 1;
        let secrets = self.secrets.as_ref()?;
        if secrets.iter().any(|known| known == secret) {
            return None;
        }
        self.refused += 1;
        Some(Behaviour::json(401, r#"{"error":"invalid_client"}"#))
    }
}

struct Shared {
    rules: Rules,
    state: Mutex<State>,
    requests: watch::Sender<usize>,
}

/// The provider. It ends with the test.
pub struct RotatingProvider {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl RotatingProvider {
    /// Starts a provider.
    pub async fn start(rules: Rules) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            rules,
            state: Mutex::default(),
            requests: watch::Sender::new(0),
        });
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, Arc::clone(&serving)));
            }
        });
        Self {
            address,
            shared,
            task,
        }
    }

    /// Returns the URL of its token endpoint.
    pub fn url(&self) -> String {
        format!("http://{}/token", self.address)
    }

    /// Returns the address that it listens at.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns a refresh token of a new login.
    pub fn log_in(&self) -> String {
        let mut state = self.shared.state();
        let family = state.families.len() as u64;
        state.families.insert(family, Family::default());
        format!("rt-{family}-0")
    }

    /// Says what the provider does with the request of each number, from 0 on.
    pub fn fail(&self, faults: impl Fn(usize) -> Fault + Send + 'static) {
        let mut state = self.shared.state();
        state.faults = Some(Box::new(faults));
    }

    /// Says what the provider answers to refresh tokens that it didn't give out. It is `invalid_grant` otherwise.
    pub fn answer_others(&self, answer: Behaviour) {
        self.shared.state().to_others = Some(answer);
    }

    /// Says which client secrets count from now on, in the body of a request. It takes anybody otherwise.
    pub fn know(&self, secrets: &[String]) {
        self.shared.state().clients.secrets = Some(secrets.to_vec());
    }

    /// Returns how often this client secret came.
    pub fn sent_by(&self, secret: &str) -> usize {
        let state = self.shared.state();
        state.clients.sent.get(secret).copied().unwrap_or_default()
    }

    /// Returns how many requests had a client secret that didn't count.
    pub fn strangers(&self) -> usize {
        self.shared.state().clients.refused
    }

    /// Returns what happened so far.
    pub fn tally(&self) -> Tally {
        self.shared.state().tally
    }

    /// Returns how often this refresh token came.
    pub fn sent(&self, refresh_token: &str) -> usize {
        let state = self.shared.state();
        state.sent.get(refresh_token).copied().unwrap_or_default()
    }

    /// Waits until so many requests have come.
    pub async fn requested(&self, count: usize) {
        let mut requests = self.shared.requests.subscribe();
        let come = requests.wait_for(|&seen| seen >= count);
        let come = timeout(Duration::from_secs(60), come).await;
        come.expect("so many requests come").unwrap();
    }

    /// Whether an access token is the latest of a login that isn't revoked.
    pub fn accepts(&self, access_token: &str) -> bool {
        let state = self.shared.state();
        let Some((family, number)) = parse(access_token, "at-") else {
            return false;
        };
        let family = state.families.get(&family);
        family.is_some_and(|family| !family.is_revoked && family.current == number)
    }

    /// Returns how many logins are revoked.
    pub fn revoked(&self) -> usize {
        let state = self.shared.state();
        state
            .families
            .values()
            .filter(|family| family.is_revoked)
            .count()
    }
}

impl Drop for RotatingProvider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn redeem(&self, token: &str) -> Behaviour {
        let mut state = self.state();
        let State {
            families,
            tally,
            to_others,
            ..
        } = &mut *state;
        let refused = || Behaviour::json(400, r#"{"error":"invalid_grant"}"#);
        let Some((id, number)) = parse(token, "rt-") else {
            return to_others.clone().unwrap_or_else(refused);
        };
        let Some(family) = families.get_mut(&id) else {
            return refused();
        };
        if family.is_revoked {
            return refused();
        }
        if !self.rules.rotates {
            tally.redemptions += 1;
            return self.answer(id, 0, None);
        }
        if number == family.current {
            tally.redemptions += 1;
            family.current += 1;
            family.redeemed_at = Some(Instant::now());
            return self.answer(id, family.current, Some(family.current));
        }
        let within = |at: Instant| at.elapsed() < self.rules.grace;
        if number + 1 == family.current && family.redeemed_at.is_some_and(within) {
            tally.repeats += 1;
            return self.answer(id, family.current, Some(family.current));
        }
        tally.replays += 1;
        family.is_revoked = true;
        refused()
    }

    fn answer(&self, family: u64, access: u32, refresh: Option<u32>) -> Behaviour {
        let mut json = format!(r#"{{"access_token":"at-{family}-{access}","token_type":"Bearer""#);
        if let Some(refresh) = refresh {
            json += &format!(r#","refresh_token":"rt-{family}-{refresh}""#);
        }
        if let Some(life) = self.rules.expires_in {
            json += &format!(r#","expires_in":{life}"#);
        }
        json += "}";
        Behaviour::json(200, &json)
    }
}

fn parse(token: &str, prefix: &str) -> Option<(u64, u32)> {
    let (family, number) = token.strip_prefix(prefix)?.split_once('-')?;
    Some((family.parse().ok()?, number.parse().ok()?))
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let Some(request) = read(&mut stream).await else {
        return;
    };
    let token = request
        .parameter("refresh_token")
        .unwrap_or_default()
        .to_owned();
    let secret = request.parameter("client_secret").unwrap_or_default();
    let (number, fault, refused) = {
        let mut state = shared.state();
        let number = state.tally.requests;
        state.tally.requests += 1;
        *state.sent.entry(token.clone()).or_default() += 1;
        let fault = state.faults.as_ref().map(|faults| faults(number));
        let refused = state.clients.meet(secret);
        (number, fault.unwrap_or_default(), refused)
    };
    // Requests that come at once may be here in another order.
    shared
        .requests
        .send_modify(|seen| *seen = (*seen).max(number + 1));
    sleep(fault.before).await;
    let answer = match refused.or(fault.instead) {
        Some(instead) => instead,
        None => {
            let answer = shared.redeem(&token);
            fault.answers.unwrap_or(answer)
        }
    };
    sleep(fault.after).await;
    if let Some(mut held) = fault.held {
        held.wait_for(|&is_over| is_over).await.ok();
    }
    if fault.loses_answer {
        stream.set_zero_linger().unwrap();
        return;
    }
    sleep(answer.delay).await;
    stream.write_all(&answer.writes).await.ok();
    stream.shutdown().await.ok();
}
