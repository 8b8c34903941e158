//! The settings of the audit trail.

use std::{path::PathBuf, time::Duration};

use crate::{
    audit::Duty,
    config::{
        syntax::{FILE, choice, file, number, span},
        value::{Form, Value},
    },
};

const DUTIES: [(&str, Option<Duty>); 3] = [
    ("off", None),
    ("best-effort", Some(Duty::BestEffort)),
    ("required", Some(Duty::Required)),
];

const SYNCS: [(&str, bool); 2] = [("write", false), ("fsync", true)];

settings! {
    /// The settings of the audit trail.
    #[derive(Debug)]
    pub(in crate::config) struct AuditSettings in "Audit" {
        /// Whether each call is written to the audit trail: `off`, `best-effort` (calls go on if events can't be written) or
        /// `required` (no answer without its event)
        audit: Option<Duty> = choice("WHEN", &DUTIES).default("off");
        /// File that events are appended to, or `-` for the standard output. Of several, each has all events
        audit_file: Vec<PathBuf> = files();
        /// File with the key of the hashes that stand for sessions and users: 32 bytes or more in base64
        audit_key_file: Option<PathBuf> = file().optional();
        /// When an event counts as written: `write` (the system has it) or `fsync` (the disk has it)
        audit_sync: bool = choice("WHEN", &SYNCS).default("write");
        /// Size at which a file is full and gets another name, in bytes; 0: never
        audit_file_size: u64 = number(0..=1 << 40).default("104857600");
        /// Number of full files that are kept
        audit_file_keep: u32 = number(1..=10_000).default("100");
        /// How long an answer waits for its event to be written, with `required`
        audit_timeout: Duration = span().default("1s");
    }
}

fn files() -> Value<Vec<PathBuf>> {
    Value::list(Form::List, FILE, |files: &mut Vec<PathBuf>, path| {
        if path.is_empty() {
            return Err("must be the path of a file, or -");
        }
        let path = PathBuf::from(path);
        if files.contains(&path) {
            return Err("is there already");
        }
        files.push(path);
        Ok(())
    })
}
