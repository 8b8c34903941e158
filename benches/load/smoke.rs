//! The benchmark as a test: a tiny run of everything, and a check of every figure. It says nothing about speed.

use std::{collections::BTreeMap, thread, time::Duration};

use prost::Message;
use serde_json::Value;
use token_broker::proto::v1::token_broker_client::TokenBrokerClient;

use crate::{
    closed_loop,
    floor::Echo,
    json, measure,
    options::{Options, Sizes},
    requests::{Method, Requests},
    rows::{self, Key},
    servers::{Server, Subject},
};

const WORDS: &str = "echo raw memory redis replicated get get-all get-access-token store 1x1 8x4 50% 500/s delete-user growth \
                     footprint start migration trust --redis-connections=2";
const ROUNDS: usize = 2;

/// Runs as cargo's tests do: a filter that doesn't fit skips it, and `--list` names it.
pub(crate) fn run() {
    const NAME: &str = "load_smoke";
    let args: Vec<_> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--list") {
        println!("{NAME}: test");
        return;
    }
    let filters: Vec<_> = args
        .iter()
        .take_while(|arg| !arg.starts_with('-'))
        .collect();
    if !filters.is_empty() && !filters.iter().any(|filter| NAME.contains(filter.as_str())) {
        return;
    }
    let mut options = Options::parse(WORDS.split_whitespace().map(str::to_owned));
    options.rounds = ROUNDS;
    options.span = Duration::from_millis(30);
    options.sizes = Sizes {
        peak: (8, 4),
        sessions: 20,
        rows_of_a_user: 100,
        growth: vec![5, 20],
        footprint: (20, 50),
        migration: 200,
    };
    the_echo_answers_the_same_bytes(&options);
    a_refusal_is_told(&options);
    let tables = measure(&options);
    let text = format!("{:#}", json::report(&options, &tables));
    let wrong = problems(&serde_json::from_str(&text).unwrap());
    assert!(wrong.is_empty(), "\n{}\n{text}", wrong.join("\n"));
    the_check_notices(&text);
    println!("test {NAME} ... ok");
}

/// The floor is one only if it sends as much as the broker.
fn the_echo_answers_the_same_bytes(options: &Options) {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    let (echo, broker) = (
        Echo::start(),
        Server::start(Subject::Memory, options, &runtime),
    );
    let row = Key {
        session: 1,
        provider: 0,
    };
    let sizes = [echo.address, broker.address()].map(|address| {
        runtime.block_on(async {
            let client = TokenBrokerClient::connect(format!("http://{address}")).await;
            let mut client = client.unwrap();
            let get = client.get(rows::get(row)).await.unwrap().into_inner();
            let all = client.get_all(rows::get_all(row.session)).await.unwrap();
            let stored = client.store(rows::store(row)).await.unwrap();
            [
                get.encoded_len(),
                all.into_inner().encoded_len(),
                stored.into_inner().encoded_len(),
            ]
        })
    });
    for (echo, broker) in sizes[0].into_iter().zip(sizes[1]) {
        // A version may be a byte shorter or two.
        assert!(echo.abs_diff(broker) <= 2 + broker / 100, "{sizes:?}");
    }
}

/// A run that ends because a call was refused says why.
fn a_refusal_is_told(options: &Options) {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    let broker = Server::start(Subject::Memory, options, &runtime);
    let place = broker.place().clone();
    let asks_for_nothing = Requests::of(Method::Get, vec![Vec::new()]);
    let refused = thread::spawn(move || closed_loop::each(&place, &asks_for_nothing)).join();
    let refused = refused.unwrap_err();
    let told = refused.downcast_ref::<String>().unwrap();
    // The code of gRPC for a wrong argument, and the broker's message.
    assert!(told.contains("grpc-status 3 "), "{told}");
    assert!(told.contains("session_id"), "{told}");
}

/// Returns what is missing or can't be.
fn problems(report: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    if report["schema"] != json::SCHEMA {
        problems.push("another schema".to_owned());
    }
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for series in report["series"].as_array().unwrap() {
        let label = |name: &str| series[name].as_str().unwrap_or_default();
        let name = format!(
            "{} {} {}",
            label("measure"),
            label("call"),
            label("subject")
        );
        let figures = series["figures"].as_object().unwrap();
        let required = required(label("measure"), label("subject"));
        let missing = required
            .iter()
            .filter(|figure| !figures.contains_key(**figure));
        problems.extend(missing.map(|figure| format!("{name}: no {figure}")));
        for (figure, value) in figures {
            let may_be_none = ["cpu", "busy", "wait"].iter().any(|of| figure.contains(of));
            let is_sane = is_sane(value, may_be_none);
            let may_lack_base = ["cpu", "busy", "waits", "redis"];
            let has_ratio = may_lack_base.iter().any(|of| figure.contains(of)) || {
                let is_call = matches!(label("measure"), "closed" | "open" | "trust");
                let is_floor = matches!(label("subject"), "echo" | "none");
                value["ratio"].is_object() == (is_call && !is_floor) || label("measure") == "growth"
            };
            if !is_sane || !has_ratio {
                problems.push(format!("{name}: {figure} is {value}"));
            }
        }
        let median = |figure: &str| series["figures"][figure]["median"].as_f64();
        if median("p50_us") > median("p99_us") || median("p99_us") > median("p999_us") {
            problems.push(format!("{name}: the quantiles aren't in order"));
        }
        *found.entry(name).or_default() += 1;
    }
    for (name, times) in expected() {
        if found.get(&name) != Some(&times) {
            problems.push(format!(
                "{name}: not {times} times, but {:?}",
                found.get(&name)
            ));
        }
    }
    problems
}

