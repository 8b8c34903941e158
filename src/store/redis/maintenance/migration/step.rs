//! The calls of the scripts that carry out what was decided. A call carries out several steps, because most of what a
//! script costs is the same for one step and for many.

use super::{
    Migration,
    identity::Copied,
    report::Outcome,
    row::{Decision, Rewritten},
};
use crate::{
    store::redis::{
        keyspace::{Key, Keyspace},
        scripts::{Call, Script},
    },
    types::SecretBytes,
};

/// How many steps go in one call at most. Other clients wait while a script runs: for about half a millisecond.
pub const STEPS_A_CALL: usize = 16;
/// From this many bytes on, a call takes no further step.
const BYTES_A_CALL: usize = 64 * 1024;

/// What is to be done with a piece.
pub struct Step {
    kind: Kind,
    keys: Vec<Key>,
    args: Vec<SecretBytes>,
    /// How many bytes the script reads and is sent.
    bytes: usize,
    /// What becomes of the piece if the script answers `done`.
    pub outcome: Outcome,
}

/// The older value of a piece.
pub struct Older {
    /// Its SHA-1.
    pub sha: String,
    /// How long it is.
    pub bytes: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Row,
    Identity,
}

impl Step {
    /// Moves or drops a row. `names` are its older and its new key. They hold `older` and something with the
    /// digest `sha`, which is empty if there is nothing.
    pub fn row(
        keyspace: &Keyspace,
        rewritten: Rewritten,
        decision: Decision,
        names: [Key; 2],
        older: Older,
        sha: String,
    ) -> Self {
        let Rewritten { key, json, user } = rewritten;
        let (json, former, outcome) = match decision {
            Decision::Move => (json, None, Outcome::Migrated),
            Decision::Supersede(former) => (json, former, Outcome::Superseded),
            Decision::Drop => (SecretBytes::default(), None, Outcome::Dropped),
        };
        let mut keys = Vec::with_capacity(5);
        keys.extend(names);
        keys.push(keyspace.session_index(&key.session));
        if let Some(user) = &user {
            keys.push(keyspace.user_index(user));
            // Toolhive put the older row into this one.
            let plain = keyspace.plain_user_index(user);
            if !keys.contains(&plain) {
                keys.push(plain);
            }
        }
        let former = former.map(|user| keyspace.user_index(&user));
        keys.extend(former.filter(|index| !keys.contains(index)));
        let bytes = older.bytes + json.len();
        let args = vec![
            text(keys.len().to_string()),
            flag(user.is_some()),
            text(older.sha),
            text(sha),
            json,
        ];
        Self {
            kind: Kind::Row,
            keys,
            args,
            bytes,
            outcome,
        }
    }

    /// Copies an identity. `names` are its older key, which holds `older`, and its new key.
    pub fn identity(keyspace: &Keyspace, copied: Copied, names: [Key; 2], older: Older) -> Self {
        let mut keys = Vec::from(names);
        keys.push(keyspace.user_identities(&copied.user));
        Self {
            kind: Kind::Identity,
            keys,
            bytes: older.bytes + copied.json.len(),
            args: vec![text(older.sha), copied.json],
            outcome: Outcome::Migrated,
        }
    }
}

/// What all calls begin with.
pub struct Shared<'a> {
    migration: &'a Migration,
    grace: Key,
    apply: &'static [u8],
}

impl<'a> Shared<'a> {
    /// Calls that act, or only look unless `apply`.
    pub fn new(migration: &'a Migration, apply: bool) -> Self {
        Self {
            migration,
            grace: migration.keys.grace(),
            apply: if apply { b"1" } else { b"" },
        }
    }

    /// Returns the calls that carry out `steps`. Each answers a list, and the lists together have an answer for each
    /// step, in their order.
    pub fn calls<'s>(&'s self, steps: impl Iterator<Item = &'s Step>) -> Vec<Call<'s>> {
        let mut calls = Vec::new();
        let mut current = None::<(Kind, usize, usize)>;
        for step in steps {
            let (count, bytes) = match current {
                Some((kind, count, bytes))
                    if kind == step.kind
                        && count < self.migration.steps_a_call
                        && bytes < BYTES_A_CALL =>
                {
                    (count, bytes)
                }
                _ => {
                    calls.push(self.begin(step.kind));
                    (0, 0)
                }
            };
            if let Some(call) = calls.last_mut() {
                call.keys.extend(step.keys.iter().map(Key::as_str));
                call.args.extend(step.args.iter().map(|arg| &**arg));
            }
            current = Some((step.kind, count + 1, bytes + step.bytes));
        }
        calls
    }

    fn begin(&self, kind: Kind) -> Call<'_> {
        let Migration { keys, scripts, .. } = self.migration;
        let (script, keys, args): (&Script, Vec<&str>, Vec<&[u8]>) = match kind {
            Kind::Row => (
                &scripts.migrate_row,
                vec![self.grace.as_str()],
                vec![keys.prefix().as_bytes(), self.apply],
            ),
            Kind::Identity => (&scripts.migrate_identity, Vec::new(), vec![self.apply]),
        };
        Call { script, keys, args }
    }
}

fn text(arg: String) -> SecretBytes {
    SecretBytes::new(arg.into_bytes())
}

fn flag(on: bool) -> SecretBytes {
    text(if on { "1" } else { "" }.to_owned())
}
