//! Measures calls: all subjects under one load, round by round, so that what disturbs the machine disturbs all of them.

use serde_json::json;
use tokio::runtime::Runtime;

use crate::{
    closed_loop,
    figures::{Figure, Series, Table},
    open_loop,
    options::{Load, Options},
    process::Role,
    raw,
    requests::{Method, Requests},
    servers::{Server, Subject, Target},
    window::Sample,
};

/// Measures a method under each load, and passes on each table when it is complete.
pub(crate) fn measure(
    servers: &[Server],
    method: Method,
    options: &Options,
    runtime: &Runtime,
    mut done: impl FnMut(Table),
) {
    let mut servers: Vec<_> = servers.iter().collect();
    if !options.is_named && method != Method::Store {
        servers.retain(|server| server.subject != Subject::Replicated);
    }
    let mut caller = Caller {
        requests: Requests::new(method, 0..options.sizes.sessions),
        options,
        runtime,
    };
    let mut peaks = None;
    for load in &options.loads {
        let table = match *load {
            Load::Closed {
                callers,
                connections,
            } => {
                let samples = caller.closed_rounds(&servers, (callers, connections));
                let table = closed_table(method, (callers, connections), &samples);
                if (callers, connections) == options.sizes.peak {
                    peaks = Some(peaks_of(&samples));
                }
                table
            }
            Load::Open { percent } => {
                let peaks = peaks.get_or_insert_with(|| {
                    peaks_of(&caller.closed_rounds(&servers, options.sizes.peak))
                });
                let rates: Vec<_> = peaks
                    .iter()
                    .map(|peak| peak * f64::from(percent) / 100.0)
                    .collect();
                let samples = caller.open_rounds(&servers, &rates);
                let load = format!("{percent}% of each subject's peak");
                open_table(method, (&load, Some(percent)), options, &rates, &samples)
            }
            Load::Rate { calls_per_second } => {
                let rates = vec![f64::from(calls_per_second); servers.len()];
                let samples = caller.open_rounds(&servers, &rates);
                let load = format!("{calls_per_second} calls/s");
                open_table(method, (&load, None), options, &rates, &samples)
            }
        };
        done(table);
    }
}

/// The rounds of each subject.
type Samples = Vec<(Subject, Vec<Sample>)>;

struct Caller<'a> {
    requests: Requests,
    options: &'a Options,
    runtime: &'a Runtime,
}

impl Caller<'_> {
    fn closed_rounds(&mut self, servers: &[&Server], load: (usize, usize)) -> Samples {
        self.rounds(servers, |caller, server, _| caller.closed(server, load))
    }

    /// The raw commands are left out: an open loop shows how long the servers of gRPC let callers wait.
    fn open_rounds(&mut self, servers: &[&Server], rates: &[f64]) -> Samples {
        let grpc = |server: &&&Server| matches!(server.target, Target::Grpc(_));
        let servers: Vec<_> = servers.iter().filter(grpc).copied().collect();
        self.rounds(&servers, |caller, server, nth| {
            let Options { span, .. } = *caller.options;
            let (place, requests) = (server.place(), &mut caller.requests);
            open_loop::measure(
                place,
                rates[nth],
                caller.options.sizes.peak.1,
                requests,
                span,
                &server.processes,
            )
        })
    }

    fn rounds(
        &mut self,
        servers: &[&Server],
        mut measure: impl FnMut(&mut Self, &Server, usize) -> Sample,
    ) -> Samples {
        let mut samples: Samples = servers.iter().map(|s| (s.subject, Vec::new())).collect();
        for _ in 0..self.options.rounds {
            for (nth, server) in servers.iter().enumerate() {
                samples[nth].1.push(measure(self, server, nth));
            }
        }
        samples
    }

    fn closed(&mut self, server: &Server, (callers, connections): (usize, usize)) -> Sample {
        let Options { span, .. } = *self.options;
        let processes = &server.processes;
        match &server.target {
            Target::Grpc(place) => {
                let requests = &mut self.requests;
                closed_loop::measure(place, callers, connections, requests, span, processes)
            }
            Target::Raw(commands, redis) => {
                let of_method = commands
                    .iter()
                    .find(|(method, _)| *method == self.requests.method);
                let commands = &of_method.unwrap().1;
                raw::measure(
                    self.runtime,
                    redis,
                    commands,
                    (callers, connections),
                    span,
                    processes,
                )
            }
        }
    }
}

/// Returns the highest rate of each subject that speaks gRPC.
fn peaks_of(samples: &Samples) -> Vec<f64> {
    let grpc = samples
        .iter()
        .filter(|(subject, _)| *subject != Subject::Raw);
    let median = |rounds: &[Sample]| {
        let rates: Vec<_> = rounds.iter().map(Sample::calls_per_second).collect();
        crate::figures::Spread::of(&rates).median
    };
    grpc.map(|(_, rounds)| median(rounds)).collect()
}

