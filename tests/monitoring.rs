//! Tests that what is written about metrics holds: the table in `docs/monitoring.md`, the alert rules and the
//! dashboard name only metrics that there are, with labels that they have.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::LazyLock,
};

use serde_json::Value;
use testkit::{broker::rules, provider, redis_server::RedisServer, redis_tenant::RedisTenant};
use token_broker::{
    access::Guard,
    config::Settings,
    server::{Ready, Server, Upkeep},
    tokens::Rules,
};
use yaml_rust2::{Yaml, YamlLoader};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// What a broker that hasn't begun to serve measures.
fn encoded() -> String {
    let tenant = RedisTenant::on(RedisServer::shared());
    let rules = Rules {
        providers: provider::providers([provider::options("p")]),
        ..rules(tenant.name().clone())
    };
    let options = Settings::default().resolve().unwrap().server;
    let guard = Guard::open(rules.tenant.clone());
    let upkeep: Box<dyn Upkeep> = Box::new(Ready);
    let server = Server::new(guard, [(tenant.store(), rules, upkeep)], options);
    server.metrics().encode()
}

/// The types of all metrics, by name.
fn metrics() -> BTreeMap<String, String> {
    let text = encoded();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect()
}

/// Returns the metric that a series belongs to: a histogram has several.
fn family<'n>(series: &'n str, metrics: &BTreeMap<String, String>) -> Option<&'n str> {
    if metrics.contains_key(series) {
        return Some(series);
    }
    let mut ends = ["_bucket", "_sum", "_count"].into_iter();
    let name = ends.find_map(|end| series.strip_suffix(end))?;
    (metrics.get(name)? == "histogram").then_some(name)
}

/// The metrics in the table of the docs, each with its type and its labels.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let text = read("docs/monitoring.md");
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
        let name = cells.next()?.trim_end_matches('`').to_owned();
        let kind = cells.next()?.to_owned();
        if !matches!(&*kind, "counter" | "gauge" | "histogram") {
            return None;
        }
        let labels = cells.next()?.split('`').skip(1).step_by(2);
        Some((name, (kind, labels.map(str::to_owned).collect())))
    });
    rows.collect()
}

/// A word of an expression, or one of the marks between them. What is in quotes is left out.
#[derive(Debug, PartialEq)]
enum Part {
    Word(String),
    Mark(char),
}

fn parts(expression: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = expression.chars().peekable();
    while let Some(next) = rest.next() {
        let is_of_word = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '$');
        if next == '"' {
            assert!(rest.by_ref().any(|c| c == '"'), "quotes: {expression}");
        } else if is_of_word(&next) {
            let mut word = String::from(next);
            while let Some(next) = rest.next_if(is_of_word) {
                word.push(next);
            }
            parts.push(Part::Word(word));
        } else if !next.is_whitespace() {
            parts.push(Part::Mark(next));
        }
    }
    parts
}

/// The words between this bracket, which is the next mark, and its end.
fn within(parts: &[Part], begin: char, end: char) -> impl Iterator<Item = &String> {
    let inside = if parts.first() == Some(&Part::Mark(begin)) {
        let end = parts.iter().position(|part| *part == Part::Mark(end));
        &parts[1..end.expect("an end of the bracket")]
    } else {
        &[]
    };
    inside.iter().filter_map(|part| match part {
        Part::Word(word) => Some(word),
        Part::Mark(_) => None,
    })
}

/// The series that an expression names, each with the labels that it selects by. The labels by which it groups are those
/// of every series.
fn selectors(expression: &str) -> Vec<(String, Vec<String>)> {
    let parts = parts(expression);
    let mut open = Vec::new();
    for part in &parts {
        match part {
            Part::Mark(begin @ ('(' | '{' | '[')) => open.push(*begin),
            Part::Mark(end @ (')' | '}' | ']')) => {
                let begin = open.pop().expect("a bracket that is open");
                assert!(
                    ["()", "{}", "[]"].contains(&&*format!("{begin}{end}")),
                    "{expression}"
                );
            }
            _ => {}
        }
    }
    assert!(open.is_empty(), "{expression}");
    let words = || {
        let words = parts.iter().enumerate();
        words.filter_map(|(at, part)| match part {
            Part::Word(word) => Some((word, &parts[at + 1..])),
            Part::Mark(_) => None,
        })
    };
    let grouping = words().filter(|(word, _)| matches!(&***word, "by" | "without"));
    let grouping: Vec<_> = grouping
        .flat_map(|(_, rest)| within(rest, '(', ')').cloned())
        .collect();
    let is_series = |word: &str| {
        ["token_broker_", "process_"]
            .iter()
            .any(|of| word.starts_with(of))
            || word == "up"
    };
    let series = words().filter(|(word, _)| is_series(word));
    series
        .map(|(word, rest)| {
            let labels = within(rest, '{', '}').chain(&grouping).cloned();
            (word.clone(), labels.collect())
        })
        .collect()
}

