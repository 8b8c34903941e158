//! The targets, one a file. Each says in its first lines what has to hold whatever the bytes are.

mod answer;
mod certificate;
mod config_file;
mod envelope;
mod key_file;
mod keyspace;
mod page_token;
mod pending;
mod policy;
mod record;
mod redis_url;
mod rewrite;
mod row;
mod sealed_row;
mod settings;
mod spiffe_id;
mod traceparent;

/// Tries some bytes. Panics if something doesn't hold that has to. `None`: the bytes aren't worth keeping.
pub type Target = fn(&[u8]) -> Option<()>;

/// All targets by name. `scripts/fuzz` reads the names from the folder `fuzz/seeds`, which has a folder for each.
const ALL: &[(&str, Target)] = &[
    ("answer", answer::run),
    ("certificate", certificate::run),
    ("config_file", config_file::run),
    ("envelope", envelope::run),
    ("key_file", key_file::run),
    ("keyspace", keyspace::run),
    ("page_token", page_token::run),
    ("pending", pending::run),
    ("policy", policy::run),
    ("record", record::run),
    ("redis_url", redis_url::run),
    ("rewrite", rewrite::run),
    ("row", row::run),
    ("sealed_row", sealed_row::run),
    ("settings", settings::run),
    ("spiffe_id", spiffe_id::run),
    ("traceparent", traceparent::run),
];

/// Returns the target of this name.
pub fn named(name: &str) -> Option<Target> {
    let found = ALL.iter().find(|(known, _)| *known == name);
    found.map(|(_, target)| *target)
}

/// Returns all names, for a message.
pub fn names() -> String {
    let names: Vec<_> = ALL.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}