fn closed_table(
    method: Method,
    (callers, connections): (usize, usize),
    samples: &Samples,
) -> Table {
    let labels = |subject: Subject| {
        vec![
            ("measure", json!("closed")),
            ("call", json!(method.word())),
            ("callers", json!(callers)),
            ("connections", json!(connections)),
            ("subject", json!(subject.word())),
        ]
    };
    let series = samples
        .iter()
        .map(|(subject, rounds)| Series::new(labels(*subject), figures(rounds)));
    compared(
        format!(
            "{}, {callers} callers over {connections} connections",
            method.word()
        ),
        series.collect(),
    )
}

fn open_table(
    method: Method,
    (load, percent): (&str, Option<u32>),
    options: &Options,
    rates: &[f64],
    samples: &Samples,
) -> Table {
    let series = samples.iter().zip(rates).map(|((subject, rounds), rate)| {
        let labels = vec![
            ("measure", json!("open")),
            ("call", json!(method.word())),
            ("percent_of_peak", json!(percent)),
            ("connections", json!(options.sizes.peak.1)),
            ("intended_calls_per_second", json!(rate.round())),
            ("subject", json!(subject.word())),
        ];
        let mut figures = figures(rounds);
        figures.extend(waits(rounds));
        Series::new(labels, figures)
    });
    compared(
        format!("{}, open loop at {load}", method.word()),
        series.collect(),
    )
}

/// Returns a table whose series are compared with the echo's.
fn compared(title: String, mut series: Vec<Series>) -> Table {
    let floor = series
        .iter()
        .find(|s| s.label("subject") == Subject::Echo.word())
        .cloned();
    let floor = floor.expect("the echo is always measured");
    let above = |series: &&mut Series| series.label("subject") != Subject::Echo.word();
    for series in series.iter_mut().filter(above) {
        series.compare(&floor);
    }
    Table { title, series }
}

pub(crate) fn figures(rounds: &[Sample]) -> Vec<Figure> {
    let of = |figure: &dyn Fn(&Sample) -> f64| rounds.iter().map(figure).collect::<Vec<_>>();
    let quantile =
        |of_a_thousand| of(&|sample: &Sample| sample.quantile(of_a_thousand).as_secs_f64() * 1e6);
    let mut figures = vec![
        Figure::new("calls_per_second", "calls/s", of(&Sample::calls_per_second)),
        Figure::new("p50_us", "p50 µs", quantile(500)),
        Figure::new("p99_us", "p99 µs", quantile(990)),
        Figure::new("p999_us", "p99.9 µs", quantile(999)),
    ];
    for (role, cpu_name, cpu, peak_name, peak) in [
        (Role::Client, "client_cpu_us", "client CPU µs", "", ""),
        (
            Role::Server,
            "server_cpu_us",
            "server CPU µs",
            "server_peak_mib",
            "server MiB",
        ),
        (
            Role::Redis,
            "redis_cpu_us",
            "Redis CPU µs",
            "redis_peak_mib",
            "Redis MiB",
        ),
        (Role::Replica, "replica_cpu_us", "replica CPU µs", "", ""),
    ] {
        let find =
            |values: &[(Role, f64)]| values.iter().find(|(of, _)| *of == role).map(|(_, v)| *v);
        if find(&rounds[0].cpu).is_none() {
            continue;
        }
        figures.push(Figure::new(
            cpu_name,
            cpu,
            of(&|sample| find(&sample.cpu).unwrap()),
        ));
        if !peak.is_empty() {
            figures.push(Figure::new(
                peak_name,
                peak,
                of(&|sample| find(&sample.peak).unwrap()),
            ));
        }
    }
    figures
}

/// Returns how busy the machine was, and how long the servers and their client waited for it. Late answers of a busy machine
/// say little about the server.
fn waits(rounds: &[Sample]) -> Vec<Figure> {
    let busy = rounds.iter().map(Sample::busy).collect();
    let mut figures = vec![Figure::new("busy_percent", "cores busy %", busy)];
    for (role, name, heading) in [
        (Role::Client, "client_waits_us", "client waits µs"),
        (Role::Server, "server_waits_us", "server waits µs"),
        (Role::Redis, "redis_waits_us", "Redis waits µs"),
    ] {
        let of_role =
            |sample: &Sample| sample.waits.iter().find(|(of, _)| *of == role).map(|w| w.1);
        let waits: Vec<_> = rounds.iter().filter_map(of_role).collect();
        if !waits.is_empty() {
            figures.push(Figure::new(name, heading, waits));
        }
    }
    figures
}
