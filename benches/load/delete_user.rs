//! Measures the deletion of a user with very many rows, and how long another caller waits meanwhile.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use prost::Message;
use serde_json::json;
use token_broker::proto::v1::DeleteUserRequest;
use tokio::runtime::Runtime;

use crate::{
    client::Client,
    closed_loop,
    figures::{Figure, Series, Table},
    options::Options,
    requests::{Method, Requests},
    rows,
    servers::{Server, Target},
};

const USER: &str = "user-of-many-sessions";
/// How long the other caller is measured while no user is deleted.
const QUIET: Duration = Duration::from_millis(500);

/// Measures all brokers, round by round.
pub(crate) fn measure(servers: &[Server], options: &Options, runtime: &Runtime) -> Table {
    let brokers = servers.iter().filter(|server| server.broker.is_some());
    let brokers: Vec<_> = brokers
        .filter(|s| matches!(s.target, Target::Grpc(_)))
        .collect();
    let mut rounds = vec![Vec::new(); brokers.len()];
    for _ in 0..options.rounds {
        for (broker, rounds) in brokers.iter().zip(&mut rounds) {
            rounds.push(round(broker, options, runtime));
        }
    }
    let series = brokers.iter().zip(rounds).map(|(broker, rounds)| {
        let of = |nth: usize| {
            rounds
                .iter()
                .map(|round| round[nth].as_secs_f64() * 1e3)
                .collect()
        };
        Series::new(
            vec![
                ("measure", json!("delete-user")),
                ("rows", json!(options.sizes.rows_of_a_user)),
                ("subject", json!(broker.subject.word())),
            ],
            vec![
                Figure::new("took_ms", "took ms", of(0)),
                Figure::new("longest_wait_ms", "longest Get meanwhile ms", of(1)),
                Figure::new("longest_wait_before_ms", "longest Get before ms", of(2)),
            ],
        )
    });
    Table {
        title: format!("DeleteUser of {} rows", options.sizes.rows_of_a_user),
        series: series.collect(),
    }
}

/// Returns how long the deletion took, and how long a caller of `Get` waited meanwhile and before, at most.
fn round(server: &Server, options: &Options, runtime: &Runtime) -> [Duration; 3] {
    let rows = options.sizes.rows_of_a_user;
    let stores = (0..rows).map(|row| {
        let session = format!("session-of-many-{row}");
        rows::store_for(session, rows::provider_name(0), USER.to_owned()).encode_to_vec()
    });
    closed_loop::each(
        server.place(),
        &Requests::of(Method::Store, stores.collect()),
    );

    let quiet = QUIET.min(options.span);
    let ((), before) = longest_get(server, options, || thread::sleep(quiet));
    let broker = server.broker.as_ref().unwrap();
    let mut client = runtime.block_on(broker.client());
    let (took, meanwhile) = longest_get(server, options, || {
        let started = Instant::now();
        let request = DeleteUserRequest {
            user_id: USER.to_owned(),
        };
        let deleted = runtime
            .block_on(client.delete_user(request))
            .unwrap()
            .into_inner();
        assert_eq!(deleted.deleted_rows, u64::from(rows));
        started.elapsed()
    });
    [took, meanwhile, before]
}

/// Does `work`, and returns the longest that another caller waited for an answer meanwhile.
pub(crate) fn longest_get<T>(
    server: &Server,
    options: &Options,
    work: impl FnOnce() -> T,
) -> (T, Duration) {
    let place = server.place();
    let mut requests = Requests::new(Method::Get, 0..options.sizes.sessions);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let caller = scope.spawn(|| {
            let mut client = Client::connect(place, 1, Method::Get);
            let (mut longest, mut answers) = (Duration::ZERO, Vec::new());
            while !over.load(Ordering::Relaxed) {
                client.call(0, Instant::now(), requests.any());
                while client.unanswered() > 0 {
                    client.turn(Duration::from_millis(5), &mut answers);
                }
                for answer in answers.drain(..) {
                    longest = longest.max(answer.ended - answer.begun);
                }
            }
            longest
        });
        let done = work();
        over.store(true, Ordering::Relaxed);
        (done, caller.join().unwrap())
    })
}
