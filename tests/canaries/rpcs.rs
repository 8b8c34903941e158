//! The requests of every RPC.

use prost::Message;
use token_broker::proto::v1::{
    self, complete_refresh_request::Outcome, delete_request::Target, precondition::Condition,
};

use crate::secrets::Secrets;

/// What the requests of one round have in them.
#[derive(Clone)]
pub struct Round {
    pub session: String,
    pub provider: String,
    pub user: String,
    pub access: String,
    pub refresh: String,
    pub id: String,
    pub token_type: String,
    /// When the access token expires, in seconds since the epoch.
    pub expires_at: i64,
    pub version: u64,
    pub binding: Option<v1::Binding>,
    pub precondition: Option<Condition>,
    pub refresh_token_sha256: Vec<u8>,
    pub page_token: String,
    pub state: String,
    pub payload: String,
    pub subject: String,
    /// A user that has identities.
    pub known: String,
}

impl Round {
    /// Returns good requests.
    pub fn good(secrets: &Secrets) -> Self {
        Self {
            session: secrets.session.clone(),
            provider: "good".to_owned(),
            user: "user".to_owned(),
            access: secrets.access.clone(),
            refresh: secrets.refresh.clone(),
            id: secrets.id.clone(),
            token_type: String::new(),
            expires_at: 4_000_000_000,
            version: 1,
            binding: None,
            precondition: None,
            refresh_token_sha256: vec![7; 32],
            page_token: String::new(),
            state: secrets.state.clone(),
            payload: secrets.payload.clone(),
            subject: "subject".to_owned(),
            known: "unknown".to_owned(),
        }
    }

    /// Returns rounds in which something is wrong with the requests.
    pub fn wrong(secrets: &Secrets) -> Vec<Self> {
        let good = || Self::good(secrets);
        let all = [
            &secrets.session,
            &secrets.access,
            &secrets.refresh,
            &secrets.id,
        ];
        let (session, access, refresh, id) = (all[0], all[1], all[2], all[3]);
        let (state, payload) = (&secrets.state, &secrets.payload);
        let other = v1::Binding {
            user_id: Some("another".to_owned()),
            ..Default::default()
        };
        vec![
            // No id has control characters.
            Self {
                session: format!("{session}\n"),
                user: format!("{access}\n"),
                provider: format!("{refresh}\n"),
                page_token: access.clone(),
                refresh_token_sha256: id.clone().into_bytes(),
                state: format!("{state}\n"),
                subject: format!("{id}\n"),
                known: format!("{access}\n"),
                ..good()
            },
            // Too long, and too large.
            Self {
                session: session.repeat(17),
                access: access.repeat(1_000),
                refresh: refresh.repeat(1_000),
                id: id.repeat(1_000),
                state: state.repeat(17),
                payload: payload.repeat(1_000),
                ..good()
            },
            Self {
                access: access.repeat(700),
                state: format!("{state}-large"),
                payload: payload.repeat(350),
                ..good()
            },
            Self {
                session: String::new(),
                provider: String::new(),
                state: format!("\u{e9}{state}"),
                page_token: format!("{session}{access}"),
                ..good()
            },
            Self {
                binding: Some(other),
                precondition: Some(Condition::Version(77)),
                ..good()
            },
            Self {
                binding: Some(v1::Binding::default()),
                precondition: Some(Condition::MustNotExist(true)),
                ..good()
            },
            Self {
                session: format!("{session}-unknown"),
                user: "unknown".to_owned(),
                precondition: Some(Condition::Version(77)),
                ..good()
            },
        ]
    }

