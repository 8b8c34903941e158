//! The requests of every RPC.

use testkit::requests::Requests;
use token_broker::{
    access::Rpc,
    proto::v1::{self, complete_refresh_request::Outcome, precondition::Condition},
    types::UnixTime,
};

use crate::secrets::Secrets;

/// The RPCs, in an order in which all can succeed.
const ORDER: [Rpc; 19] = [
    Rpc::Store,
    Rpc::Get,
    Rpc::GetAll,
    Rpc::GetAccessToken,
    Rpc::GetAllAccessTokens,
    Rpc::GetLatestForUser,
    Rpc::ListUserSessions,
    Rpc::BeginRefresh,
    Rpc::RenewRefresh,
    Rpc::CompleteRefresh,
    Rpc::Delete,
    Rpc::DeleteUser,
    Rpc::ResolveUser,
    Rpc::GetUser,
    Rpc::LinkIdentity,
    Rpc::UnlinkIdentity,
    Rpc::ListIdentities,
    Rpc::Create,
    Rpc::Consume,
];

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

/// Returns when a token expired, in seconds since the epoch. Its row is kept: one whose token expired long ago ends in a second.
pub fn expired() -> i64 {
    UnixTime::now().seconds() - 60
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

    /// Returns a message of each RPC, in the order of [`ORDER`].
    pub fn requests(&self) -> Vec<(&'static str, Vec<u8>)> {
        let all = Requests {
            session: self.session.clone(),
            provider: self.provider.clone(),
            user: self.user.clone(),
            known: self.known.clone(),
            tokens: v1::UpstreamTokens {
                access_token: self.access.clone(),
                refresh_token: self.refresh.clone(),
                id_token: self.id.clone(),
                token_type: self.token_type.clone(),
                user_id: self.user.clone(),
                expires_at: Some(prost_types::Timestamp {
                    seconds: self.expires_at,
                    nanos: 0,
                }),
                ..Default::default()
            },
            carry_forward_refresh_token: true,
            precondition: self.precondition,
            deleted_version: self.precondition.map(|_| 77),
            binding: self.binding.clone(),
            include_id_token: true,
            page_token: self.page_token.clone(),
            version: self.version,
            refresh_token_sha256: self.refresh_token_sha256.clone(),
            outcome: Outcome::Tokens(v1::RefreshedTokens {
                access_token: self.access.clone(),
                refresh_token: self.refresh.clone(),
                id_token: self.id.clone(),
                ..Default::default()
            }),
            subject: self.subject.clone(),
            another_subject: format!("{}-2", self.subject),
            state: self.state.clone(),
            payload: self.payload.clone().into_bytes(),
            ..Requests::default()
        };
        // One authorization is consumed, and one stays.
        let stays = Requests {
            state: format!("{}2", self.state),
            ..all.clone()
        };
        let requests = ORDER.map(|rpc| (rpc, all.clone()));
        let requests = requests.into_iter().chain([(Rpc::Create, stays)]);
        let encoded = requests.map(|(rpc, requests)| (rpc.full_name(), requests.of(rpc)));
        encoded.collect()
    }

    /// Returns the first request of an RPC.
    pub fn request(&self, rpc: &'static str) -> (&'static str, Vec<u8>) {
        let mut requests = self.requests().into_iter();
        requests.find(|(named, _)| *named == rpc).unwrap()
    }
}
