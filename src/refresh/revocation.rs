//! Revoking tokens in the background (RFC 7009): the tokens of rows that were deleted.
//!
//! Nobody waits for it, and nothing fails by it. What can't be revoked after a few attempts, or when too many tokens wait,
//! or because it couldn't be read before it was deleted, stays valid at the provider for as long as it lives. That is
//! counted, and said in the log.

use std::{
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use tokio::{
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};
use tracing::Instrument;

use super::provider::{Provider, Revocation, TokenHint, Why};
use crate::{
    meter::Count,
    traces::{self, Attribute, Kind, Span},
    types::{ProviderName, Secret},
};

/// How many tokens may wait in one process.
pub const WAITING: usize = 1024;

/// How many requests are under way at once.
const AT_ONCE: usize = 8;

/// How long to wait before each further attempt.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// The longest wait that a provider may ask for before another attempt.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How the log begins to say that a token wasn't revoked.
const NOT_REVOKED: &str = "a token of a deleted row was not revoked";

/// The tokens that this process revokes. Clones share everything.
#[derive(Clone, Debug)]
pub struct Revocations {
    pauses: [Duration; 2],
    waiting: Arc<Semaphore>,
    under_way: Arc<Semaphore>,
    counted: Arc<Counted>,
    end: Arc<watch::Sender<bool>>,
}

#[derive(Debug, Default)]
struct Counted {
    /// Whether the last token found no room.
    is_full: AtomicBool,
    revoked: Count,
    failed: Count,
    dropped: Count,
}

/// How many tokens came to which end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RevocationFigures {
    /// Revoked.
    pub revoked: u64,
    /// Refused by the provider, or given up after the last attempt.
    pub failed: u64,
    /// Not tried, because too many waited, the process ended, or the row couldn't be read.
    pub dropped: u64,
}

/// What came of a token.
enum Outcome {
    Revoked,
    Failed(Why),
    /// A fault of the broker ended the work.
    Panicked,
    Dropped,
}

impl Outcome {
    /// Returns its name in traces, which is that in metrics.
    fn name(&self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Failed(_) | Self::Panicked => "failed",
            Self::Dropped => "dropped",
        }
    }
}

impl Default for Revocations {
    fn default() -> Self {
        Self::new(PAUSES)
    }
}

impl Revocations {
    /// Returns a queue that waits at least so long before each further attempt.
    #[must_use]
    pub fn new(pauses: [Duration; 2]) -> Self {
        Self {
            pauses,
            waiting: Arc::new(Semaphore::new(WAITING)),
            under_way: Arc::new(Semaphore::new(AT_ONCE)),
            counted: Arc::default(),
            end: Arc::new(watch::Sender::new(false)),
        }
    }

    /// Revokes a token in the background. Returns at once. Must be called on a runtime. If the call is traced for which this is
    /// done, the revocation is a part of that, and lasts longer.
    pub fn revoke(&self, provider: &Provider, token: Secret, hint: TokenHint) {
        let room = Arc::clone(&self.waiting).try_acquire_owned();
        let (this, provider) = (self.clone(), provider.clone());
        let span = traces::child("revocation", Kind::Internal);
        match room {
            Ok(room) if !self.is_ending() => {
                self.counted.is_full.store(false, Ordering::Relaxed);
                let revoking = async move {
                    let attempts = pin!(this.attempts(&provider, &token, hint));
                    let attempts = traces::during(span.as_ref(), attempts);
                    // Otherwise it would be counted nowhere.
                    let outcome = AssertUnwindSafe(attempts).catch_unwind().await;
                    let outcome = outcome.unwrap_or(Outcome::Panicked);
                    this.note(&provider, &outcome, span.as_ref());
                    // Who waits for the end finds the span ended.
                    drop(span);
                    drop(room);
                };
                tokio::spawn(revoking.in_current_span());
            }
            _ => self.note(&provider, &Outcome::Dropped, span.as_ref()),
        }
    }

    /// Takes note that so many tokens can't be revoked, because nobody knows them.
    pub fn lost(&self, provider: Option<&ProviderName>, tokens: u64, why: &str) {
        self.counted.dropped.add(tokens);
        let provider = provider.map(ProviderName::as_str);
        tracing::warn!(provider, tokens, "{NOT_REVOKED}: {why}");
    }

    /// Ends the work: what waits is dropped, and what is under way has as long as `within`.
    pub async fn end(&self, within: Duration) {
        self.end.send_replace(true);
        let all = u32::try_from(WAITING).unwrap_or(u32::MAX);
        // Whoever works holds a part of it.
        _ = timeout(within, self.waiting.acquire_many(all)).await;
    }

    /// Returns what came of the tokens so far.
    #[must_use]
    pub fn figures(&self) -> RevocationFigures {
        RevocationFigures {
            revoked: self.counted.revoked.get(),
            failed: self.counted.failed.get(),
            dropped: self.counted.dropped.get(),
        }
    }

    async fn attempts(&self, provider: &Provider, token: &Secret, hint: TokenHint) -> Outcome {
        let mut pauses = self.pauses.into_iter();
        loop {
            let turn = tokio::select! {
                biased;
                () = self.ending() => return Outcome::Dropped,
                turn = self.under_way.acquire() => turn,
            };
            let revoked = provider.revoke(token, hint).await;
            drop(turn);
            let (why, asked) = match revoked {
                Revocation::Revoked => return Outcome::Revoked,
                Revocation::Unsupported => return Outcome::Failed(Why::NoEndpoint),
                Revocation::Refused(why) => return Outcome::Failed(why),
                Revocation::Failed { why, retry_after } => (why, retry_after),
            };
            let Some(pause) = pauses.next() else {
                return Outcome::Failed(why);
            };
            let pause = asked.unwrap_or_default().min(LONGEST_PAUSE).max(pause);
            tokio::select! {
                () = self.ending() => return Outcome::Failed(why),
                // Tokens that failed together don't come back together.
                () = sleep(pause.mul_f64(rand::random_range(1.0..1.5))) => {}
            }
        }
    }

    fn is_ending(&self) -> bool {
        *self.end.borrow()
    }

    async fn ending(&self) {
        // The sender lives as long as `self`.
        _ = self.end.subscribe().wait_for(|ends| *ends).await;
    }

    fn note(&self, provider: &Provider, outcome: &Outcome, span: Option<&Span>) {
        let name = provider.options().name.as_str();
        if let Some(span) = span {
            span.note(Attribute::Provider(provider.options().name.clone()));
            span.note(Attribute::Outcome(outcome.name()));
            if !matches!(outcome, Outcome::Revoked) {
                span.fail();
            }
        }
        let (counter, why) = match outcome {
            Outcome::Revoked => (&self.counted.revoked, None),
            Outcome::Failed(why) => (&self.counted.failed, Some(why.to_string())),
            Outcome::Panicked => (&self.counted.failed, Some("the broker failed".to_owned())),
            Outcome::Dropped if self.is_ending() => (
                &self.counted.dropped,
                Some("the broker is stopping".to_owned()),
            ),
            // Thousands may come together.
            Outcome::Dropped => {
                let is_known = self.counted.is_full.swap(true, Ordering::Relaxed);
                let why = "too many tokens wait, and further ones are dropped too";
                (&self.counted.dropped, (!is_known).then(|| why.to_owned()))
            }
        };
        counter.up();
        if let Some(why) = why {
            let provider = name;
            tracing::warn!(provider, "{NOT_REVOKED}: {why}");
        }
    }
}