    /// Returns a message of each RPC, in an order in which all can succeed.
    pub fn requests(&self) -> Vec<(&'static str, Vec<u8>)> {
        let (session_id, provider) = (|| self.session.clone(), || self.provider.clone());
        let user_id = || self.user.clone();
        let attempt_id = || vec![9; 16];
        let binding = || self.binding.clone();
        let condition = self.precondition;
        let store = v1::StoreRequest {
            session_id: session_id(),
            provider: provider(),
            tokens: Some(v1::UpstreamTokens {
                access_token: self.access.clone(),
                refresh_token: self.refresh.clone(),
                id_token: self.id.clone(),
                token_type: self.token_type.clone(),
                user_id: user_id(),
                expires_at: Some(prost_types::Timestamp {
                    seconds: self.expires_at,
                    nanos: 0,
                }),
                ..Default::default()
            }),
            precondition: condition.map(|condition| v1::Precondition {
                condition: Some(condition),
            }),
            carry_forward_refresh_token: true,
        };
        let get = v1::GetRequest {
            session_id: session_id(),
            provider: provider(),
            binding: binding(),
        };
        let get_all = v1::GetAllRequest {
            session_id: session_id(),
            binding: binding(),
        };
        let access = v1::GetAccessTokenRequest {
            session_id: session_id(),
            provider: provider(),
            binding: binding(),
            include_id_token: true,
            ..Default::default()
        };
        let all_access = v1::GetAllAccessTokensRequest {
            session_id: session_id(),
            binding: binding(),
            include_id_token: true,
            ..Default::default()
        };
        let latest = v1::GetLatestForUserRequest {
            user_id: user_id(),
            provider: provider(),
        };
        let list = v1::ListUserSessionsRequest {
            user_id: user_id(),
            page_token: self.page_token.clone(),
            ..Default::default()
        };
        let begin = v1::BeginRefreshRequest {
            session_id: session_id(),
            provider: provider(),
            version: self.version,
            attempt_id: attempt_id(),
        };
        let renew = v1::RenewRefreshRequest {
            session_id: session_id(),
            provider: provider(),
            attempt_id: attempt_id(),
            refresh_token_sha256: self.refresh_token_sha256.clone(),
        };
        let complete = v1::CompleteRefreshRequest {
            session_id: session_id(),
            provider: provider(),
            attempt_id: attempt_id(),
            refresh_token_sha256: self.refresh_token_sha256.clone(),
            version: self.version,
            outcome: Some(Outcome::Tokens(v1::RefreshedTokens {
                access_token: self.access.clone(),
                refresh_token: self.refresh.clone(),
                id_token: self.id.clone(),
                ..Default::default()
            })),
        };
        let delete = v1::DeleteRequest {
            session_id: session_id(),
            target: Some(Target::Provider(provider())),
            version: condition.is_some().then_some(77),
        };
        let delete_user = v1::DeleteUserRequest { user_id: user_id() };
        let mut requests = vec![
            ("TokenBroker/Store", store.encode_to_vec()),
            ("TokenBroker/Get", get.encode_to_vec()),
            ("TokenBroker/GetAll", get_all.encode_to_vec()),
            ("AccessTokens/GetAccessToken", access.encode_to_vec()),
            (
                "AccessTokens/GetAllAccessTokens",
                all_access.encode_to_vec(),
            ),
            ("TokenBroker/GetLatestForUser", latest.encode_to_vec()),
            ("TokenBroker/ListUserSessions", list.encode_to_vec()),
            ("TokenBroker/BeginRefresh", begin.encode_to_vec()),
            ("TokenBroker/RenewRefresh", renew.encode_to_vec()),
            ("TokenBroker/CompleteRefresh", complete.encode_to_vec()),
            ("TokenBroker/Delete", delete.encode_to_vec()),
            ("TokenBroker/DeleteUser", delete_user.encode_to_vec()),
        ];
        requests.extend(self.of_logins());
        requests
    }

    /// Returns the first request of an RPC.
    pub fn request(&self, rpc: &'static str) -> (&'static str, Vec<u8>) {
        let mut requests = self.requests().into_iter();
        requests.find(|(named, _)| *named == rpc).unwrap()
    }

    fn of_logins(&self) -> Vec<(&'static str, Vec<u8>)> {
        let (provider, user_id) = (|| self.provider.clone(), || self.known.clone());
        let resolve = v1::ResolveUserRequest {
            provider: provider(),
            provider_subject: self.subject.clone(),
        };
        let get = v1::GetUserRequest { user_id: user_id() };
        let another = || format!("{}-2", self.subject);
        let link = v1::LinkIdentityRequest {
            user_id: user_id(),
            provider: provider(),
            provider_subject: another(),
        };
        let unlink = v1::UnlinkIdentityRequest {
            provider: provider(),
            provider_subject: another(),
            user_id: Some(user_id()),
        };
        let list = v1::ListIdentitiesRequest { user_id: user_id() };
        let create = |state: String| v1::CreateRequest {
            state,
            provider: provider(),
            session_id: self.session.clone(),
            client_id: "client".to_owned(),
            user_id: None,
            payload: self.payload.clone().into_bytes(),
            ttl: None,
        };
        // One that is consumed, and one that stays.
        let (consumed, stays) = (create(self.state.clone()), create(self.state.clone() + "2"));
        let consume = v1::ConsumeRequest {
            state: self.state.clone(),
            provider: Some(provider()),
        };
        vec![
            ("Identities/ResolveUser", resolve.encode_to_vec()),
            ("Identities/GetUser", get.encode_to_vec()),
            ("Identities/LinkIdentity", link.encode_to_vec()),
            ("Identities/UnlinkIdentity", unlink.encode_to_vec()),
            ("Identities/ListIdentities", list.encode_to_vec()),
            ("PendingAuthorizations/Create", consumed.encode_to_vec()),
            ("PendingAuthorizations/Consume", consume.encode_to_vec()),
            ("PendingAuthorizations/Create", stays.encode_to_vec()),
        ]
    }
}
