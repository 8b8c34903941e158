//! `Delete`: it deletes one row or a session, and nothing else.

use testkit::rows::*;
use token_broker::{error::Error, types::Version};

use crate::backend::Backend;

/// A row is deleted once. A retry is OK and deletes nothing.
pub async fn delete_says_how_many<B: Backend>(backend: B) {
    let (broker, key) = (backend.broker(), key("s", "p"));
    assert!(!broker.remove(&key).await);
    broker.put(&key, &row("u", "at")).await;
    assert!(broker.remove(&key).await);
    assert!(!broker.remove(&key).await);
    assert_eq!(broker.read(&key).await, None);
}

/// A deleted row is gone for every reader. Other rows of the session, and of other sessions, are
/// not.
pub async fn delete_takes_one_row<B: Backend>(backend: B) {
    let broker = backend.broker();
    let rows = [key("s", "p"), key("s", "q"), key("t", "p")];
    for key in &rows {
        broker.put(key, &row("u", "at")).await;
    }
    broker.remove(&rows[0]).await;
    assert_eq!(broker.read(&rows[0]).await, None);
    assert!(
        broker
            .rows_of(&session("s"))
            .await
            .keys()
            .eq([&rows[1].provider])
    );
    assert_eq!(broker.listed(&user("u")).await, rows[1..]);
    let latest = broker
        .latest_for_user(&user("u"), &provider("p"), &Default::default())
        .await
        .unwrap();
    assert_eq!(Some(latest), broker.read(&rows[2]).await);
}

/// With a version, only the row with that version is deleted. If there is no row, the call succeeds
/// with any version.
pub async fn delete_with_a_version<B: Backend>(backend: B) {
    let (broker, key) = (backend.broker(), key("s", "p"));
    let stale = broker.put(&key, &row("u", "1")).await;
    let current = broker.put(&key, &row("u", "2")).await;
    for other in [stale, Version::random()] {
        let refused = broker.delete(&key, Some(other)).await;
        assert!(
            matches!(refused, Err(Error::VersionMismatch)),
            "{refused:?}"
        );
        assert_eq!(broker.version(&key).await, Some(current));
    }
    assert!(broker.delete(&key, Some(current)).await.unwrap());
    assert!(!broker.delete(&key, Some(current)).await.unwrap());
}

/// All rows of a session are deleted, of whichever user, and no row of another session.
pub async fn delete_all_takes_the_session<B: Backend>(backend: B) {
    let broker = backend.broker();
    let ours = [
        (key("s", "p"), "u"),
        (key("s", "q"), "v"),
        (key("s", "r"), "u"),
    ];
    for (key, user) in &ours {
        broker.put(key, &row(user, "at")).await;
    }
    broker.put(&key("s", "nobody's"), &bare("at")).await;
    let theirs = [key("s2", "p"), key("s:p", "p"), key("S", "p")];
    for key in &theirs {
        broker.put(key, &row("u", "at")).await;
    }

    assert_eq!(broker.delete_all(&session("s")).await.unwrap(), 4);
    assert_eq!(broker.delete_all(&session("s")).await.unwrap(), 0);
    assert!(broker.rows_of(&session("s")).await.is_empty());
    for (key, _) in &ours {
        assert_eq!(broker.read(key).await, None);
    }
    assert!(broker.listed(&user("v")).await.is_empty());
    let mut left = broker.listed(&user("u")).await;
    left.sort();
    let mut expected = theirs.to_vec();
    expected.sort();
    assert_eq!(left, expected);
}
