//! Brokers of which one lacks the new key, and the program that rotates.

use std::{
    collections::BTreeMap,
    fs, iter,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize},
    },
    time::Duration,
};

use futures_util::future::join_all;
use testkit::{
    broker_process::{output, program},
    private_file::write_private,
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    rotating_provider::{Fault, RotatingProvider, Rules},
    rows::{refresh_token, row},
    sealing,
};
use token_broker::{seal::Keys, types::Version};

use super::{
    callers::{Kind, World, of, user},
    figures::{Passed, Span},
};
use crate::{
    name,
    refreshing::{expired, refreshing_with},
    sealing_key,
};

/// The part of Redis' time that the rotation may take, in percent.
pub const SHARE: u8 = 20;
/// The rows, the callers, and the program that rotates.
pub struct Rollout {
    pub redis: RedisServer,
    pub tenant: RedisTenant,
    dir: tempfile::TempDir,
    pub world: Arc<World>,
    /// The first refresh tokens of the rows that are refreshed.
    pub logins: BTreeMap<usize, String>,
}

impl Rollout {
    /// Stores rows, sealed with the old key.
    pub async fn start(rows: usize) -> Self {
        let redis = RedisServer::start();
        let tenant = RedisTenant::on(&redis);
        let rules = Rules {
            // Rows are refreshed as long as the rotation takes.
            expires_in: Some(3),
            ..Rules::default()
        };
        let at = RotatingProvider::start(rules).await;
        // So the rotation comes to rows whose refresh token is being redeemed.
        at.fail(|_| Fault {
            after: Duration::from_millis(20),
            ..Fault::default()
        });
        let dir = tempfile::tempdir().unwrap();
        write_private(&dir.path().join("behind"), sealing::file(&["old"]));
        write_private(&dir.path().join("both"), sealing::file(&["new", "old"]));
        let keys = sealing::followed(Keys::from_file(&dir.path().join("behind")).unwrap());
        let behind = refreshing_with(&tenant, &at, keys);
        let ahead = refreshing_with(&tenant, &at, sealing::keys(&["new", "old"]));

        let refreshed = (0..rows).filter(|number| Kind::of(*number).is_refreshed());
        let logins: BTreeMap<_, _> = refreshed.map(|number| (number, at.log_in())).collect();
        let mut versions = BTreeMap::<usize, Version>::new();
        for first in (0..rows).step_by(64) {
            let some = first..rows.min(first + 64);
            let puts = some.clone().map(|number| {
                let row = match logins.get(&number) {
                    Some(token) => expired(token),
                    None => row(&user(number), &format!("at-{number}")),
                };
                let behind = &behind;
                async move { behind.put(&of(number), &row).await }
            });
            versions.extend(some.zip(join_all(puts).await));
        }
        let world = World {
            rows,
            versions,
            at,
            ahead,
            behind,
            stop: AtomicBool::new(false),
            stored: AtomicUsize::new(0),
            carried: AtomicUsize::new(0),
            refreshed_behind: AtomicUsize::new(0),
        };
        Self {
            redis,
            tenant,
            dir,
            world: Arc::new(world),
            logins,
        }
    }

    /// Returns the command that rotates.
    pub fn rotating(&self) -> Command {
        let mut command = program();
        command
            .args(["keys", "rotate", "--report", "json", "--share"])
            .arg(SHARE.to_string())
            .args(["--redis-url", &self.redis.url()])
            .args(["--tenant", &self.tenant.name().to_string()])
            .arg("--seal-keys")
            .arg(self.dir.path().join("both"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Returns how many of 200 rows that are only read are sealed with the new key. They are asked for at once, so that the answer is
    /// still true when it comes. A look at all rows would keep Redis from everybody for a second.
    pub fn sampled(&self) -> usize {
        let step = (self.world.rows / 2_000).max(1) * 10;
        let some = (5..self.world.rows).step_by(step);
        let some: Vec<_> = some
            .map(|number| self.tenant.key(&name(&of(number))))
            .collect();
        let some = some.iter().map(String::as_str);
        let ask: Vec<_> = iter::once("MGET").chain(some).collect();
        let rows: Vec<String> = self.tenant.run(&ask);
        let rows = rows.iter().map(|row| serde_json::from_str(row).unwrap());
        rows.filter(|row| sealing_key(row).as_deref() == Some("new"))
            .count()
    }

    /// Rotates to the end, and returns the report and the span that it took.
    pub async fn rotate(&self) -> (serde_json::Value, Passed) {
        let meanwhile = Span::begin(&self.redis);
        let output = output(self.rotating()).await;
        let meanwhile = meanwhile.end();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{told}");
        let report = serde_json::from_slice(&output.stdout).unwrap();
        (report, meanwhile)
    }

    /// Returns how often the refresh tokens of a row were redeemed, if the row holds the last one that the provider gave out.
    pub async fn redeemed(&self, number: usize) -> Option<usize> {
        let stored = self.world.ahead.read(&of(number)).await.unwrap();
        let token = refresh_token(&stored.row);
        let (login, count) = token.rsplit_once('-').unwrap();
        assert_eq!(format!("{login}-0"), self.logins[&number], "another login");
        let count: usize = count.parse().unwrap();
        for earlier in 0..count {
            let sent = self.world.at.sent(&format!("{login}-{earlier}"));
            assert_eq!(sent, 1, "{number}: the refresh token {earlier}");
        }
        (self.world.at.sent(token) == 0).then_some(count)
    }
    /// Gives the broker without the new key that key.
    pub fn catch_up(&self) {
        let next = self.dir.path().join("next");
        write_private(&next, sealing::file(&["new", "old"]));
        fs::rename(next, self.dir.path().join("behind")).unwrap();
    }
}
