//! A broker, and all files that it reads again while it serves.

use std::{fs, sync::Arc};

use testkit::{
    authority::{Authority, Wanted},
    waiting::until,
};
use tokio_rustls::rustls::ClientConfig;

use super::secrets::Secrets;
use crate::broker::{Broker, Files};

/// Returns a policy that knows the keepers, and the other caller in every second generation.
fn policy(knows_other: bool) -> String {
    let caller = |name: &str, known: &str| {
        format!(
            "[callers.{name}]\n{known}\nroles = [\"auth-server\", \"sidecar\"]\nproviders = \"*\"\n"
        )
    };
    let mut text = caller("keeper", "dns-names = [\"caller.test\"]");
    text += &caller("guest", "spiffe-ids = [\"spiffe://test.test/a\"]");
    if knows_other {
        text += &caller("other", "dns-names = [\"other.test\"]");
    }
    text
}

/// What is swapped: everything that a broker reads again.
pub struct World {
    pub broker: Broker,
    policy: Files,
    pub secrets: Secrets,
    /// Two authorities of one trust domain, one of which is in force.
    guests: [Authority; 2],
    pub generation: usize,
}

impl World {
    pub async fn start() -> Self {
        let guests = ["first", "second"].map(Authority::new);
        let files = Files::new(|dir| fs::write(dir.join("policy.toml"), policy(true)).unwrap());
        let path = files.path("policy.toml");
        let secrets = Secrets::start().await;
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("broker.toml");
        fs::write(&config, secrets.config()).unwrap();
        let config = config.to_str().unwrap();
        let args = [
            "--config",
            config,
            "--policy",
            &path,
            "--max-connection-age-grace",
            "1s",
        ];
        Self {
            broker: Broker::with_domains(&[("test.test", &guests[0])], &args).await,
            policy: files,
            secrets,
            guests,
            generation: 0,
        }
    }

    /// Swaps all files, and waits until they are in force.
    pub async fn swap(&mut self) {
        self.generation += 1;
        let Broker {
            files,
            authority,
            clients,
            process,
            ..
        } = &mut self.broker;
        let guests = &self.guests[self.generation % 2];
        files.swap(|dir| {
            authority.sign(&Wanted::server()).write_to(dir, "server");
            fs::write(dir.join("clients.pem"), &clients.pem).unwrap();
            fs::write(dir.join("test.test.pem"), &guests.pem).unwrap();
        });
        let text = policy(self.generation.is_multiple_of(2));
        self.policy
            .swap(|dir| fs::write(dir.join("policy.toml"), text).unwrap());
        self.secrets.swap();
        // Every second time the broker is told. Otherwise it looks by itself.
        if self.generation.is_multiple_of(2) {
            process.signal("HUP");
        }
        let told = [
            "the new ones are in force",
            "the policy was read again, and is in force",
            "the sealing keys were read again",
        ];
        until("the files are in force", || async {
            let log = process.log();
            told.iter()
                .all(|told| log.matches(told).count() == self.generation)
        })
        .await;
    }

    /// Returns how a guest connects whom the authority vouches for that is in force.
    pub fn guest(&self) -> Arc<ClientConfig> {
        let wanted = Wanted::nobody().uri("spiffe://test.test/a");
        let identity = self.guests[self.generation % 2].sign(&wanted);
        self.broker.config(Some(&identity))
    }
}
