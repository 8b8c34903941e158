//! Tests keys that Vault wraps (guarantees, section 7). Vault itself is a stand-in.

mod asking;
mod commands;
mod hardened;
mod running;
mod stand_in;

use std::{path::PathBuf, sync::Arc, time::Duration};
use testkit::private_file::write_private;

use tempfile::TempDir;
use token_broker::{
    seal::{Demands, Keys},
    vault::{Login, Vault, VaultOptions},
};

pub use self::stand_in::{Mode, VaultServer};

/// The files of a broker whose keys Vault wraps.
struct Files(TempDir);

impl Files {
    /// Makes a directory with Vault's token in it.
    fn new() -> Self {
        let files = Self(TempDir::new().unwrap());
        files.write("token", "token\n");
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        write_private(&self.path(name), text);
    }

    /// Returns how a broker reaches this Vault, with the token in the file.
    fn options(&self, vault: &VaultServer) -> VaultOptions {
        VaultOptions {
            address: vault.url().parse().unwrap(),
            mount: "transit".to_owned(),
            key: "broker".to_owned(),
            namespace: None,
            ca: None,
            login: Login::Token(self.path("token")),
            timeout: Duration::from_secs(5),
            patience: Duration::from_secs(10),
        }
    }

    /// Returns the keys in the file `keys`, which aren't unwrapped yet.
    fn keys(&self, options: VaultOptions) -> Keys {
        let vault = Arc::new(Vault::new(options));
        Keys::read(&self.path("keys"), Some(vault), Demands::default()).unwrap()
    }

    /// Returns the arguments of a program whose keys this Vault wraps.
    fn args(&self, vault: &VaultServer) -> Vec<String> {
        let pairs = [
            ("--seal-keys", self.text("keys")),
            ("--vault-address", vault.url()),
            ("--vault-key", "broker".to_owned()),
            ("--vault-token-file", self.text("token")),
            ("--vault-timeout", "10s".to_owned()),
            // The last request begins after 1.75 s, and has as long again.
            ("--vault-patience", "3500ms".to_owned()),
        ];
        let pairs = pairs.into_iter();
        pairs
            .flat_map(|(name, value)| [name.to_owned(), value])
            .collect()
    }
}
