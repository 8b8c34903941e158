//! Measures how long a broker takes from exec to SERVING when it has nothing to do.

use std::time::Instant;

use serde_json::json;
use testkit::{broker_process::BrokerProcess, redis_server::RedisServer};
use tokio::runtime::Runtime;

use crate::{
    figures::{Figure, Series, Table},
    options::Options,
    servers::Subject,
};

/// Measures a start on memory, and on a Redis on which a broker has started before.
pub(crate) fn measure(options: &Options, runtime: &Runtime) -> Table {
    let redis = RedisServer::start();
    let url = format!("--redis-url={}", redis.url());
    let start = |subject| {
        let args = options.broker_args.iter().map(String::as_str);
        let mut args: Vec<_> = args.collect();
        if subject == Subject::Redis {
            args.extend(["--backend=redis", &url]);
        } else {
            args.retain(|arg| !arg.starts_with("--redis-"));
        }
        let begun = Instant::now();
        let broker = BrokerProcess::start(&args);
        runtime.block_on(broker.serving());
        let took = begun.elapsed();
        assert_eq!(broker.terminate().status.code(), Some(0));
        took.as_secs_f64() * 1e3
    };
    start(Subject::Redis);

    let backends = [Subject::Memory, Subject::Redis];
    let backends = backends
        .into_iter()
        .filter(|s| options.subjects.contains(s));
    let mut rounds: Vec<_> = backends.map(|subject| (subject, Vec::new())).collect();
    for _ in 0..options.rounds {
        for (subject, rounds) in &mut rounds {
            rounds.push(start(*subject));
        }
    }
    let series = rounds.into_iter().map(|(subject, rounds)| {
        Series::new(
            vec![
                ("measure", json!("start")),
                ("subject", json!(subject.word())),
            ],
            vec![Figure::new("serving_ms", "SERVING after ms", rounds)],
        )
    });
    Table {
        title: "start".to_owned(),
        series: series.collect(),
    }
}
