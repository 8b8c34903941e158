//! Repeating a write whose answer was lost.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::Error;

/// How long to wait before a write is repeated, in milliseconds.
const PAUSE: std::ops::Range<u64> = 5..15;

/// Calls `write`, and repeats it for `patience` as long as its outcome is unknown.
///
/// Use this only for a write that is harmless when it is applied twice, whatever other callers write in
/// between. A store can't know which writes are harmless, so its callers decide.
///
/// # Errors
/// Returns the errors of `write`. After an attempt of unknown outcome, an attempt that does nothing,
/// [`Error::Unavailable`] or [`Error::WrongType`], becomes [`Error::Unknown`] too: it says nothing about the first
/// attempt.
pub async fn until_known<T, F: Future<Output = Result<T, Error>>>(
    patience: Duration,
    mut write: impl FnMut() -> F,
) -> Result<T, Error> {
    let end = Instant::now() + patience;
    let mut lost = match write().await {
        Err(Error::Unknown(detail)) => detail,
        outcome => return outcome,
    };
    while Instant::now() < end {
        sleep(Duration::from_millis(rand::random_range(PAUSE))).await;
        match timeout_at(end, write()).await {
            Ok(Err(Error::Unknown(detail) | Error::Unavailable(detail))) => lost = detail,
            Ok(Err(error @ Error::WrongType)) => {
                return Err(Error::Unknown(error.detail().to_owned()));
            }
            Ok(outcome @ (Ok(_) | Err(Error::NotDurable(_)))) => return outcome,
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

    async fn outcome_of(answers: &[Result<u8, Error>]) -> (Result<u8, Error>, usize) {
        let mut answers: VecDeque<_> = answers.iter().cloned().collect();
        let count = answers.len();
        let outcome = until_known(Duration::from_secs(1), || {
            ready(match answers.len() {
                1 => answers[0].clone(),
                _ => answers.pop_front().unwrap_or(Ok(0)),
            })
        });
        let outcome = outcome.await;
        (outcome, count - answers.len())
    }

    fn unknown() -> Result<u8, Error> {
        Err(Error::Unknown("the connection ended".to_owned()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_known_outcome_ends_it() {
        assert_eq!(outcome_of(&[Ok(7), Ok(8)]).await, (Ok(7), 1));
        assert_eq!(outcome_of(&[unknown(), Ok(7), Ok(8)]).await, (Ok(7), 2));
        let not_durable = Err(Error::NotDurable("0 of 1".to_owned()));
        assert_eq!(
            outcome_of(&[unknown(), not_durable.clone(), Ok(8)]).await.0,
            not_durable
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_unavailable_store_settles_only_an_attempt_of_its_own() {
        let gone = Err(Error::unavailable("no connection"));
        assert_eq!(outcome_of(&[gone.clone(), Ok(7)]).await.0, gone);
        let refused = outcome_of(&[unknown(), Err(Error::WrongType), Ok(8)]).await;
        assert!(
            matches!(refused, (Err(Error::Unknown(_)), 2)),
            "{refused:?}"
        );
        let started = Instant::now();
        let (outcome, _) = outcome_of(&[unknown(), gone]).await;
        assert_eq!(outcome, Err(Error::Unknown("no connection".to_owned())));
        assert!(started.elapsed() <= Duration::from_millis(1_020));
    }

    #[tokio::test(start_paused = true)]
    async fn a_repetition_that_hangs_is_cut_off() {
        let started = Instant::now();
        let mut first = true;
        let outcome: Result<u8, Error> = until_known(Duration::from_secs(1), || {
            let is_first = std::mem::take(&mut first);
            async move {
                match is_first {
                    true => unknown(),
                    false => pending().await,
                }
            }
        })
        .await;
        assert!(matches!(outcome, Err(Error::Unknown(_))));
        assert!(started.elapsed() <= Duration::from_millis(1_020));
    }
}
