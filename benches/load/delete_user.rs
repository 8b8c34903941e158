//! Deleting a user with very many rows, and what another caller notices of it.

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
    rows::{self, Place},
    setup::{Client, Options, Stage},
};

pub(crate) const ROWS: u32 = 10_000;
const USER: &str = "user-of-many-sessions";
/// How long the other caller is watched when nobody is deleted.
const QUIET: Duration = Duration::from_millis(500);

/// What one deletion showed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deletion {
    pub(crate) took: Duration,
    /// The longest that a caller of `Get` waited meanwhile.
    pub(crate) longest_get: Duration,
    /// The longest that it waited for, for about as long, just before.
    pub(crate) longest_get_before: Duration,
}

pub(crate) async fn rounds(stage: &Stage, options: &Options) -> Vec<Deletion> {
    let mut rounds = Vec::new();
    for _ in 0..options.rounds {
        rounds.push(round(stage).await);
    }
    rounds
}

async fn round(stage: &Stage) -> Deletion {
    driver::each(
        &stage.clients,
        (0..ROWS).collect(),
        |mut client, row| async move {
            let session = format!("session-of-many-{row}");
            let store = rows::store_for(session, "github".to_owned(), USER.to_owned());
            client.store(store).await.unwrap();
        },
    )
    .await;

    let reader = stage.clients[1].clone();
    let longest_get_before = watch(reader.clone(), tokio::time::sleep(QUIET)).await.1;
    let mut client = stage.clients[0].clone();
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

/// The longest that a caller of `Get` waits, while something is done.
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
                .get(rows::get(Place {
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
