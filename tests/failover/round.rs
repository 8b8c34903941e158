//! A round: a load, a fault of the primary under it, a switch, and the return of the old primary.

use std::time::{Duration, Instant};

use testkit::waiting::found;

use crate::{
    fault::Fault,
    load::{Call, Calls, Load},
    outcome::{BOUND, Outcome, Switched},
    rows::Round,
    setup::Setup,
};

/// How long the load runs before the fault, and after the old primary came back.
pub(crate) const CALM: Duration = Duration::from_millis(700);

impl Setup {
    /// Runs one round and returns its outcome.
    pub(crate) async fn round(&self, name: &str, fault: Fault) -> Outcome {
        let old = self.deployment.settled().await;
        let round = Round {
            name: name.to_owned(),
            tenant: "default:default".to_owned(),
        };
        let load = Load::start(round, &self.brokers).await;
        load.answers(self.following, Instant::now()).await;
        tokio::time::sleep(CALM).await;

        let begun = Instant::now();
        fault.strike(self, old).await;
        let seen = found("the sentinels switch", || self.first_switch(begun)).await;
        let reached = if fault == Fault::Inside {
            1
        } else {
            self.following
        };
        load.answers(reached, seen).await;
        let served = seen + BOUND + CALM;
        tokio::time::sleep_until(served.into()).await;

        fault.end(self, old);
        load.answers(self.following, Instant::now()).await;
        tokio::time::sleep(CALM).await;
        let calls = load.end().await;
        let primary = self.deployment.settled().await;
        let mut last = calls.read_all().await;
        last.extend(self.look(&calls, primary).await);
        Outcome::of(&calls, &last, &self.switched(begun), reached)
    }

    fn first_switch(&self, begun: Instant) -> Option<Instant> {
        let all = self.deployment.switches.all();
        let since = all.iter().map(|switch| switch.at).filter(|at| *at >= begun);
        since.min()
    }

    /// Returns the switches since then, in order, each as the first sentinel reported it.
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

    /// Reads all rows from the new primary itself.
    async fn look(&self, calls: &Calls, primary: usize) -> Vec<Call> {
        let mut redis = self.deployment.servers[primary].connect().await;
        let mut looked = Vec::new();
        for row in calls.rows() {
            let called = Instant::now();
            let get = redis::cmd("GET").arg(calls.round().key(row)).to_owned();
            let text: Option<String> = get.query_async(&mut redis).await.unwrap();
            looked.push(Call::look(row, called, text.as_deref()));
        }
        looked
    }
}
