//! A configuration file is refused with messages that quote no value, each with a line that the file has, or resolves.

use token_broker::config::{Problem, Settings};
use toml::{Table, Value};

use super::settings::reads_a_device;
use crate::input::{CANARY, planted, prints_nothing, quotes_nothing};

pub fn run(bytes: &[u8]) -> Option<()> {
    let text = str::from_utf8(bytes).ok()?;
    if reads_a_device(text) {
        return None;
    }
    let settings = Settings::from_toml(text, "file");
    let names_it = text.parse::<Table>().is_ok_and(|table| is_named(&table));
    if !names_it {
        prints_nothing("settings", &settings);
    }
    match settings.clone().resolve() {
        Ok(config) => {
            let _ = settings.listed(&config);
        }
        Err(problems) => {
            let last = text.matches('\n').count() + 1;
            for problem in flawed(problems, text) {
                if !names_it {
                    quotes_nothing("a problem", &problem.to_string());
                }
                let line = problem.message.split_once("file, line ");
                let line =
                    line.and_then(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next());
                if let Some(line) = line.and_then(|line| line.parse::<usize>().ok()) {
                    assert!((1..=last).contains(&line), "the file has no line {line}");
                }
            }
        }
    }
    Some(())
}

/// Whether a key has the canary, at any depth. Keys are quoted.
fn is_named(table: &Table) -> bool {
    table
        .iter()
        .any(|(key, value)| key.contains(CANARY) || is_named_within(value))
}

fn is_named_within(value: &Value) -> bool {
    match value {
        Value::Table(table) => is_named(table),
        Value::Array(items) => items.iter().any(is_named_within),
        _ => false,
    }
}

fn flawed(mut problems: Vec<Problem>, text: &str) -> Vec<Problem> {
    // A mistake of syntax is told with the text around it, as parsers do.
    if planted() {
        let of_syntax = |problem: &&mut Problem| {
            problem.setting == "config" && !problem.message.contains("is not a setting")
        };
        let told = problems.iter_mut().filter(of_syntax);
        told.for_each(|problem| problem.message += text);
    }
    problems
}
