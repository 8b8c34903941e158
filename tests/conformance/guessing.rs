//! A broker on Redis that has read sessions before. So it guesses which providers a session has, from the first read on.

use testkit::rows::{bare, key, put_always, session};
use token_broker::store::Store;

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
        let key = key("before", provider);
        store.put(put_always(&key, &row)).await.unwrap();
    }
    assert_eq!(store.get_session(&before).await.unwrap().len(), 3);
    assert_eq!(store.delete_session(&before).await.unwrap(), 3);
    on
}