/// Returns whether a figure has a value a round, and they are finite and positive. CPU time and waits may be 0 in a
/// short round.
fn is_sane(figure: &Value, may_be_none: bool) -> bool {
    let number = |name: &str| figure[name].as_f64().unwrap_or(f64::NAN);
    let rounds = figure["rounds"].as_array().map_or(0, Vec::len);
    let (lowest, median, highest) = (number("lowest"), number("median"), number("highest"));
    let is_positive = lowest > 0.0 || may_be_none && lowest == 0.0;
    is_positive
        && lowest <= median
        && median <= highest
        && highest.is_finite()
        && (rounds == ROUNDS || rounds == 1)
        && (figure["ratio"].is_null() || is_sane(&figure["ratio"], may_be_none))
}

fn required(measure: &str, subject: &str) -> Vec<&'static str> {
    let mut required = match measure {
        "closed" | "open" | "growth" | "trust" => {
            vec![
                "calls_per_second",
                "p50_us",
                "p99_us",
                "p999_us",
                "client_cpu_us",
            ]
        }
        "delete-user" => vec!["took_ms", "longest_wait_ms", "longest_wait_before_ms"],
        "footprint" => vec!["idle_mib", "connections_mib"],
        "start" => vec!["serving_ms"],
        "migration" => vec!["rows_per_second", "other_p99_us", "redis_busy_percent"],
        other => panic!("{other}"),
    };
    if measure == "open" {
        required.extend(["busy_percent", "client_waits_us", "server_waits_us"]);
    }
    if required.contains(&"p50_us") {
        if subject != "raw" {
            required.extend(["server_cpu_us", "server_peak_mib"]);
        }
        if !matches!(subject, "echo" | "memory") {
            required.extend(["redis_cpu_us", "redis_peak_mib"]);
        }
        if subject == "replicated" {
            required.push("replica_cpu_us");
        }
    }
    if (measure, subject) == ("footprint", "memory") {
        required.extend(["rows_mib", "payload_mib", "to_payload"]);
    }
    required
}

/// Returns each series that there must be, and how often.
fn expected() -> Vec<(String, usize)> {
    let mut expected = Vec::new();
    for method in Method::ALL {
        for subject in Subject::ALL {
            let name = |measure: &str| format!("{measure} {} {}", method.word(), subject.word());
            expected.push((name("closed"), 2));
            if subject != Subject::Raw {
                expected.push((name("open"), 2));
            }
        }
    }
    for backend in ["memory", "redis"] {
        expected.push((format!("growth get {backend}"), 4));
        expected.push((format!("delete-user  {backend}"), 1));
        expected.push((format!("footprint  {backend}"), 1));
        expected.push((format!("start  {backend}"), 1));
    }
    for guards in [
        "none", "sealing", "policy", "audit", "metrics", "mtls", "all",
    ] {
        expected.push((format!("trust closed {guards}"), 1));
        expected.push((format!("trust open {guards}"), 1));
    }
    expected.push(("delete-user  replicated".to_owned(), 1));
    expected.push(("migration  redis".to_owned(), 1));
    expected
}

/// A check that can't fail shows nothing: each of these changes must be noticed.
fn the_check_notices(report: &str) {
    let broken: [fn(&mut Value); 5] = [
        |report| report["series"][0]["figures"]["p99_us"]["median"] = Value::Null,
        |report| report["series"][0]["figures"]["calls_per_second"]["lowest"] = (-1).into(),
        |report| report["series"][1]["figures"]["p50_us"]["ratio"] = Value::Null,
        |report| {
            drop(
                report["series"][2]["figures"]
                    .as_object_mut()
                    .unwrap()
                    .remove("p999_us"),
            )
        },
        |report| drop(report["series"].as_array_mut().unwrap().pop()),
    ];
    for (nth, damage) in broken.iter().enumerate() {
        let mut report = serde_json::from_str(report).unwrap();
        damage(&mut report);
        assert!(!problems(&report).is_empty(), "damage {nth} isn't noticed");
    }
}
