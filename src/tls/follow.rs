//! Looking for what is new, for as long as the broker runs.

use std::{convert::Infallible, future::pending, pin::pin, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt, stream};
use tokio::time::{Instant, sleep, timeout};

use super::{complaint::Complaint, files::Files, now, options::Source, reload::Tls};
use crate::{
    meter::Reload,
    reading::{Hangs, Reading},
    spiffe::{Agent, Failure},
};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How long files have to stay the same before they count.
const SETTLES: Duration = Duration::from_millis(100);
/// How long an agent may be away before that is an error: it may be about to start again.
const AWAY: Duration = Duration::from_secs(60);
/// The log warns when a certificate has one part in so many of its life left. What renews it has had its chance by then.
const LAST_PART: u64 = 10;

impl Tls {
    /// Follows the files for ever: looks at them every 2 s, and whenever `hangups` says so. Follows the agent, if the
    /// certificate is from one.
    pub async fn follow(self: Arc<Self>, hangups: impl Stream<Item = ()>) -> Infallible {
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

    async fn follow_files(&self, hangups: impl Stream<Item = ()>) -> Infallible {
        let mut hangups = pin!(hangups.chain(stream::pending()));
        let reading = Reading::default();
        let (mut hanging, mut ending) = (Complaint::default(), Complaint::default());
        loop {
            let was_told = timeout(LOOK, hangups.next()).await.is_ok();
            let read = || {
                let options = self.options.clone();
                reading.read(move || Files::read(&options))
            };
            match settled(read, Files::fingerprint).await {
                Ok(files) => {
                    hanging.is_over();
                    self.take(&files, was_told);
                }
                Err(hangs) => self.hangs(&hangs.to_string(), &mut hanging),
            }
            self.look_at_the_end(&mut ending);
        }
    }

    /// Says once that the files can't be read, and later again from time to time.
    fn hangs(&self, problem: &str, hanging: &mut Complaint) {
        if hanging.is_news(problem) {
            self.trust.reloads(Reload::Certificates).failed.up();
            tracing::error!(
                problem,
                "files of TLS can't be read: what they held before is still in force"
            );
        }
    }

    /// Says that the certificate in force is about to expire, or has.
    fn look_at_the_end(&self, ending: &mut Complaint) {
        let Some((begin, end)) = self.validity() else {
            return;
        };
        let left = end.saturating_sub(now());
        if end < now() {
            if ending.is_news("expired") {
                tracing::error!(
                    "the broker's certificate, or one that it needs, has expired, and there is no other: clients refuse it"
                );
            }
        } else if left < (end - begin.min(end)) / LAST_PART {
            if ending.is_news("expires") {
                tracing::warn!(
                    seconds = left,
                    "the broker's certificate, or one that it needs, expires soon, and there is no other yet"
                );
            }
        } else {
            ending.is_over();
        }
    }

    async fn follow_agent(&self, mut agent: Agent) -> Infallible {
        let (mut since, mut failing, mut away) = (None, Complaint::default(), Complaint::default());
        loop {
            match agent.next().await {
                Ok(update) => {
                    away.is_over();
                    if failing.is_over() {
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
            } else if failing.is_news(&problem) {
                tracing::warn!(
                    problem,
                    "spiffe-workload-api: there is no certificate yet, and the broker waits for one"
                );
            }
            return;
        }
        if failure.is_an_answer() {
            if failing.is_news(&problem) {
                self.trust.reloads(Reload::Certificates).failed.up();
                tracing::error!(
                    problem,
                    "spiffe-workload-api: what the agent answers can't be used: what it gave before stays in force, until the certificate expires"
                );
            }
        } else if is_away && away.is_news(&problem) {
            self.trust.reloads(Reload::Certificates).failed.up();
            tracing::error!(
                problem,
                "spiffe-workload-api: the agent is away: what it gave before stays in force, until the certificate expires"
            );
        } else if failing.is_news(&problem) {
            tracing::warn!(
                problem,
                "spiffe-workload-api: the agent gives nothing: what it gave before stays in force"
            );
        }
    }
}

/// Reads until the same is read twice, a moment apart: somebody may be writing a file in place, and what is there halfway
/// may look whole.
async fn settled<T, F>(
    read: impl Fn() -> F,
    fingerprint: impl Fn(&T) -> [u8; 32],
) -> Result<T, Hangs>
where
    F: Future<Output = Result<T, Hangs>>,
{
    let mut last = read().await?;
    loop {
        sleep(SETTLES).await;
        let next = read().await?;
        if fingerprint(&next) == fingerprint(&last) {
            return Ok(next);
        }
        last = next;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::tls::parts;

    /// A bundle with one authority of two looks whole.
    #[tokio::test(start_paused = true)]
    async fn what_is_read_while_it_is_written_does_not_count() {
        for (reads, expected) in [
            (vec!["one", "one two", "one two"], "one two"),
            (vec!["", "one", "one two", "one two"], "one two"),
            (vec!["one two", "one two"], "one two"),
            (vec!["one", "one", "one two"], "one"),
        ] {
            let left = RefCell::new(reads.into_iter());
            let read = async || Ok(left.borrow_mut().next().unwrap_or_default());
            let begun = Instant::now();
            let found = settled(read, |text| parts::fingerprint([text.as_bytes()])).await;
            assert_eq!(found, Ok(expected));
            assert!(begun.elapsed() >= SETTLES);
        }
    }
}
