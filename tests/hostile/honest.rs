//! Honest clients, who call at a steady rate, and what they saw.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use token_broker::proto::v1::token_broker_client::TokenBrokerClient;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tonic::{Status, transport::Channel};
use tonic_types::StatusExt;

use crate::target::{SMALL, Target, get, get_all, store};

/// How many connections the honest clients have.
const CONNECTIONS: usize = 4;

/// What honest clients saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// How long each answered call took, in ascending order.
    pub took: Vec<Duration>,
    /// How many calls were refused as `OVERLOADED`.
    pub overloaded: usize,
    /// The other errors.
    pub errors: Vec<String>,
}

impl Seen {
    /// Returns the time within which this share of the answered calls was answered.
    pub fn quantile(&self, share: f64) -> Duration {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index"
        )]
        let at = (self.took.len() as f64 * share) as usize;
        let last = self.took.last().copied();
        self.took.get(at).copied().or(last).unwrap_or(Duration::MAX)
    }

    /// Returns a line of figures.
    pub fn line(&self) -> String {
        let ms = |share| self.quantile(share).as_secs_f64() * 1e3;
        format!(
            "{} answered, p50 {:.1} ms, p99 {:.1} ms, slowest {:.0} ms, {} overloaded, {} errors",
            self.took.len(),
            ms(0.5),
            ms(0.99),
            ms(1.0),
            self.overloaded,
            self.errors.len()
        )
    }
}

/// Makes `rate` calls a second for `span`: reads of one row, some of a session, and some writes.
pub async fn calls(target: &Target, rate: u32, span: Duration) -> Seen {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(target.broker.client().await);
    }
    let seen = Arc::new(Mutex::new(Seen::default()));
    let mut calls = JoinSet::new();
    let mut ticks = interval(Duration::from_secs(1) / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    // As many as the span has room for. If this process stands still, the ticks that it missed come at once.
    let many = usize::try_from(u64::from(rate) * span.as_secs()).unwrap();
    for number in 0..many {
        ticks.tick().await;
        let (client, seen) = (clients[number % CONNECTIONS].clone(), Arc::clone(&seen));
        calls.spawn(async move {
            let started = Instant::now();
            let outcome = call(client, number).await;
            note(&mut seen.lock().unwrap(), outcome, started.elapsed());
        });
        while calls.try_join_next().is_some() {}
    }
    calls.join_all().await;
    let mut seen = std::mem::take(&mut *seen.lock().unwrap());
    seen.took.sort_unstable();
    seen
}

async fn call(mut client: TokenBrokerClient<Channel>, number: usize) -> Result<(), Status> {
    match number % 10 {
        0 => drop(client.get_all(get_all(SMALL)).await?),
        1 => drop(client.store(store(SMALL, "p0", 600)).await?),
        _ => drop(client.get(get(SMALL, "p1")).await?),
    }
    Ok(())
}

fn note(seen: &mut Seen, outcome: Result<(), Status>, took: Duration) {
    match outcome {
        Ok(()) => seen.took.push(took),
        Err(status) => {
            let details = status.get_error_details();
            let reason = details.error_info().map(|info| info.reason.as_str());
            if reason == Some("OVERLOADED") {
                seen.overloaded += 1;
            } else {
                let code = status.code();
                seen.errors
                    .push(format!("{code:?} {reason:?} {}", status.message()));
            }
        }
    }
}
