//! Writers that run during a check: they store rows, move them between users, delete them, and let
//! them expire.
//!
//! The rows that expire are those of provider `r`. They stay with their users: see
//! `others::a_row_that_expired_and_is_anothers_now`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use testkit::{redis_tenant::RedisTenant, rows::*};
use tokio::task::JoinSet;

/// Writers that write as fast as they can until they are stopped.
pub struct Load {
    running: JoinSet<()>,
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
}

impl Load {
    /// Starts writers on `sessions` sessions, called `s0`, `s1` and so on. There are a tenth as
    /// many users.
    pub fn start(tenant: &RedisTenant, writers: u64, sessions: usize) -> Self {
        let mut load = Self {
            running: JoinSet::new(),
            stop: Arc::default(),
            calls: Arc::default(),
        };
        for seed in 0..writers {
            let (tenant, stop) = (tenant.clone(), Arc::clone(&load.stop));
            let calls = Arc::clone(&load.calls);
            load.running.spawn(async move {
                let broker = tenant.broker();
                let mut dice = StdRng::seed_from_u64(seed);
                while !stop.load(Ordering::Relaxed) {
                    let session = dice.random_range(0..sessions);
                    let provider = ["p", "q"][dice.random_range(0..2)];
                    let key = key(&format!("s{session}"), provider);
                    let user = user_of(dice.random_range(0..sessions));
                    let row = row(&user, "load");
                    match dice.random_range(0..100) {
                        0..50 => _ = broker.put(&key, &row).await,
                        50..60 => _ = broker.put(&key, &bare("nobody")).await,
                        60..75 => {
                            let span = Duration::from_millis(dice.random_range(1..200));
                            let key = testkit::rows::key(&format!("s{session}"), "r");
                            let row = testkit::rows::row(&user_of(session), "load");
                            broker.put_for(&key, &row, span).await;
                        }
                        75..88 => _ = broker.remove(&key).await,
                        88..95 => _ = broker.delete_all(&key.session).await.unwrap(),
                        95..99 => _ = broker.listed(&testkit::rows::user(&user)).await,
                        _ => {
                            let user = testkit::rows::user(&user);
                            broker.delete_user(&user).await.unwrap();
                        }
                    }
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        load
    }

    /// Returns how many calls were answered.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Stops the writers, and returns how many calls there were.
    pub async fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.running.join_next().await {
            ended.unwrap();
        }
        self.calls.load(Ordering::Relaxed)
    }
}

/// Returns the user of a session, if no writer has moved it.
pub fn user_of(session: usize) -> String {
    format!("u{}", session / 10)
}
