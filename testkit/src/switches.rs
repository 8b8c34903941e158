//! The changes of the primary, as each sentinel reports them (`+switch-master`).

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::redis_server::RedisServer;

/// How long to wait before reconnecting to a sentinel that doesn't answer.
const PAUSE: Duration = Duration::from_millis(20);

/// One sentinel's report that there is a new primary.
#[derive(Clone, Debug)]
pub struct Switch {
    /// When the report arrived.
    pub at: Instant,
    /// The sentinel that reported it.
    pub sentinel: usize,
    /// The announced port of the old primary.
    pub from: u16,
    /// The announced port of the new one.
    pub to: u16,
}

/// Listens to the sentinels until it is dropped.
pub struct Switches {
    heard: Arc<Mutex<Vec<Switch>>>,
    over: Arc<AtomicBool>,
}

impl Switches {
    /// Listens to these sentinels. A switch is missed if its sentinel isn't reachable at that time.
    pub fn watch(sentinels: &[RedisServer]) -> Self {
        let (heard, over) = (Arc::default(), Arc::<AtomicBool>::default());
        for (number, sentinel) in sentinels.iter().enumerate() {
            let (heard, over) = (Arc::clone(&heard), Arc::clone(&over));
            let client = sentinel.client();
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    listen(&client, number, &heard).ok();
                    thread::sleep(PAUSE);
                }
            });
        }
        Self { heard, over }
    }

    /// Returns all switches, in the order in which they arrived.
    pub fn all(&self) -> Vec<Switch> {
        self.heard.lock().unwrap().clone()
    }

    /// Returns when the first sentinel reported a switch to this port, at `since` or later. A
    /// client that asks a sentinel for the primary may know earlier.
    pub fn first_to(&self, port: u16, since: Instant) -> Option<Instant> {
        let all = self.all();
        let mut told = all.iter().filter(|s| s.to == port && s.at >= since);
        told.next().map(|switch| switch.at)
    }
}

impl Drop for Switches {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn listen(
    client: &redis::Client,
    sentinel: usize,
    heard: &Mutex<Vec<Switch>>,
) -> redis::RedisResult<()> {
    let mut connection = client.get_connection_with_timeout(Duration::from_secs(1))?;
    let mut listening = connection.as_pubsub();
    listening.subscribe("+switch-master")?;
    loop {
        let told: String = listening.get_message()?.get_payload()?;
        let at = Instant::now();
        // mymaster 127.0.0.1 <from> 127.0.0.1 <to>
        let words: Vec<_> = told.split(' ').collect();
        let port = |at: usize| words[at].parse().unwrap();
        heard.lock().unwrap().push(Switch {
            at,
            sentinel,
            from: port(2),
            to: port(4),
        });
    }
}
