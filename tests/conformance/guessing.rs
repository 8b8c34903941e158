//! A broker on Redis that has read sessions before. So it guesses which providers a session has, from the first read on.

use testkit::rows::{bare, key, session};
use token_broker::{
    store::{Condition, Put, Store},
    types::Version,
};

use crate::{backend::OnRedis, shared_servers::Tcp};

/// The providers of most cases, and one that no case has. Others are guessed after they were read once.
const PROVIDERS: [&str; 3] = ["p", "q", "never"];

/// Starts a tenant on a single server. Its brokers share a store that has read a session of these providers.
pub async fn guessing() -> OnRedis {
    let mut on = OnRedis::start::<Tcp>().await;
    let store = on.share_one_store();
    let row = bare("at");
    let before = session("before");
    for provider in PROVIDERS {
        let put = Put {
            key: &key("before", provider),
            row: &row,
            version: Version::random(),
            keep_for: None,
            condition: Condition::Always,
            source: None,
            max_providers: PROVIDERS.len(),
        };
        store.put(put).await.unwrap();
    }
    assert_eq!(store.get_session(&before).await.unwrap().len(), 3);
    assert_eq!(store.delete_session(&before).await.unwrap(), 3);
    on
}
