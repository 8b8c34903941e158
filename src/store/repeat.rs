//! Repeating a write whose answer was lost.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::Error;

/// How long to wait before a write is repeated, in milliseconds.
const PAUSE: std::ops::Range<u64> = 5..15;

/// Carries out `write`, and repeats it for `patience` as long as its outcome is unknown.
///
/// To be used only for a write that does no harm when it is applied twice, whatever others wrote in
/// between. The store can't know which writes those are, so its callers decide.
///
/// # Errors
/// Those of `write`. Once an attempt was of unknown outcome, a later failure is [`Error::Unknown`] too:
/// that the repetition did nothing says nothing about the first attempt.
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
            Ok(outcome) => return outcome,
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
        let refused = Err(Error::WrongType);
        assert_eq!(
            outcome_of(&[unknown(), refused.clone(), Ok(8)]).await.0,
            refused
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_unavailable_store_settles_only_an_attempt_of_its_own() {
        let gone = Err(Error::unavailable("no connection"));
        assert_eq!(outcome_of(&[gone.clone(), Ok(7)]).await.0, gone);
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
