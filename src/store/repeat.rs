//! Finding out what became of a write whose answer was lost, and how often anything is tried again.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::Error;

/// How long to wait before the next attempt, in milliseconds. The pause doubles each time, so that many callers
/// don't overload a store that is recovering, or keep each other from a row.
const PAUSE: std::ops::Range<u64> = 5..15;
/// How often the pause is doubled at most.
const LONGEST: u32 = 2;

/// Attempts that are bounded in time, with a pause before each but the first.
#[derive(Debug)]
pub struct Attempts {
    end: Instant,
    failed: u32,
}

impl Attempts {
    /// Returns attempts that begin within `patience` from now.
    #[must_use]
    pub fn within(patience: Duration) -> Self {
        Self {
            end: Instant::now() + patience,
            failed: 0,
        }
    }

    /// Pauses after an attempt that failed. Returns whether there is time for another one.
    pub async fn another(&mut self) -> bool {
        if Instant::now() >= self.end {
            return false;
        }
        let pause = rand::random_range(PAUSE) << self.failed.min(LONGEST);
        self.failed += 1;
        sleep(Duration::from_millis(pause)).await;
        true
    }
}

/// Waits for `write`. If its outcome is unknown, calls `again` for another `patience` to find out.
///
/// `again` has to be harmless whatever other callers wrote since `write`: a write that can succeed only once,
/// or one that changes nothing. A store can't know which writes are harmless, so its callers decide.
///
/// `tells` says whether an answer of `again` also tells what became of `write`. Most answers don't. A version that
/// isn't there any more, for example, was replaced by `write` or by another caller.
///
/// # Errors
/// Returns the errors of `write`. Once the outcome of `write` is unknown, returns [`Error::Unknown`] for every
/// answer of `again` that doesn't tell, and if there is none in time.
pub async fn until_known<T, F: Future<Output = Result<T, Error>>>(
    patience: Duration,
    write: impl Future<Output = Result<T, Error>>,
    again: impl FnMut() -> F,
    tells: impl Fn(&T) -> bool,
) -> Result<T, Error> {
    match write.await {
        // Mostly there is no need for this, and so no memory.
        Err(Error::Unknown(lost)) => Box::pin(found_out(patience, lost, again, tells)).await,
        outcome => outcome,
    }
}

/// Calls `again` until its answer tells what became of a write. `lost` is why that isn't known.
async fn found_out<T, F: Future<Output = Result<T, Error>>>(
    patience: Duration,
    mut lost: String,
    mut again: impl FnMut() -> F,
    tells: impl Fn(&T) -> bool,
) -> Result<T, Error> {
    let mut attempts = Attempts::within(patience);
    while attempts.another().await {
        match timeout_at(attempts.end, again()).await {
            Ok(Ok(outcome)) if tells(&outcome) => return Ok(outcome),
            Ok(Ok(_)) => {
                lost = format!("{lost}; what is stored now doesn't tell");
                break;
            }
            Ok(Err(Error::Unknown(detail) | Error::Unavailable(detail))) => lost = detail,
            Ok(Err(
                error @ (Error::NotDurable(_) | Error::WrongType | Error::RecordUnreadable),
            )) => {
                error.detail().clone_into(&mut lost);
                break;
            }
            Err(_) => break,
        }
    }
    Err(Error::Unknown(lost))
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        future::{pending, ready},
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    /// Returns the outcome and the number of attempts, where the attempts have these answers. The last answer comes
    /// again and again. An even number tells what became of the first attempt.
    async fn outcome_of(answers: &[Result<u8, Error>]) -> (Result<u8, Error>, usize) {
        let mut answers: VecDeque<_> = answers.iter().cloned().collect();
        let (count, first) = (answers.len(), answers.pop_front().unwrap());
        let again = || {
            ready(match answers.len() {
                1 => answers[0].clone(),
                _ => answers.pop_front().unwrap(),
            })
        };
        let outcome = until_known(PATIENCE, ready(first), again, |n| n % 2 == 0).await;
        (outcome, count - answers.len())
    }

    fn unknown() -> Result<u8, Error> {
        Err(Error::Unknown("the connection ended".to_owned()))
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_tells_ends_it() {
        assert_eq!(outcome_of(&[Ok(7), Ok(8)]).await, (Ok(7), 1));
        let lost = outcome_of(&[unknown(), unknown(), Ok(6), Ok(8)]).await;
        assert_eq!(lost, (Ok(6), 3));
        let not_durable = Err(Error::NotDurable("0 of 1".to_owned()));
        assert_eq!(
            outcome_of(&[not_durable.clone(), Ok(8)]).await.0,
            not_durable
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_does_not_tell_leaves_the_outcome_unknown() {
        let not_durable = Err(Error::NotDurable("0 of 1".to_owned()));
        for silent in [Ok(7), not_durable, Err(Error::WrongType)] {
            let outcome = outcome_of(&[unknown(), silent.clone(), Ok(8)]).await;
            let unknown = matches!(outcome, (Err(Error::Unknown(_)), 2));
            assert!(unknown, "{silent:?}: {outcome:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_unavailable_store_settles_only_an_attempt_of_its_own() {
        let gone = Err(Error::unavailable("no connection"));
        assert_eq!(outcome_of(&[gone.clone(), Ok(8)]).await.0, gone);
        let started = Instant::now();
        let (outcome, _) = outcome_of(&[unknown(), gone]).await;
        assert_eq!(outcome, Err(Error::Unknown("no connection".to_owned())));
        assert!(started.elapsed() <= PATIENCE + Duration::from_millis(250));
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_are_paced() {
        let mut attempts = 0;
        let again = || {
            attempts += 1;
            ready(unknown())
        };
        let outcome = until_known(PATIENCE, ready(unknown()), again, |_| true).await;
        assert!(matches!(outcome, Err(Error::Unknown(_))));
        assert!((15..=80).contains(&attempts), "{attempts} in a second");
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_hangs_is_cut_off() {
        let started = Instant::now();
        let outcome: Result<u8, Error> =
            until_known(PATIENCE, ready(unknown()), pending, |_| true).await;
        assert!(matches!(outcome, Err(Error::Unknown(_))));
        assert!(started.elapsed() <= Duration::from_millis(1_020));
    }
}
