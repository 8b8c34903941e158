//! A store that runs other code in the middle of a call, and so makes a rare race happen every
//! time.

use std::{future::Future, pin::Pin, sync::Mutex, time::Duration};

use token_broker::store::{Error, Observed, Observer, Operation};

/// A store that runs other code once, between a read and a write.
pub type Meddled<S> = Observed<S, Meddling>;

/// The code to run after the first call of a kind has read.
pub struct Meddling {
    after: Operation,
    what: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
}

/// Wraps `store` so that `what` runs after the first call of `after`.
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
