//! A policy is refused with messages that quote no value, each with a line that the file has, or its callers have a tenant
//! that is served.

use std::sync::LazyLock;

use token_broker::{
    access::Ways,
    config::{PolicyFile, PolicyText, Problem},
};
use toml::{Table, Value};

use crate::input::{CANARY, planted, quotes_nothing, tenant};

static FILE: LazyLock<PolicyFile> =
    LazyLock::new(|| PolicyFile::new("policy.toml".into(), [tenant()].into(), Ways::all()));

pub fn run(bytes: &[u8]) -> Option<()> {
    let text = str::from_utf8(bytes).ok()?;
    match FILE.parse(&PolicyText::new(text.to_owned())) {
        Ok(policy) => {
            for caller in policy.callers() {
                assert_eq!(*caller.tenant, tenant());
                let (known, credentials) = policy.caller(&caller.name).expect("it is there");
                assert_eq!(known.name, caller.name);
                assert!(!credentials.is_empty(), "nobody can be this caller");
            }
        }
        Err(problems) => {
            let names_it = text.parse::<Table>().is_ok_and(|table| is_named(&table));
            let last = text.matches('\n').count() + 1;
            for problem in flawed(problems, text) {
                let told = problem.to_string();
                if !names_it {
                    quotes_nothing("a problem", &told);
                }
                let line = told
                    .split_once("line ")
                    .and_then(|(_, rest)| rest.split_once(':'));
                let line: usize = line
                    .and_then(|(line, _)| line.parse().ok())
                    .expect("a line");
                assert!((1..=last).contains(&line), "the file has no line {line}");
            }
        }
    }
    Some(())
}

/// Whether a key has the canary, at any depth. Keys are quoted.
fn is_named(table: &Table) -> bool {
    let within = |value: &Value| value.as_table().is_some_and(is_named);
    table
        .iter()
        .any(|(key, value)| key.contains(CANARY) || within(value))
}

fn flawed(mut problems: Vec<Problem>, text: &str) -> Vec<Problem> {
    // A hash that is none is quoted: it may be the token itself.
    let hash = text.split_once("bearer-sha256").map(|(_, rest)| rest);
    if let (true, Some(hash)) = (planted(), hash) {
        let told = problems
            .iter_mut()
            .filter(|problem| problem.message.contains("SHA-256"));
        told.for_each(|problem| problem.message += hash);
    }
    problems
}