/// Returns what is wrong with the series and labels that an expression names.
fn mistakes(expression: &str) -> Vec<String> {
    static METRICS: LazyLock<BTreeMap<String, String>> = LazyLock::new(metrics);
    let documented = documented();
    let mut mistakes = Vec::new();
    for (series, labels) in selectors(expression) {
        // Prometheus itself makes this one.
        if series == "up" {
            continue;
        }
        let Some(name) = family(&series, &METRICS) else {
            mistakes.push(format!("there is no {series}"));
            continue;
        };
        let known = &documented[name].1;
        let is_known = |label: &str| {
            // Prometheus adds the first two, and a histogram's buckets have the last one.
            matches!(label, "job" | "instance" | "le") || known.contains(label)
        };
        let unknown = labels.iter().filter(|label| !is_known(label));
        mistakes.extend(unknown.map(|label| format!("{series} has no {label}")));
    }
    mistakes
}

fn alerts() -> Vec<(String, String)> {
    let file = YamlLoader::load_from_str(&read("deploy/monitoring/alerts.yaml")).unwrap();
    let text = |rule: &Yaml, key: &str| rule[key].as_str().unwrap_or_default().to_owned();
    let groups = file[0]["groups"].as_vec().unwrap();
    let rules = groups
        .iter()
        .flat_map(|group| group["rules"].as_vec().unwrap());
    rules
        .map(|rule| {
            assert!(rule["labels"]["severity"].as_str().is_some(), "{rule:?}");
            assert!(
                rule["annotations"]["summary"].as_str().is_some(),
                "{rule:?}"
            );
            (text(rule, "alert"), text(rule, "expr"))
        })
        .collect()
}

/// The expressions of the dashboard, each with its panel's title.
fn panels() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&read("deploy/monitoring/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| {
        let title = panel["title"].as_str().unwrap();
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(move |target| {
            let expression = target["expr"].as_str().unwrap();
            (title.to_owned(), expression.to_owned())
        })
    });
    targets.collect()
}

#[test]
fn every_metric_is_in_the_docs_with_its_type() {
    let documented = documented();
    let documented: BTreeMap<_, _> = documented
        .into_iter()
        .map(|(name, (kind, _))| (name, kind))
        .collect();
    assert_eq!(documented, metrics());
}

#[test]
fn the_labels_in_the_docs_are_those_that_there_are() {
    let text = encoded();
    let (metrics, documented) = (metrics(), documented());
    let mut seen = 0;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_once(['{', ' ']).unwrap();
        let name = family(name, &metrics).unwrap();
        let names = rest.split_once('}').map_or("", |(labels, _)| labels);
        let names = names.split("\",").filter_map(|label| label.split_once('='));
        let mut names: BTreeSet<_> = names.map(|(label, _)| label.to_owned()).collect();
        names.remove("le");
        assert_eq!(names, documented[name].1, "{line}");
        seen += 1;
    }
    assert!(seen > 100);
}

#[test]
fn the_alerts_and_the_dashboard_name_what_there_is() {
    let (alerts, panels) = (alerts(), panels());
    assert!(alerts.len() > 10 && panels.len() > 20);
    for (title, expression) in alerts.iter().chain(&panels) {
        let mistakes = mistakes(expression);
        assert!(mistakes.is_empty(), "{title}: {mistakes:?}");
    }
}

#[test]
fn a_planted_mistake_is_found() {
    for (expression, expected) in [
        (
            "rate(token_broker_call_total[5m]) > 0",
            "there is no token_broker_call_total",
        ),
        (
            "token_broker_calls_in_flight_bucket",
            "there is no token_broker_calls_in_flight_bucket",
        ),
        (
            "sum(token_broker_bytes_in_flight{tenant=\"a\"}) or up",
            "token_broker_bytes_in_flight has no tenant",
        ),
        (
            "max by (provider) (token_broker_sealing_keys)",
            "token_broker_sealing_keys has no provider",
        ),
    ] {
        assert_eq!(mistakes(expression), [expected]);
    }
}

#[test]
fn every_alert_is_in_the_docs() {
    let text = read("docs/monitoring.md");
    let told = text.lines().filter_map(|line| {
        let name = line.strip_prefix("| `")?.split('`').next()?;
        name.starts_with("TokenBroker").then_some(name)
    });
    let told: Vec<_> = told.collect();
    let alerts: Vec<_> = alerts().into_iter().map(|(name, _)| name).collect();
    assert_eq!(told, alerts);
}
