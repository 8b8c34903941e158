//! A decision as the call of a script that carries it out, if what it was made on still holds.

use zeroize::Zeroizing;

use super::{
    LegacyMapping,
    candidate::Candidate,
    identity::{self, Copied},
    outcome::Outcome,
    row::{self, Decision, Rewritten},
};
use crate::store::redis::{
    keyspace::Keyspace,
    scripts::{Call, Scripts, sha1_hex},
};

/// What is to be at the new key, whatever is there now.
pub struct Aim {
    /// The new key.
    pub key: String,
    /// Of the older value.
    sha: String,
    what: What,
}

enum What {
    Row(Rewritten),
    Identity(Copied),
}

/// A call and what it comes to, if it is done.
pub struct Step {
    is_row: bool,
    keys: Vec<String>,
    args: Vec<Zeroizing<Vec<u8>>>,
    /// What became of the older data when the script says `done`.
    pub outcome: Outcome,
}

impl Aim {
    /// Where `candidate`, which holds `legacy`, belongs.
    ///
    /// # Errors
    /// What becomes of it if it stays where it is.
    pub fn new(
        candidate: &Candidate,
        legacy: &[u8],
        keys: &Keyspace,
        mapping: &LegacyMapping,
    ) -> Result<Self, Outcome> {
        let (key, what) = match candidate {
            Candidate::Row { session, .. } => {
                let rewritten = row::rewrite(session.clone(), legacy, mapping)?;
                (keys.row(&rewritten.key), What::Row(rewritten))
            }
            Candidate::Identity { link, .. } => {
                let copied = identity::rewrite(link, legacy)?;
                let provider = keys.provider_identities(link.provider.as_str());
                (
                    format!("{provider}{}", link.subject),
                    What::Identity(copied),
                )
            }
        };
        Ok(Self {
            key,
            sha: sha1_hex(legacy),
            what,
        })
    }

    /// What is to be done, where the new key holds `existing`.
    ///
    /// # Errors
    /// What becomes of the older data if there is nothing to do.
    pub fn step(
        self,
        legacy_key: &str,
        existing: Option<&[u8]>,
        keys: &Keyspace,
        apply: bool,
    ) -> Result<Step, Outcome> {
        match self.what {
            What::Row(rewritten) => {
                let decision = row::decide(&rewritten, existing)?;
                let sha = existing.map(sha1_hex).unwrap_or_default();
                let names = [legacy_key.to_owned(), self.key];
                Ok(row_step(
                    rewritten,
                    decision,
                    names,
                    [self.sha, sha],
                    keys,
                    apply,
                ))
            }
            What::Identity(copied) => {
                if let Some(existing) = existing {
                    return Err(identity::decide(&copied, existing));
                }
                Ok(Step {
                    is_row: false,
                    keys: vec![
                        legacy_key.to_owned(),
                        self.key,
                        keys.user_identities(&copied.user),
                    ],
                    args: vec![text(self.sha), copied.json, flag(apply)],
                    outcome: Outcome::Migrated,
                })
            }
        }
    }
}

fn row_step(
    rewritten: Rewritten,
    decision: Decision,
    names: [String; 2],
    shas: [String; 2],
    keyspace: &Keyspace,
    apply: bool,
) -> Step {
    let Rewritten { key, json, user } = rewritten;
    let (json, former, outcome) = match decision {
        Decision::Move => (json, None, Outcome::Migrated),
        Decision::Supersede(former) => (json, former, Outcome::Superseded),
        Decision::Drop => (Zeroizing::default(), None, Outcome::Dropped),
    };
    let mut keys = Vec::from(names);
    keys.push(keyspace.session_index(&key.session));
    keys.push(keyspace.grace());
    if let Some(user) = &user {
        keys.push(keyspace.user_index(user));
        // Where toolhive put the older row.
        let plain = keyspace.plain_user_index(user);
        if !keys.contains(&plain) {
            keys.push(plain);
        }
    }
    let former = former.map(|user| keyspace.user_index(&user));
    keys.extend(former.filter(|index| !keys.contains(index)));
    let [legacy_sha, sha] = shas;
    let args = vec![
        text(keyspace.prefix().to_owned()),
        text(legacy_sha),
        text(sha),
        json,
        flag(user.is_some()),
        flag(apply),
    ];
    Step {
        is_row: true,
        keys,
        args,
        outcome,
    }
}

impl Step {
    /// The call of the script.
    pub fn call<'a>(&'a self, scripts: &'a Scripts) -> Call<'a> {
        Call {
            script: if self.is_row {
                &scripts.migrate_row
            } else {
                &scripts.migrate_identity
            },
            keys: self.keys.iter().map(String::as_str).collect(),
            args: self.args.iter().map(|arg| arg.as_slice()).collect(),
        }
    }
}

fn text(arg: String) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(arg.into_bytes())
}

fn flag(on: bool) -> Zeroizing<Vec<u8>> {
    text(if on { "1" } else { "" }.to_owned())
}
