//! A store in whose calls something happens: what a race does once in a million times, each time.

use std::{future::Future, pin::Pin, sync::Mutex, time::Duration};

use token_broker::store::{Error, Observed, Observer, Operation};

/// A store between whose reads and writes somebody else is at work, once.
pub type Meddled<S> = Observed<S, Meddling>;

/// What happens when the first call of a kind has read what it reads.
pub struct Meddling {
    after: Operation,
    what: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
}

/// `store`, in which `what` happens after the first call of `after`.
pub fn meddled<S>(
    store: S,
    after: Operation,
    what: impl Future<Output = ()> + Send + 'static,
) -> Meddled<S> {
    let what = Mutex::new(Some(Box::pin(what) as _));
    Observed::new(store, Meddling { after, what })
}

impl Observer for Meddling {
    async fn done(&self, operation: Operation, _: Option<&Error>, _: Duration) {
        if self.after == operation {
            let what = self.what.lock().unwrap().take();
            if let Some(what) = what {
                what.await;
            }
        }
    }
}
