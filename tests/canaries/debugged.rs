//! What `Debug` prints of values that hold secrets: a panic and a careless log line print no more.

use std::fmt::Debug;

use testkit::{canary::Sink, rows};
use token_broker::{
    access::TokenSha256,
    proto::v1,
    seal::{KeyRing, Keys},
    store::Sealing,
    types::{
        ClientId, Nonce, Payload, PendingAuthorization, ProviderName, RowKey, SecretBytes, State,
        StoredRow, TokenHash, UnixTime, Version,
    },
};

use crate::{rpcs::Round, secrets::Secrets};

/// What is printed of one value.
pub fn printed(value: &dyn Debug) -> String {
    format!("{value:?}\n{value:#?}\n")
}

/// Returns all of it.
pub fn sink(secrets: &Secrets) -> Sink {
    let mut all = String::new();
    let mut print = |value: &dyn Debug| all += &printed(value);
    let mut row = rows::row("u", &secrets.access);
    row.refresh_token = rows::secret(&secrets.refresh);
    row.id_token = rows::secret(&secrets.id);
    print(&row);
    print(&row.access_token);
    let version = Version::random();
    print(&StoredRow { row, version });
    let key: RowKey = rows::key(&secrets.session, "p");
    print(&key);
    print(&key.session);
    print(&SecretBytes::new(secrets.access.clone().into_bytes()));
    print(&TokenHash::of(&rows::secret(&secrets.refresh).unwrap()));
    print(&TokenSha256::of(secrets.bearer.as_bytes()));
    print(&secrets.master_key());
    let ring = || KeyRing::of(vec![secrets.master_key()]);
    print(&ring());
    print(&Sealing {
        tenant: "a:b".parse().unwrap(),
        keys: Keys::fixed(ring()),
        require_sealed: true,
    });
    let tokens = v1::UpstreamTokens {
        access_token: secrets.access.clone(),
        refresh_token: secrets.refresh.clone(),
        id_token: secrets.id.clone(),
        ..Default::default()
    };
    print(&tokens);
    let entry = v1::TokenEntry {
        tokens: Some(tokens),
        ..Default::default()
    };
    print(&v1::GetResponse {
        entry: Some(entry.clone()),
    });
    print(&v1::GetAllResponse {
        entries: [(secrets.session.clone(), entry)].into(),
        unreadable: vec![secrets.session.clone()],
    });
    print(&v1::ListUserSessionsResponse {
        sessions: vec![v1::UserSession {
            session_id: secrets.session.clone(),
            ..Default::default()
        }],
        next_page_token: secrets.session.clone(),
    });
    print(&State::new(&*secrets.state).unwrap());
    print(&v1::CreateRequest {
        state: secrets.state.clone(),
        session_id: secrets.session.clone(),
        payload: secrets.payload.clone().into_bytes(),
        ..Default::default()
    });
    print(&v1::ConsumeResponse {
        session_id: secrets.session.clone(),
        payload: secrets.payload.clone().into_bytes(),
        ..Default::default()
    });
    let payload = SecretBytes::new(secrets.payload.clone().into_bytes());
    print(&PendingAuthorization {
        id: Nonce::random(),
        provider: ProviderName::new("p").unwrap(),
        session: key.session.clone(),
        client: ClientId::new("c").unwrap(),
        user: None,
        expires_at: UnixTime::now(),
        payload: Payload::Plain(payload),
    });
    let round = Round::good(secrets);
    let get = v1::GetRequest {
        session_id: round.session,
        ..Default::default()
    };
    print(&get);
    print(&tonic::Request::new(get));
    Sink::new("Debug", all)
}
