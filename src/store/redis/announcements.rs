//! Hearing of attempts that end on other brokers. All tenants of the process share one connection, on which Redis tells
//! what scripts announce. It is made when somebody waits for the first time.
//!
//! Whoever waits also looks from time to time. So this needn't be complete, only fast: what is announced while there is
//! no connection is made up for by waking everyone when there is one again.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    convert::Infallible,
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use redis::{PushInfo, PushKind, Value};
use tokio::{
    runtime::Handle,
    sync::Notify,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    link::{Link, wire::code},
    record,
};
use crate::{
    store::ends::Ends,
    types::{AttemptId, lock},
    upheld::upheld,
};

/// How long to wait before there is another attempt to connect. It doubles with each one that fails.
const PAUSE: Duration = Duration::from_millis(100);
/// How often it is doubled at most.
const LONGEST: u32 = 6;
/// How often Redis is asked on a connection whether it still works. Redis itself says nothing as long as nothing ends.
const CHECKED_EVERY: Duration = Duration::from_secs(15);

/// Who waits for attempts to end, and the task that listens.
#[derive(Debug, Default)]
pub(super) struct Announcements {
    shared: Arc<Shared>,
    task: Mutex<Option<JoinHandle<Infallible>>>,
}

#[derive(Debug, Default)]
struct Shared {
    ends: Ends,
    /// The channels of the tenants of which somebody has waited.
    channels: Mutex<BTreeMap<String, Standing>>,
    /// Raised when there is another channel.
    more: Notify,
}

/// What Redis said lately to who wanted to listen on a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Standing {
    /// Nothing against it.
    #[default]
    Allowed,
    /// The user may not.
    Refused,
}

/// How a connection ended.
enum Ended {
    /// It worked.
    Later,
    /// It never worked.
    AtOnce,
}

impl Announcements {
    /// Returns a future that is ready when the end of `attempt` is announced, or perhaps earlier.
    pub(super) fn of(&self, attempt: AttemptId) -> impl Future<Output = ()> + Send + 'static {
        self.shared.ends.of(attempt)
    }

    /// Listens on `channel` from now on. `link` leads to the server to listen at. In a cluster, each node tells what is
    /// announced on any.
    pub(super) fn follow(&self, link: &Link, channel: String) {
        if let Entry::Vacant(place) = lock(&self.shared.channels).entry(channel) {
            place.insert(Standing::default());
            self.shared.more.notify_one();
        }
        // Without a runtime nobody can wait.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let mut task = lock(&self.task);
        // The runtime that it ran on may have ended.
        if task.as_ref().is_none_or(JoinHandle::is_finished) {
            let (shared, link) = (Arc::clone(&self.shared), link.clone());
            *task = Some(runtime.spawn(upheld("listening to announcements", move || {
                Arc::clone(&shared).listen(link.clone())
            })));
        }
    }
}

impl Drop for Announcements {
    fn drop(&mut self) {
        let task = lock(&self.task);
        if let Some(task) = &*task {
            task.abort();
        }
    }
}

impl Shared {
    /// Listens until it is aborted.
    async fn listen(self: Arc<Self>, link: Link) -> Infallible {
        let mut failures = 0;
        loop {
            match self.listen_once(&link).await {
                Ended::Later => failures = 0,
                Ended::AtOnce => failures += 1,
            }
            let pause = PAUSE * (1 << failures.min(LONGEST));
            sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
        }
    }

    /// Listens until the connection ends.
    async fn listen_once(self: &Arc<Self>, link: &Link) -> Ended {
        let shared = Arc::clone(self);
        let on_push = move |push: PushInfo| {
            if push.kind == PushKind::Message {
                shared.hear(&push.data);
            }
        };
        let Ok((mut opened, primary)) = link.listen(on_push).await else {
            return Ended::AtOnce;
        };
        let ended = async {
            let mut heard = BTreeSet::new();
            let mut ended = Ended::AtOnce;
            loop {
                let channels = lock(&self.channels).clone();
                let mut is_new = false;
                // Those that are heard already are asked for again, too: that shows whether the connection works.
                for (channel, before) in channels {
                    let standing = match opened.handle.subscribe(channel.as_str()).await {
                        Ok(()) => Standing::Allowed,
                        Err(error) if code(&error) == Some("NOPERM") => Standing::Refused,
                        Err(_) => return ended,
                    };
                    ended = Ended::Later;
                    if standing != before {
                        self.note(&channel, standing);
                    }
                    is_new |= standing == Standing::Allowed && heard.insert(channel);
                }
                // What was announced before the connection was there is made up for.
                if is_new {
                    self.ends.tell_all();
                }
                _ = timeout(CHECKED_EVERY, self.more.notified()).await;
            }
        };
        let ended = tokio::select! {
            ended = ended => ended,
            () = opened.life.over() => Ended::Later,
            // The last primary may go on, but nothing is announced there any more.
            () = primary.over() => Ended::Later,
        };
        opened.driver.abort();
        ended
    }

    /// Takes note of what Redis tells: a channel and a message.
    fn hear(&self, data: &[Value]) {
        if let [_, Value::BulkString(message)] = data
            && let Some(attempt) = record::parse_attempt(message)
        {
            self.ends.tell(attempt);
        }
    }

    fn note(&self, channel: &str, standing: Standing) {
        lock(&self.channels).insert(channel.to_owned(), standing);
        match standing {
            Standing::Refused => tracing::warn!(
                channel,
                "Redis refuses SUBSCRIBE: callers learn late that another broker has refreshed a token"
            ),
            Standing::Allowed => tracing::info!(channel, "Redis no longer refuses SUBSCRIBE"),
        }
    }
}
