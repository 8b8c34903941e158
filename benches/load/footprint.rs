//! Measures the broker's memory: idle, with many connections, and with very many rows in it.

use std::time::{Duration, Instant};

use prost::Message;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::{
    client::Client,
    closed_loop,
    figures::{Figure, Series, Table},
    options::Options,
    requests::{Method, Requests},
    rows::{self, Key, PROVIDERS},
    servers::{Server, Subject},
};

/// Measures once, because a second time gives the same.
pub(crate) fn measure(options: &Options, runtime: &Runtime) -> Table {
    let backends = [Subject::Memory, Subject::Redis];
    let backends = backends
        .into_iter()
        .filter(|s| options.subjects.contains(s));
    let series = backends.map(|subject| {
        let labels = vec![
            ("measure", json!("footprint")),
            ("connections", json!(options.sizes.footprint.0)),
            ("rows", json!(options.sizes.footprint.1 * PROVIDERS)),
            ("subject", json!(subject.word())),
        ];
        Series::new(labels, figures(subject, options, runtime))
    });
    Table {
        title: format!(
            "memory of the broker with {} connections, and with {} rows",
            options.sizes.footprint.0,
            options.sizes.footprint.1 * PROVIDERS
        ),
        series: series.collect(),
    }
}

fn figures(subject: Subject, options: &Options, runtime: &Runtime) -> Vec<Figure> {
    let (connections, sessions) = options.sizes.footprint;
    let server = Server::empty(subject, &options.broker_args, runtime);
    let idle = server.process().memory();

    closed_loop::fill(server.place(), 0..1);
    let clients = connect(&server, connections);
    let connected = server.process().memory();
    drop(clients);
    let mut figures = vec![
        Figure::new("idle_mib", "idle MiB", vec![idle]),
        Figure::new("connections_mib", "with connections MiB", vec![connected]),
    ];
    // The other backends keep rows elsewhere.
    if subject == Subject::Memory {
        let server = Server::empty(subject, &options.broker_args, runtime);
        let before = server.process().memory();
        closed_loop::fill(server.place(), 0..sessions);
        let rows = server.process().memory() - before;
        let payload = payload(sessions);
        figures.push(Figure::new("rows_mib", "rows MiB", vec![rows]));
        figures.push(Figure::new(
            "payload_mib",
            "their payload MiB",
            vec![payload],
        ));
        figures.push(Figure::new(
            "to_payload",
            "rows to payload",
            vec![rows / payload],
        ));
    }
    figures
}

/// Opens connections, and makes one call over each.
fn connect(server: &Server, connections: usize) -> Client {
    let mut client = Client::connect(server.place(), connections, Method::Get);
    let mut requests = Requests::new(Method::Get, 0..1);
    for connection in 0..connections {
        client.call(connection, Instant::now(), requests.any());
    }
    while client.unanswered() > 0 {
        client.turn(Duration::from_millis(5), &mut Vec::new());
    }
    client
}

/// Returns how much the rows of these sessions are, in MiB: the requests that store them, encoded.
fn payload(sessions: u32) -> f64 {
    let last = Key {
        session: sessions - 1,
        provider: 0,
    };
    let bytes = rows::store(last).encoded_len() as f64;
    bytes * f64::from(sessions * PROVIDERS) / f64::from(1 << 20)
}
