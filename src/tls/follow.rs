//! Looking for what is new, for as long as the broker runs.

use std::{convert::Infallible, future::pending, sync::Arc, time::Duration};

use futures_util::Stream;
use tokio::time::Instant;

use super::{files::Files, identity::Validity, now, options::Source, reload::Tls};
use crate::{
    meter::Reload,
    reading::{Complaint, Looks},
    spiffe::{Agent, Failure},
};

/// How long an agent may be away before that is an error: it may be about to start again.
const AWAY: Duration = Duration::from_secs(60);
/// The log warns when a certificate has one part in so many of its life left. What renews it has had its chance by then.
const LAST_PART: u64 = 10;

impl Tls {
    /// Follows the files for ever, by the [rules](Looks) for all files. `hangups` asks to look at once. Follows the agent, if the
    /// certificate is from one.
    pub async fn follow(self: Arc<Self>, hangups: impl Stream<Item = ()> + Send) -> Infallible {
        let agent = async {
            match &self.options.source {
                Source::WorkloadApi { socket, .. } => {
                    self.follow_agent(Agent::at(socket.clone())).await
                }
                Source::Files { .. } => pending().await,
            }
        };
        tokio::select! {
            never = self.follow_files(hangups) => never,
            never = agent => never,
        }
    }

    async fn follow_files(&self, hangups: impl Stream<Item = ()> + Send) -> Infallible {
        let mut looks = Looks::new(hangups);
        let mut ending = Complaint::default();
        loop {
            let options = self.options.clone();
            // What stays the same for a moment is as of one instant.
            self.take(looks.next(move || Files::once(&options)).await);
            self.look_at_the_end(&mut ending);
        }
    }

    /// Says that the certificate in force is about to expire, or has.
    fn look_at_the_end(&self, ending: &mut Complaint) {
        let Some(Validity { begin, end }) = self.validity() else {
            return;
        };
        let left = end.saturating_sub(now());
        if end < now() {
            if ending.note_news("expired") {
                tracing::error!(
                    "the broker's certificate, or one that it needs, has expired, and there is no other: clients refuse it"
                );
            }
        } else if left < (end - begin.min(end)) / LAST_PART {
            if ending.note_news("expires") {
                tracing::warn!(
                    seconds = left,
                    "the broker's certificate, or one that it needs, expires soon, and there is no other yet"
                );
            }
        } else {
            ending.note_over();
        }
    }

    async fn follow_agent(&self, mut agent: Agent) -> Infallible {
        let (mut since, mut failing, mut away) = (None, Complaint::default(), Complaint::default());
        loop {
            match agent.next().await {
                Ok(update) => {
                    away.note_over();
                    if failing.note_over() {
                        tracing::info!("spiffe-workload-api: the agent answers again");
                    }
                    since = None;
                    self.take_update(update);
                }
                Err(failure) => {
                    let since = *since.get_or_insert_with(Instant::now);
                    self.fails(&failure, since.elapsed() >= AWAY, [&mut failing, &mut away]);
                }
            }
        }
    }

    /// Says that the agent gives nothing. `is_away` says whether that has been so for long.
    fn fails(&self, failure: &Failure, is_away: bool, [failing, away]: [&mut Complaint; 2]) {
        let problem = failure.to_string();
        if self.validity().is_none() {
            if failure.is_final() {
                let why = format!(
                    "spiffe-workload-api: what answers there isn't SPIFFE's Workload API: {problem}"
                );
                self.hopeless.send_replace(Some(why));
            } else if failing.note_news(&problem) {
                tracing::warn!(
                    problem,
                    "spiffe-workload-api: there is no certificate yet, and the broker waits for one"
                );
            }
            return;
        }
        if failure.is_an_answer() {
            if failing.note_news(&problem) {
                self.trust.reloads(Reload::Certificates).failed.up();
                tracing::error!(
                    problem,
                    "spiffe-workload-api: what the agent answers can't be used: what it gave before stays in force, until the certificate expires"
                );
            }
        } else if is_away && away.note_news(&problem) {
            self.trust.reloads(Reload::Certificates).failed.up();
            tracing::error!(
                problem,
                "spiffe-workload-api: the agent is away: what it gave before stays in force, until the certificate expires"
            );
        } else if failing.note_news(&problem) {
            tracing::warn!(
                problem,
                "spiffe-workload-api: the agent gives nothing: what it gave before stays in force"
            );
        }
    }
}
