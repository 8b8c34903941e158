//! Tests conditions of writes under concurrency: each condition is checked in the same step that
//! writes.

use std::collections::BTreeSet;

use testkit::{broker::request, rows::*};
use token_broker::{error::Error, tokens::Precondition};
use tokio::task::JoinSet;

use crate::backend::Backend;

/// A hundred callers each increment the number in a row: they read it, and write the next number on
/// the condition of its version. No increment is lost.
pub async fn compare_and_set_loses_no_update<B: Backend>(backend: B) {
    const TASKS: usize = 100;
    let brokers = [backend.broker(), backend.broker()];
    let key = key("s", "p");
    brokers[0].put(&key, &bare("0")).await;
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (broker, key) = (brokers[task % 2].clone(), key.clone());
        tasks.spawn(async move {
            loop {
                let read = broker.read(&key).await.unwrap();
                let number: usize = access_token(&read.row).parse().unwrap();
                let next = bare(&(number + 1).to_string());
                let on = Precondition::Version(read.version);
                match broker.put_if(&key, &next, on).await {
                    Ok(_) => break,
                    Err(Error::VersionMismatch) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
        });
    }
    tasks.join_all().await;
    let read = brokers[0].read(&key).await.unwrap();
    assert_eq!(
        access_token(&read.row),
        TASKS.to_string(),
        "an update was lost"
    );
}

/// A hundred callers store the same new row. One of them succeeds, and its row is there.
pub async fn must_not_exist_has_one_winner<B: Backend>(backend: B) {
    let brokers = [backend.broker(), backend.broker()];
    for round in 0..5 {
        let key = key(&format!("s{round}"), "p");
        let mut tasks = JoinSet::new();
        for task in 0..100 {
            let (broker, key) = (brokers[task % 2].clone(), key.clone());
            tasks.spawn(async move {
                let row = row(&format!("u{task}"), &task.to_string());
                match broker.put_if(&key, &row, Precondition::MustNotExist).await {
                    Ok(version) => Some((version, row)),
                    Err(Error::RowExists) => None,
                    Err(error) => panic!("{error:?}"),
                }
            });
        }
        let winners: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
        let [(version, row)] = winners.as_slice() else {
            panic!("{} winners", winners.len());
        };
        let stored = brokers[0].read(&key).await.unwrap();
        assert_eq!((stored.version, sent(&stored.row)), (*version, row.clone()));
    }
}

/// Concurrent writes get different versions, and readers see the last of them.
pub async fn racing_writes_have_different_versions<B: Backend>(backend: B) {
    let brokers = [backend.broker(), backend.broker()];
    let key = key("s", "p");
    let mut tasks = JoinSet::new();
    for task in 0..200 {
        let (broker, key) = (brokers[task % 2].clone(), key.clone());
        tasks.spawn(async move { broker.put(&key, &row("u", "at")).await.number() });
    }
    let versions = tasks.join_all().await;
    let different: BTreeSet<_> = versions.iter().copied().collect();
    assert_eq!(different.len(), versions.len());
    assert!(different.contains(&brokers[0].version(&key).await.unwrap().number()));
}

/// Sixty callers each store another provider in a session that may have five. Five of them succeed.
pub async fn the_provider_limit_holds_in_a_rush<B: Backend>(backend: B) {
    let brokers = [(); 2].map(|()| backend.broker_with(|rules| rules.limits.providers = 5));
    for round in 0..5 {
        let name = format!("s{round}");
        let mut tasks = JoinSet::new();
        for task in 0..60 {
            let (broker, key) = (brokers[task % 2].clone(), key(&name, &format!("p{task}")));
            tasks.spawn(async move {
                match broker.store(request(&key, &row("u", "at"))).await {
                    Ok(_) => true,
                    Err(Error::TooManyProviders { limit: 5 }) => false,
                    Err(error) => panic!("{error:?}"),
                }
            });
        }
        let stored = tasks
            .join_all()
            .await
            .into_iter()
            .filter(|&stored| stored)
            .count();
        assert_eq!(stored, 5, "rows stored");
        assert_eq!(
            brokers[0].rows_of(&session(&name)).await.len(),
            5,
            "rows read"
        );
    }
}
