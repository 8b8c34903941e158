//! Measures the deletion of a user with very many rows, and how long another caller waits meanwhile.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use token_broker::proto::v1::DeleteUserRequest;

use crate::{
    driver,
    rows::{self, Key},
    setup::{Client, Options, Setup},
};

pub(crate) const ROWS: u32 = 10_000;
const USER: &str = "user-of-many-sessions";
/// How long the other caller is measured while no user is deleted.
const QUIET: Duration = Duration::from_millis(500);

/// The figures of one deletion.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deletion {
    pub(crate) took: Duration,
    /// The longest that a caller of `Get` waited meanwhile.
    pub(crate) longest_get: Duration,
    /// The longest that the caller waited in [`QUIET`], just before the deletion.
    pub(crate) longest_get_before: Duration,
}

pub(crate) async fn rounds(setup: &Setup, options: &Options) -> Vec<Deletion> {
    let mut rounds = Vec::new();
    for _ in 0..options.rounds {
        rounds.push(round(setup).await);
    }
    rounds
}

async fn round(setup: &Setup) -> Deletion {
    driver::each(
        &setup.clients,
        (0..ROWS).collect(),
        |mut client, row| async move {
            let session = format!("session-of-many-{row}");
            let store = rows::store_for(session, "github".to_owned(), USER.to_owned());
            client.store(store).await.unwrap();
        },
    )
    .await;

    let reader = setup.clients[1].clone();
    let longest_get_before = watch(reader.clone(), tokio::time::sleep(QUIET)).await.1;
    let mut client = setup.clients[0].clone();
    let delete = async {
        let started = Instant::now();
        let request = DeleteUserRequest {
            user_id: USER.to_owned(),
        };
        let deleted = client.delete_user(request).await.unwrap().into_inner();
        assert_eq!(deleted.deleted_rows, u64::from(ROWS));
        started.elapsed()
    };
    let (took, longest_get) = watch(reader, delete).await;
    Deletion {
        took,
        longest_get,
        longest_get_before,
    }
}

/// Does `work`, and returns the longest that a caller of `Get` waited meanwhile.
async fn watch<T>(mut reader: Client, work: impl Future<Output = T>) -> (T, Duration) {
    let done = Arc::new(AtomicBool::new(false));
    let until = Arc::clone(&done);
    let reading = tokio::spawn(async move {
        let mut longest = Duration::ZERO;
        let mut session = 0;
        while !until.load(Ordering::Relaxed) {
            session = (session + 1) % rows::SESSIONS;
            let started = Instant::now();
            reader
                .get(rows::get(Key {
                    session,
                    provider: 0,
                }))
                .await
                .unwrap();
            longest = longest.max(started.elapsed());
        }
        longest
    });
    let outcome = work.await;
    done.store(true, Ordering::Relaxed);
    (outcome, reading.await.unwrap())
}
