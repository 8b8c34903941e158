//! Measures whether reads become slower as a store grows: `Get` on stores of several sizes, round by round, each compared
//! with the smallest one in the same round.

use serde_json::json;
use tokio::runtime::Runtime;

use crate::{
    calls, closed_loop,
    figures::{Series, Table},
    options::Options,
    requests::{Method, Requests},
    rows::PROVIDERS,
    servers::{Server, Subject},
};

/// Measures each backend, with one caller, which shows the latency best, and with many.
pub(crate) fn measure(options: &Options, runtime: &Runtime, done: &mut impl FnMut(Table)) {
    for subject in [Subject::Memory, Subject::Redis] {
        if options.subjects.contains(&subject) {
            measure_on(subject, options, runtime, done);
        }
    }
}

fn measure_on(
    subject: Subject,
    options: &Options,
    runtime: &Runtime,
    done: &mut impl FnMut(Table),
) {
    let mut stores = Vec::new();
    for sessions in options.sizes.growth.iter().copied() {
        let server = Server::empty(subject, &options.broker_args, runtime);
        closed_loop::fill(server.place(), 0..sessions);
        let requests = Requests::new(Method::Get, 0..sessions);
        stores.push((sessions * PROVIDERS, server, requests));
    }
    for (callers, connections) in [(1, 1), options.sizes.peak] {
        let mut samples: Vec<_> = stores.iter().map(|_| Vec::new()).collect();
        for _ in 0..options.rounds {
            for ((_, server, requests), samples) in stores.iter_mut().zip(&mut samples) {
                samples.push(closed_loop::measure(
                    server.place(),
                    callers,
                    connections,
                    requests,
                    options.span,
                    &server.processes,
                ));
            }
        }
        let series = stores.iter().zip(&samples).map(|((rows, ..), samples)| {
            let labels = vec![
                ("measure", json!("growth")),
                ("call", json!("get")),
                ("rows", json!(rows)),
                ("callers", json!(callers)),
                ("connections", json!(connections)),
                ("subject", json!(subject.word())),
            ];
            Series::new(labels, calls::figures(samples))
        });
        let mut series: Vec<_> = series.collect();
        let smallest = series[0].clone();
        for larger in &mut series[1..] {
            larger.compare(&smallest);
        }
        done(Table {
            title: format!(
                "get as {} grows, {callers} callers over {connections} connections; ×: to the smallest store",
                subject.word()
            ),
            series,
        });
    }
}
