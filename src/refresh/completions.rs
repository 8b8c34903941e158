//! The completions that are being written: one an attempt, however often the caller repeats it.

use std::{
    collections::{HashMap, hash_map::Entry},
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::sync::watch;
use tracing::Instrument;

use super::Completed;
use crate::{
    error::Error,
    traces::{self, Kind},
    types::{AttemptId, RowKey, lock},
};

/// How many may be written at once. Each keeps tokens in memory, also when its caller has left.
const AT_ONCE: usize = 1024;

type Id = (RowKey, AttemptId);
type Noted = Option<Result<Completed, Error>>;

/// The completions that are being written. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Completions(Arc<Mutex<HashMap<Id, watch::Receiver<Noted>>>>);

impl Completions {
    /// Runs `noting`, which goes on if nobody waits for it, unless a completion of the same attempt runs already. Returns what
    /// comes of it, or `None` if too many run. What comes of it is `None` if the process is about to end.
    pub fn join<F>(&self, id: Id, noting: F) -> Option<impl Future<Output = Noted> + use<F>>
    where
        F: Future<Output = Result<Completed, Error>> + Send + 'static,
    {
        let mut running = self.running();
        let is_full = running.len() >= AT_ONCE;
        let mut noted = match running.entry(id.clone()) {
            Entry::Occupied(running) => running.get().clone(),
            Entry::Vacant(_) if is_full => return None,
            Entry::Vacant(vacant) => {
                let (tell, noted) = watch::channel(None);
                vacant.insert(noted.clone());
                let this_one = Running(self.clone(), id);
                let span = traces::child("complete_refresh", Kind::Internal);
                let noted_at_last = async move {
                    let outcome = traces::during(span.as_ref(), pin!(noting)).await;
                    drop(span);
                    // A completion that is repeated from now on is written again.
                    drop(this_one);
                    tell.send_replace(Some(outcome));
                };
                tokio::spawn(noted_at_last.in_current_span());
                noted
            }
        };
        drop(running);
        Some(async move {
            let noted = noted.wait_for(Option::is_some).await;
            noted.ok().and_then(|noted| noted.clone())
        })
    }

    fn running(&self) -> MutexGuard<'_, HashMap<Id, watch::Receiver<Noted>>> {
        lock(&self.0)
    }
}

/// A completion that runs. It has ended when this is dropped.
struct Running(Completions, Id);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running().remove(&self.1);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    fn id(number: u128) -> Id {
        let key = RowKey {
            session: crate::types::SessionId::new("s").unwrap(),
            provider: crate::types::ProviderName::new("p").unwrap(),
        };
        (key, AttemptId::from_number(number))
    }

    #[tokio::test]
    async fn who_repeats_a_completion_waits_for_the_first() {
        let completions = Completions::default();
        let (go_on, goes_on) = tokio::sync::oneshot::channel();
        let first = completions.join(id(1), async {
            goes_on.await.unwrap();
            Ok(Completed::Gone)
        });
        let again = completions.join(id(1), async { panic!("it runs already") });
        go_on.send(()).unwrap();
        for noted in [first.unwrap().await, again.unwrap().await] {
            assert!(matches!(noted, Some(Ok(Completed::Gone))));
        }
        let later = completions.join(id(1), async { Err(Error::RowNotFound) });
        assert!(matches!(
            later.unwrap().await,
            Some(Err(Error::RowNotFound))
        ));
    }

    #[tokio::test]
    async fn so_many_run_at_once() {
        let completions = Completions::default();
        for number in 0..AT_ONCE as u128 {
            assert!(completions.join(id(number), pending()).is_some());
        }
        assert!(completions.join(id(9_999_999), pending()).is_none());
        assert!(completions.join(id(5), pending()).is_some());
    }
}
