//! Tests that each piece of advice of `keys status` leads where it says, when it is followed as it is printed.

use std::process::Output;

use testkit::{
    broker_process::{output, program},
    private_file::write_private,
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    rows::{bare, key, row},
    sealing,
};

use crate::{name, text};

/// A tenant, and what an operator has set for it.
struct Site {
    redis: RedisServer,
    tenant: RedisTenant,
    dir: tempfile::TempDir,
    keys: bool,
    require_sealed: bool,
}

/// What `keys status` says.
struct Status {
    code: Option<i32>,
    advice: String,
}

impl Site {
    fn new(keys: &[&str]) -> Self {
        let redis = RedisServer::start();
        let tenant = RedisTenant::on(&redis);
        let site = Self {
            redis,
            tenant,
            dir: tempfile::tempdir().unwrap(),
            keys: true,
            require_sealed: false,
        };
        site.write(&sealing::file(keys));
        site
    }

    fn write(&self, keys: &str) {
        write_private(&self.dir.path().join("keys"), keys);
    }

    /// Runs the program with the operator's settings. Returns its exit code and what it printed.
    async fn run(&self, words: &[&str]) -> (Option<i32>, String) {
        let output = self.output(words).await;
        let told = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(told).unwrap())
    }

    async fn output(&self, words: &[&str]) -> Output {
        let mut command = program();
        command
            .args(words)
            .args(["--redis-url", &self.redis.url()])
            .args(["--redis-timeout", "10s", "--redis-connect-timeout", "10s"])
            .args(["--tenant", &self.tenant.name().to_string()]);
        if self.keys {
            command.arg("--seal-keys").arg(self.dir.path().join("keys"));
        }
        if self.require_sealed {
            command.arg("--require-sealed");
        }
        output(command).await
    }

    async fn status(&self) -> Status {
        let output = self.output(&["keys", "status"]).await;
        let report = String::from_utf8(output.stdout).unwrap();
        Status {
            code: output.status.code(),
            advice: report.lines().last().unwrap_or_default().to_owned(),
        }
    }

    /// Runs the commands that the advice names, in their order. The last of them must succeed.
    async fn follow(&self, status: &Status) {
        let commands = status.advice.split('`').skip(1).step_by(2);
        let mut last = None;
        for command in commands {
            let words: Vec<_> = command.split(' ').collect();
            assert_eq!(words[0], "token-broker", "{command}");
            last = Some(self.run(&words[1..]).await);
        }
        let (code, told) = last.expect("a command");
        assert_eq!(code, Some(0), "{}: {told}", status.advice);
    }

    async fn put(&self, provider: &str, keys: &[&str]) {
        let broker = self.tenant.sealed_broker(keys);
        broker.put(&key("s", provider), &bare("at")).await;
    }

    /// The last advice of all.
    async fn is_done(&self) {
        let status = self.status().await;
        assert!(
            status.advice.starts_with("all rows are sealed with "),
            "{}",
            status.advice
        );
        assert_eq!(status.code, Some(0));
    }
}

fn says(status: &Status, what: &str) {
    assert!(status.advice.contains(what), "{}", status.advice);
}

#[tokio::test]
async fn from_a_missing_key_to_require_sealed() {
    let mut site = Site::new(&["new"]);
    site.keys = false;
    says(
        &site.status().await,
        "nothing is sealed: seal-keys isn't set",
    );
    site.put("a", &["old"]).await;
    site.put("b", &[]).await;
    let unset = site.status().await;
    assert_eq!(unset.code, Some(3));
    says(&unset, "name the file that has their keys");

    site.keys = true;
    let missing = site.status().await;
    assert_eq!(missing.code, Some(3));
    says(&missing, "put it back, behind the others");
    site.write(&sealing::file(&["new", "old"]));
    let left = site.status().await;
    says(&left, "2 rows are not sealed with new.");
    site.follow(&left).await;
    site.is_done().await;
    // "require-sealed can be turned on. Other keys can go when..."
    site.write(&sealing::file(&["new"]));
    site.require_sealed = true;
    site.is_done().await;
}

