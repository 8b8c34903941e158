//! Prints the figures as a table in Markdown.

use std::{thread, time::Duration};

use crate::{
    delete_user::{Deletion, ROWS},
    driver::{CALLERS, Call, Round},
    setup::{Backend, CONNECTIONS, Options},
};

pub(crate) fn print_conditions(options: &Options) {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let Options {
        rounds,
        span,
        broker_args,
        ..
    } = options;
    println!(
        "{cores} cores, shared by client, broker and Redis. {CALLERS} callers over {CONNECTIONS} \
         connections, rows of 2 KiB. The median of {rounds} rounds of {span:?}, and in brackets the \
         lowest and the highest."
    );
    if !broker_args.is_empty() {
        println!("\nThe broker was started with `{}`.", broker_args.join(" "));
    }
    println!(
        "\ntoolhive's figures are those of its own storage on a Redis, called in its process: \
         without gRPC, on a machine of 2 cores as well."
    );
}

pub(crate) fn print_header(backend: Backend) {
    let name = match backend {
        Backend::Memory => "memory",
        Backend::Redis => "redis",
        Backend::Replicated => "redis, writes waiting for a replica",
    };
    println!(
        "\n| backend {name} | calls/s | p50 ms | p99 ms | CPU µs per call | toolhive: calls/s, p50, p99 |"
    );
    println!("|---|---|---|---|---|---|");
}

pub(crate) fn print_calls(call: Call, rounds: &[Round], backend: Backend) {
    let (name, peer) = match call {
        Call::Get => ("Get", "44,700, 1.3, 4.9"),
        Call::GetAll => ("GetAll of 8", "12,400, 4.8, 11.2"),
        Call::Store => ("Store", "37,300, 1.6, 3.6"),
    };
    let rates = spread(rounds, |round| round.calls_a_second());
    let p50 = spread(rounds, |round| millis(round.percentile(50)));
    let p99 = spread(rounds, |round| millis(round.percentile(99)));
    let processes = rounds[0].cpu.iter().enumerate().map(|(nth, (name, _))| {
        let micros = spread(rounds, |round| round.cpu[nth].1.as_secs_f64() * 1e6).0;
        format!("{name} {micros:.1}")
    });
    println!(
        "| {name} | {} ({}-{}) | {:.1} | {:.1} | {} | {} |",
        thousands(rates.0),
        thousands(rates.1),
        thousands(rates.2),
        p50.0,
        p99.0,
        processes.collect::<Vec<_>>().join(", "),
        peer_of(backend, peer),
    );
}

pub(crate) fn print_delete_user(rounds: &[Deletion], backend: Backend) {
    let took = spread(rounds, |round| millis(round.took));
    let longest = spread(rounds, |round| millis(round.longest_get));
    let before = spread(rounds, |round| millis(round.longest_get_before));
    println!(
        "| DeleteUser, {} rows | {:.0} ms ({:.0}-{:.0}) | | | | {} |",
        thousands(f64::from(ROWS)),
        took.0,
        took.1,
        took.2,
        peer_of(backend, "643 ms"),
    );
    println!(
        "\nThe longest that one caller of Get waited while DeleteUser ran: {:.1} ms ({:.1}-{:.1}); \
         in a while without it: {:.1} ms ({:.1}-{:.1}).",
        longest.0, longest.1, longest.2, before.0, before.1, before.2,
    );
}

/// Returns the peer's `figures`, if it has any for this backend: it has none in memory.
fn peer_of(backend: Backend, figures: &str) -> &str {
    match backend {
        Backend::Memory | Backend::Replicated => "",
        Backend::Redis => figures,
    }
}

/// Returns the median, the lowest and the highest figure.
fn spread<T>(rounds: &[T], figure: impl Fn(&T) -> f64) -> (f64, f64, f64) {
    let mut figures: Vec<f64> = rounds.iter().map(figure).collect();
    figures.sort_unstable_by(f64::total_cmp);
    (
        figures[figures.len() / 2],
        figures[0],
        figures[figures.len() - 1],
    )
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let head = digits.len() % 3;
    let mut groups = vec![&digits[..head]];
    groups.extend(
        (head..digits.len())
            .step_by(3)
            .map(|at| &digits[at..at + 3]),
    );
    groups.retain(|group| !group.is_empty());
    groups.join(",")
}
