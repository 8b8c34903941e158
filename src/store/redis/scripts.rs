//! The Lua scripts. Each is a file in `scripts/`, together with those parts of `scripts/lib/` that it uses, and is called
//! by its hash.

mod parts;

use std::sync::Arc;

use redis::Cmd;

use super::largest::Largest;
use crate::types::sha1;

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident: $file:literal,)*) => {
        /// All scripts with their hashes.
        #[derive(Clone, Debug)]
        pub struct Scripts {
            $($(#[$doc])* pub $name: Script,)*
        }

        impl Scripts {
            /// Returns all scripts, hashed. They read no value that is larger than `largest`.
            #[must_use]
            pub fn new(largest: &Largest) -> Self {
                Self {
                    $($name: Script::bounded(include_str!(concat!("scripts/", $file)), largest),)*
                }
            }

            #[cfg(test)]
            fn all(&self) -> impl Iterator<Item = &Script> {
                [$(&self.$name,)*].into_iter()
            }
        }
    };
}

scripts! {
    /// Writes a row.
    put: "put.lua",
    /// Reads a row and its record.
    look_at_record: "look_at_record.lua",
    /// Writes a record, and its row.
    change_record: "change_record.lua",
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
    /// Finds or makes the user of an identity.
    resolve_user: "resolve_user.lua",
    /// Links an identity to a user.
    link_identity: "link_identity.lua",
    /// Looks at an identity, or removes it.
    unlink_identity: "unlink_identity.lua",
    /// Keeps a pending authorization.
    create_pending: "create_pending.lua",
    /// Takes a pending authorization.
    take_pending: "take_pending.lua",
    /// Deletes identities of a user.
    delete_identities: "delete_identities.lua",
    /// Deletes a user record.
    delete_user: "delete_user.lua",
    /// Tries the commands that the scripts need.
    probe: "probe.lua",
    /// Moves a row of the older layout, or drops it.
    migrate_row: "maintenance/migrate_row.lua",
    /// Copies an identity to its provider's logical name.
    migrate_identity: "maintenance/migrate_identity.lua",
    /// Takes a lease whose key holds what can't be a broker's.
    replace_lease: "maintenance/replace_lease.lua",
    /// Renews, marks or releases a lease.
    keep_lease: "maintenance/keep_lease.lua",
    /// Notes that the migration is complete.
    complete: "maintenance/complete.lua",
    /// Gives a user's index the expiry that it has by the grace period.
    settle_index: "maintenance/settle_index.lua",
    /// Replaces a row by the same one, sealed with another key.
    reseal_row: "maintenance/reseal_row.lua",
    /// Checks that a row is in its indexes.
    check_row: "maintenance/check_row.lua",
    /// Checks that an identity is in its user's set.
    check_identity: "maintenance/check_identity.lua",
    /// Checks the members of an index.
    check_index: "maintenance/check_index.lua",
    /// Checks that a pending authorization is counted, and has an end.
    check_pending: "maintenance/check_pending.lua",
    /// Checks the members of a sorted set of pending authorizations.
    check_places: "maintenance/check_places.lua",
    /// Checks a key that says how large pending authorizations are.
    check_sizes: "maintenance/check_sizes.lua",
}

/// A script and its hash.
#[derive(Clone, Debug)]
pub struct Script {
    source: Arc<str>,
    sha: Arc<str>,
}

impl Script {
    /// Returns the script of a file, with the parts that the file names. It reads no value.
    #[must_use]
    pub fn new(file: &str) -> Self {
        Self::of(&parts::assemble(file))
    }

    /// The same for a script that reads values. `lib/whole.lua` says what it makes of one that is larger than `largest`.
    fn bounded(file: &str, largest: &Largest) -> Self {
        let limit = largest.bytes().to_string();
        Self::of(&parts::assemble(file).replace("LARGEST_VALUE", &limit))
    }

    fn of(source: &str) -> Self {
        Self {
            sha: sha1_hex(source.as_bytes()).into(),
            source: source.into(),
        }
    }

    #[cfg(test)]
    fn source(&self) -> &str {
        &self.source
    }

    /// Returns the command that calls the script by its hash. `latest` is the latest moment at which it may begin, as
    /// `lib/latest.lua` takes it.
    #[must_use]
    pub fn by_hash(&self, latest: &[u8], keys: &[&str], args: &[&[u8]]) -> Cmd {
        call("EVALSHA", &self.sha, latest, keys, args)
    }

    /// Returns the command that sends the whole script, for a server that doesn't know the hash. Afterwards
    /// the server knows it.
    #[must_use]
    pub fn by_source(&self, latest: &[u8], keys: &[&str], args: &[&[u8]]) -> Cmd {
        call("EVAL", &self.source, latest, keys, args)
    }
}

/// A call of a script, which can be sent together with others.
#[derive(Debug)]
pub struct Call<'a> {
    /// The script.
    pub script: &'a Script,
    /// The keys.
    pub keys: Vec<&'a str>,
    /// The arguments.
    pub args: Vec<&'a [u8]>,
}

impl Call<'_> {
    pub(super) fn by_hash(&self, latest: &[u8]) -> Cmd {
        self.script.by_hash(latest, &self.keys, &self.args)
    }

    pub(super) fn by_source(&self, latest: &[u8]) -> Cmd {
        self.script.by_source(latest, &self.keys, &self.args)
    }
}

/// Returns the SHA-1 of `bytes` in hexadecimal, as `redis.sha1hex` does.
#[must_use]
pub fn sha1_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digest = sha1(bytes);
    let halves = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    halves
        .map(|half| char::from(DIGITS[usize::from(half)]))
        .collect()
}

fn call(verb: &str, script: &str, latest: &[u8], keys: &[&str], args: &[&[u8]]) -> Cmd {
    let mut cmd = redis::cmd(verb);
    cmd.arg(script).arg(keys.len());
    for key in keys {
        cmd.arg(*key);
    }
    for arg in args {
        cmd.arg(*arg);
    }
    cmd.arg(latest);
    cmd
}

#[cfg(test)]
mod tests {
    use super::sha1_hex;

    #[test]
    fn sha1_as_redis_spells_it() {
        assert_eq!(
            sha1_hex(b"null"),
            "2be88ca4242c76e8253ac62474851065032d6833"
        );
    }
}