/// Whoever forgets the tenant isn't told to end a grace period that isn't there, nor that all is sealed.
#[tokio::test]
async fn another_tenants_name_is_noticed() {
    let mut site = Site::new(&["new"]);
    site.put("a", &[]).await;
    let used = site.tenant.name().to_string();
    site.tenant = RedisTenant::called("forgotten:tenant", &site.redis);
    for command in ["status", "rotate"] {
        let (code, told) = site.run(&["keys", command]).await;
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains(&used) && !told.contains("--finish"), "{told}");
    }
}

#[tokio::test]
async fn from_a_key_of_the_same_name() {
    let site = Site::new(&["k"]);
    site.put("a", &["k"]).await;
    let other = sealing::namesake("k").line().to_vec();
    let other = String::from_utf8(other).unwrap();
    site.write(&other);
    let missing = site.status().await;
    says(&missing, "give one of them another name");
    // Without another name, the file is refused.
    site.write(&(other.clone() + &sealing::file(&["k"])));
    assert_eq!(site.run(&["keys", "status"]).await.0, Some(2));
    let renamed = sealing::renamed("k", "k-old").line().to_vec();
    site.write(&(other + &String::from_utf8(renamed).unwrap()));
    let left = site.status().await;
    site.follow(&left).await;
    site.is_done().await;
}

#[tokio::test]
async fn from_the_grace_period() {
    let site = Site::new(&["k"]);
    site.put("a", &[]).await;
    let grace = site.tenant.key("broker:grace");
    site.tenant.run::<()>(&["SET", &grace, "1"]);
    let status = site.status().await;
    says(&status, "`token-broker migrate --finish` ends it");
    site.follow(&status).await;
    let left = site.status().await;
    site.follow(&left).await;
    site.is_done().await;
}

/// They are plain rows that no broker reads, and so they aren't counted among those that it reads.
#[tokio::test]
async fn from_rows_in_the_layout_of_older_software() {
    let site = Site::new(&["k"]);
    site.put("a", &["k"]).await;
    let noted = r#"{"mapping":{"oidc":"okta"},"completed_at":1,"number":1,"finished":true}"#;
    let record = site.tenant.key("broker:migration");
    site.tenant.run::<()>(&["SET", &record, noted]);
    let older = site.tenant.key("upstream:older");
    let json = r#"{"provider_id":"oidc","access_token":"at","user_id":"u"}"#;
    site.tenant.run::<()>(&["SET", &older, json]);
    site.tenant
        .run::<()>(&["SET", &site.tenant.key("upstream:null"), "null"]);

    let (code, told) = site.run(&["keys", "rotate"]).await;
    assert_eq!(code, Some(3), "{told}");
    let line = "rows in the layout of older software, which are not sealed: 1\n";
    assert!(told.contains(line), "{told}");
    assert!(told.contains("rows that are not sealed: 0\n"), "{told}");
    let status = site.status().await;
    says(&status, "1 rows are in the layout of older software");
    site.follow(&status).await;
    let moved = text(&site.tenant, &key("older", "okta"));
    assert!(moved.contains("\"sealed\":"), "{moved}");
    site.is_done().await;
}

#[tokio::test]
async fn from_plain_rows_where_all_have_to_be_sealed() {
    let mut site = Site::new(&["k"]);
    site.put("a", &[]).await;
    site.require_sealed = true;
    let status = site.status().await;
    assert_eq!(status.code, Some(3));
    says(&status, "without require-sealed");
    site.require_sealed = false;
    site.follow(&status).await;
    site.require_sealed = true;
    site.is_done().await;
}

#[tokio::test]
async fn from_a_damaged_row() {
    let site = Site::new(&["k"]);
    let bad = key("s", "bad");
    let broker = site.tenant.sealed_broker(&["k"]);
    broker.put(&bad, &row("u", "at")).await;
    let edited = text(&site.tenant, &bad).replacen("\"sealed\":\"1.", "\"sealed\":\"0.", 1);
    site.tenant.write_row(&name(&bad), &edited);
    let status = site.status().await;
    assert_eq!(status.code, Some(3));
    says(&status, "`token-broker check` names them");
    let (code, told) = site.run(&["check"]).await;
    assert_eq!(code, Some(3));
    assert!(told.contains(&site.tenant.key(&name(&bad))), "{told}");
    broker.remove(&bad).await;
    site.is_done().await;
}
