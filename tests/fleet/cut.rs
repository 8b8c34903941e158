//! Brokers that don't reach Redis for longer than a lease, while their requests are at the provider.

use std::{sync::Arc, time::Duration};

use testkit::{
    deployment::{Deployment, Eyes, Setting},
    link::{Cuts, Link},
    redis_server::RedisServer,
    waiting::found,
};
use tokio::sync::watch;

use crate::{
    callers::{agreed, all, tokens},
    fleet::{Fleet, Size},
    kills::{TAKEN_OVER, open_entries},
};

/// A Redis, and the only way to it.
struct Reached {
    redis: RedisServer,
    link: Link,
    cuts: watch::Sender<Cuts>,
}

impl Reached {
    fn start() -> Self {
        let cuts = watch::Sender::default();
        let (redis, link) = (RedisServer::start(), Link::new(&cuts));
        link.lead_to(redis.port());
        Self { redis, link, cuts }
    }

    fn cut(&self) {
        let port = self.link.port();
        self.cuts.send_modify(|cuts| _ = cuts.clients.insert(port));
    }

    fn heal(&self) {
        self.cuts.send_modify(|cuts| cuts.clients.clear());
    }
}

impl Deployment for Reached {
    fn settings(&self) -> Vec<Setting> {
        let url = format!("redis://127.0.0.1:{}", self.link.port());
        vec![("redis-url", url)]
    }

    fn eyes(&self) -> Eyes {
        self.redis.eyes()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_is_stored_when_redis_is_there_again() {
    let size = Size::of(100, 4);
    let fleet = Arc::new(Fleet::start_brief(Reached::start(), "").await);
    // Longer than it takes to notice that requests are under way, and much shorter than a request may take.
    fleet.provider.takes(Duration::from_millis(500));
    let sessions = fleet.store_expired(size.rows).await;
    let cutting = async {
        found("some rows are refreshed", || {
            (fleet.provider.happened().redemptions >= 5).then_some(())
        })
        .await;
        fleet.redis.cut();
        tokio::time::sleep(TAKEN_OVER).await;
        let redeemed = fleet.provider.happened().redemptions;
        let held = open_entries(&fleet.redis.redis, &sessions);
        fleet.redis.heal();
        (redeemed, held)
    };
    let (got, (redeemed, held)) = tokio::join!(all(&fleet, &sessions, size.callers), cutting);
    println!(
        "rows {}, of {redeemed} redemptions {held} were not stored in time, {:?}",
        size.rows,
        fleet.provider.happened()
    );
    assert!(held > 0, "nothing was under way");
    assert_eq!(tokens(&agreed(got)), size.rows);
    fleet.redeemed_each_once(size.rows);
}
