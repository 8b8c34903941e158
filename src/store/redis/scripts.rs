//! The Lua scripts: each a file in `scripts/`, behind what they share, sent by its hash.

use redis::Cmd;
use sha1::{Digest, Sha1};

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident: $file:literal,)*) => {
        /// All scripts with their hashes.
        #[derive(Debug)]
        pub struct Scripts {
            $($(#[$doc])* pub $name: Script,)*
        }

        impl Scripts {
            /// Hashes the scripts.
            #[must_use]
            pub fn new() -> Self {
                Self {
                    $($name: Script::new(concat!(
                        include_str!("scripts/lib.lua"),
                        include_str!(concat!("scripts/", $file)),
                    )),)*
                }
            }
        }
    };
}

scripts! {
    /// Writes a row.
    put: "put.lua",
    /// Deletes a row.
    delete: "delete.lua",
    /// Reads a session.
    get_session: "get_session.lua",
    /// Deletes a session.
    delete_session: "delete_session.lua",
    /// Reads a part of a user's index.
    index_page: "index_page.lua",
    /// Deletes rows of a user.
    delete_rows: "delete_rows.lua",
    /// Deletes identities of a user.
    delete_identities: "delete_identities.lua",
}

/// A script and its hash.
#[derive(Debug)]
pub struct Script {
    source: &'static str,
    sha: String,
}

impl Script {
    fn new(source: &'static str) -> Self {
        let digest = Sha1::digest(source.as_bytes());
        Self {
            source,
            sha: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }

    /// The call by hash.
    #[must_use]
    pub fn by_hash(&self, keys: &[&str], args: &[&[u8]]) -> Cmd {
        call("EVALSHA", &self.sha, keys, args)
    }

    /// The call with the script itself, for a server that doesn't know the hash. It does afterwards.
    #[must_use]
    pub fn by_source(&self, keys: &[&str], args: &[&[u8]]) -> Cmd {
        call("EVAL", self.source, keys, args)
    }
}

fn call(verb: &str, script: &str, keys: &[&str], args: &[&[u8]]) -> Cmd {
    let mut cmd = redis::cmd(verb);
    cmd.arg(script).arg(keys.len());
    for key in keys {
        cmd.arg(*key);
    }
    for arg in args {
        cmd.arg(*arg);
    }
    cmd
}
