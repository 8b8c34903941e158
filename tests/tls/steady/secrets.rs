//! The secrets of a broker that are no certificates: its sealing keys, and its client secret at a provider.

use std::{fs, sync::Arc};

use testkit::{
    broker_process::program,
    private_file::write_private,
    redis_server::RedisServer,
    rotating_provider::{RotatingProvider, Rules},
    sealing,
};

use crate::broker::Files;

/// The name of the provider.
pub const PROVIDER: &str = "idp";

/// Sealing keys and a client secret, each generation of which is another step of a rotation.
pub struct Secrets {
    files: Files,
    redis: RedisServer,
    pub provider: Arc<RotatingProvider>,
    generation: usize,
}

/// Returns the names of the sealing keys: a new one is appended, moved to the top, and left alone, as docs/sealing.md says.
fn ring(generation: usize) -> Vec<String> {
    let (old, new) = (generation / 3, generation / 3 + 1);
    let names = match generation % 3 {
        0 => vec![old],
        1 => vec![old, new],
        _ => vec![new, old],
    };
    names.iter().map(|name| format!("k{name}")).collect()
}

fn client_secret(generation: usize) -> String {
    format!("client-secret-{generation}")
}

impl Secrets {
    pub async fn start() -> Self {
        let provider = RotatingProvider::start(Rules::default()).await;
        provider.know(&[client_secret(0)]);
        let mut secrets = Self {
            files: Files::new(|_| ()),
            redis: RedisServer::start(),
            provider: Arc::new(provider),
            generation: 0,
        };
        secrets.write(&ring(0), &client_secret(0));
        secrets
    }

    /// Returns the configuration of a broker that has them.
    pub fn config(&self) -> String {
        format!(
            r#"
            backend = "redis"
            redis-url = {:?}
            redis-timeout = "10s"
            redis-connect-timeout = "10s"
            seal-keys = {:?}
            require-sealed = true
            [providers.{PROVIDER}]
            token-endpoint = {:?}
            client-id = "client"
            client-authentication = "client_secret_post"
            client-secret-file = {:?}
            max-rate = 1000
            "#,
            self.redis.url(),
            self.files.path("keys"),
            self.provider.url(),
            self.files.path("client-secret"),
        )
    }

    /// Swaps the files for those of the next step. The provider knows both client secrets.
    pub fn swap(&mut self) {
        let old = client_secret(self.generation);
        self.generation += 1;
        let new = client_secret(self.generation);
        self.provider.know(&[old, new.clone()]);
        self.write(&ring(self.generation), &new);
    }

    /// Ends the step, when nobody uses what was before any more: the provider forgets the old client secret, and rows are sealed
    /// with the first key.
    pub async fn settle(&self) {
        let secret = client_secret(self.generation);
        assert!(self.provider.sent_by(&secret) > 0, "{secret} isn't used");
        self.provider.know(&[secret]);
        if self.generation % 3 != 2 {
            return;
        }
        let mut rotate = program();
        rotate.args(["keys", "rotate", "--redis-url", &self.redis.url()]);
        rotate.args(["--seal-keys", &self.files.path("keys")]);
        let done = tokio::task::spawn_blocking(move || rotate.output()).await;
        let done = done.unwrap().unwrap();
        assert!(done.status.success(), "{done:?}");
    }

    /// Swaps in a client secret that the provider doesn't know.
    pub fn lose_client_secret(&mut self) {
        self.write(&ring(self.generation), "another");
    }

    /// Swaps in sealing keys under which no row is.
    pub fn lose_keys(&mut self) {
        self.write(&["another".to_owned()], "another");
    }

    fn write(&mut self, ring: &[String], client_secret: &str) {
        let names: Vec<_> = ring.iter().map(String::as_str).collect();
        self.files.swap(|dir| {
            write_private(&dir.join("keys"), sealing::file(&names));
            fs::write(dir.join("client-secret"), client_secret).unwrap();
        });
    }
}
