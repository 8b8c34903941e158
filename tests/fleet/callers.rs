//! Callers that want the access token of a row, from whichever broker.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use testkit::{
    deployment::Deployment,
    requests::{get_request, token_request},
};
use token_broker::proto::v1::GetAccessTokenRequest;
use tokio::{sync::Semaphore, task::JoinHandle, time::Instant};
use tonic::{Code, Request};
use tonic_types::StatusExt;

use crate::fleet::Fleet;

/// How many calls are on their way at once.
const AT_ONCE: usize = 300;
/// How long a caller tries.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What a row's callers got in the end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Got {
    /// An access token that wasn't there before.
    Token(String),
    /// The user has to log in again, for this cause.
    Reauth(String),
    /// Nothing in time.
    Nothing(String),
}

/// Calls for each row, from all brokers in turn. Repeats what is worth repeating. Returns what each row's callers got.
pub async fn all<D: Deployment + Send + Sync + 'static>(
    fleet: &Arc<Fleet<D>>,
    sessions: &[String],
    callers: usize,
) -> BTreeMap<String, Vec<Got>> {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = Vec::new();
    for session in sessions {
        for caller in 0..callers {
            let place = Arc::clone(&places).acquire_owned().await.unwrap();
            let (fleet, session) = (Arc::clone(fleet), session.clone());
            tasks.push(tokio::spawn(async move {
                let got = one(&fleet, &session, caller).await;
                drop(place);
                (session, got)
            }));
        }
    }
    gathered(tasks).await
}

/// Returns what the callers of each row got.
pub async fn gathered(tasks: Vec<JoinHandle<(String, Got)>>) -> BTreeMap<String, Vec<Got>> {
    let mut all = BTreeMap::<String, Vec<Got>>::new();
    for task in tasks {
        let (session, got) = task.await.unwrap();
        all.entry(session).or_default().push(got);
    }
    all
}

/// One caller.
pub async fn one<D: Deployment + Sync>(fleet: &Fleet<D>, session: &str, number: usize) -> Got {
    let request = token_request(session, "idp");
    ask(fleet, &request, number).await
}

/// One more caller. A resource server has refused the access token that the row has.
pub async fn again<D: Deployment + Sync>(fleet: &Fleet<D>, session: &str) -> Got {
    let get = get_request(session, "idp");
    let row = fleet.broker(0).unwrap().store().get(get).await.unwrap();
    let request = GetAccessTokenRequest {
        rejected_version: row.into_inner().entry.map(|entry| entry.version),
        ..token_request(session, "idp")
    };
    ask(fleet, &request, 0).await
}

async fn ask<D: Deployment + Sync>(
    fleet: &Fleet<D>,
    request: &GetAccessTokenRequest,
    mut number: usize,
) -> Got {
    let end = Instant::now() + PATIENCE;
    let mut last = String::new();
    while Instant::now() < end {
        number += 1;
        let Some(broker) = fleet.broker(number % 3) else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let mut request = Request::new(request.clone());
        request.set_timeout(Duration::from_secs(5));
        match broker.access().get_access_token(request).await {
            Ok(answer) => {
                let token = answer.into_inner().token.unwrap();
                assert_ne!(token.access_token, "old");
                return Got::Token(token.access_token);
            }
            Err(status) if status.code() == Code::FailedPrecondition => {
                let info = status.get_details_error_info().unwrap();
                let cause = info.metadata.get("cause").cloned().unwrap_or_default();
                assert_eq!(info.reason, "REAUTH_REQUIRED");
                return Got::Reauth(cause);
            }
            Err(status) => {
                let is_worth_repeating = matches!(
                    status.code(),
                    Code::Unavailable
                        | Code::DeadlineExceeded
                        | Code::Cancelled
                        | Code::ResourceExhausted
                        | Code::Unknown
                        | Code::Internal
                );
                assert!(is_worth_repeating, "{status:?}");
                last = format!("{:?}: {}", status.code(), status.message());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    Got::Nothing(last)
}

/// Returns what all callers of each row agree about.
pub fn agreed(all: BTreeMap<String, Vec<Got>>) -> BTreeMap<String, Got> {
    let agreed = all.into_iter().map(|(session, mut got)| {
        got.sort();
        got.dedup();
        assert_eq!(got.len(), 1, "the callers of a row got {got:?}");
        (session, got.remove(0))
    });
    agreed.collect()
}

/// Returns how many rows have new tokens.
pub fn tokens(got: &BTreeMap<String, Got>) -> usize {
    let tokens = got.values().filter(|got| matches!(got, Got::Token(_)));
    tokens.count()
}

/// Returns how many rows are in doubt.
pub fn in_doubt(got: &BTreeMap<String, Got>) -> usize {
    let in_doubt = got
        .values()
        .filter(|got| **got == Got::Reauth("IN_DOUBT".to_owned()));
    in_doubt.count()
}
