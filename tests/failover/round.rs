//! A round: a load, a fault of the primary under it, a switch, the return of the old primary.

use std::time::{Duration, Instant};

use crate::{
    fault::Fault,
    load::{Call, Calls, Load},
    outcome::{BOUND, Outcome, Switched},
    rows::Round,
    support::waiting::{found, until},
    world::World,
};

/// How long the load goes on before the fault, and after the old primary came back.
const CALM: Duration = Duration::from_millis(700);

impl World {
    /// One round, and what it has shown.
    pub(crate) async fn round(&self, name: &str, fault: Fault) -> Outcome {
        let old = self.deployment.settled().await;
        let load = Load::start(Round(name.to_owned()), &self.brokers).await;
        self.answers(&load, self.following, Instant::now()).await;
        tokio::time::sleep(CALM).await;

        let begun = Instant::now();
        fault.strike(self, old).await;
        let seen = found("the sentinels switch", || self.first_switch(begun)).await;
        let reached = if fault == Fault::Inside {
            1
        } else {
            self.following
        };
        self.answers(&load, reached, seen).await;
        let served = seen + BOUND + CALM;
        tokio::time::sleep_until(served.into()).await;

        fault.end(self, old);
        self.answers(&load, self.following, Instant::now()).await;
        tokio::time::sleep(CALM).await;
        let calls = load.end().await;
        let primary = self.deployment.settled().await;
        let mut last = calls.read_all().await;
        last.extend(self.look(&calls, primary).await);
        Outcome::of(&calls, &last, &self.switched(begun), reached)
    }

    /// Waits until each of the first brokers has answered a read and a write that were called after `since`.
    async fn answers(&self, load: &Load, brokers: usize, since: Instant) {
        until("the brokers answer", async || {
            (0..brokers).all(|broker| {
                [false, true].into_iter().all(|writes| {
                    load.has(|call| {
                        call.broker == broker
                            && call.is_write() == writes
                            && call.is_done()
                            && call.called >= since
                    })
                })
            })
        })
        .await;
    }

    fn first_switch(&self, begun: Instant) -> Option<Instant> {
        let all = self.deployment.switches.all();
        let since = all.iter().map(|switch| switch.at).filter(|at| *at >= begun);
        since.min()
    }

    /// The switches since, one after another: each as the first sentinel told it.
    fn switched(&self, mut begun: Instant) -> Vec<Switched> {
        let mut switched = Vec::new();
        let mut heard = self.deployment.switches.all();
        heard.retain(|switch| switch.at >= begun);
        heard.sort_by_key(|switch| switch.at);
        let mut told = Vec::new();
        for switch in heard {
            if !told.contains(&(switch.from, switch.to)) {
                told.push((switch.from, switch.to));
                let seen = switch.at;
                switched.push(Switched { begun, seen });
                begun = seen + Duration::from_nanos(1);
            }
        }
        switched
    }

    /// Reads all rows in the new primary itself.
    async fn look(&self, calls: &Calls, primary: usize) -> Vec<Call> {
        let mut redis = self.deployment.servers[primary].connect().await;
        let mut looked = Vec::new();
        for row in calls.rows() {
            let called = Instant::now();
            let key = calls.round().key(row);
            let text: Option<String> = redis::cmd("GET")
                .arg(key)
                .query_async(&mut redis)
                .await
                .unwrap();
            looked.push(Call::look(row, called, text.as_deref()));
        }
        looked
    }
}
