//! What a call shows of its caller, and what the broker makes of it.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};
use testkit::requests::send;
use tonic::{
    Code, Request, Status,
    metadata::{KeyAndValueRef, MetadataValue},
    transport::Channel,
};
use tonic_types::StatusExt;

/// Returns a bearer token of a caller. Each caller has a first and a second one.
pub fn token(caller: &str, which: &str) -> String {
    format!("{which}-token-of-{caller}")
}

/// Returns how a policy names a bearer token.
pub fn sha256(token: &str) -> String {
    let mut hex = String::new();
    for byte in Sha256::digest(token) {
        write!(hex, "{byte:02x}").unwrap();
    }
    hex
}

/// The bearer tokens that a call shows.
#[derive(Clone, Copy, Debug)]
pub enum Bearers {
    None,
    Own,
    Others,
    Wrong,
    /// Its own, in two headers.
    Twice,
    /// Two that are both its own.
    TwoOfItsOwn,
    OwnAndOthers,
    OwnAndWrong,
}

impl Bearers {
    /// In the order of the columns of a table.
    pub const ALL: [Self; 8] = [
        Self::None,
        Self::Own,
        Self::Others,
        Self::Wrong,
        Self::Twice,
        Self::TwoOfItsOwn,
        Self::OwnAndOthers,
        Self::OwnAndWrong,
    ];

    /// Returns the tokens that the caller `own` shows, who has found one of `other`.
    fn tokens(self, own: &str, other: &str) -> Vec<String> {
        let first = || token(own, "first");
        match self {
            Self::None => Vec::new(),
            Self::Own => vec![first()],
            Self::Others => vec![token(other, "first")],
            Self::Wrong => vec![token(own, "no")],
            Self::Twice => vec![first(), first()],
            Self::TwoOfItsOwn => vec![first(), token(own, "second")],
            Self::OwnAndOthers => vec![first(), token(other, "first")],
            Self::OwnAndWrong => vec![first(), token(own, "no")],
        }
    }

    /// Calls an RPC with a message that has nothing. Who is let in is told that fields are missing; so nobody else may be.
    pub async fn call(self, channel: &Channel, rpc: &str, own: &str, other: &str) -> Answer {
        let mut request = Request::new(Vec::new());
        for token in self.tokens(own, other) {
            let header = MetadataValue::try_from(format!("Bearer {token}")).unwrap();
            request.metadata_mut().append("authorization", header);
        }
        match send(channel.clone(), rpc, request).await {
            Ok(_) => Answer::Odd("OK".to_owned()),
            Err(status) => Answer::of(&status),
        }
    }
}

/// The answer to a call without content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is let in.
    Served,
    /// Its caller is known, and may not call this.
    NotAllowed,
    /// Its caller isn't known. With all that it was told.
    Unknown(String),
    /// It showed nothing. With all that it was told.
    NoCredentials(String),
    /// The broker didn't let it speak.
    NoConnection(String),
    Odd(String),
}

impl Answer {
    fn of(status: &Status) -> Self {
        let info = status.get_details_error_info();
        let reason = info.map_or(String::new(), |info| info.reason);
        match (status.code(), reason.as_str()) {
            (Code::InvalidArgument, "INVALID_FIELD") => Self::Served,
            (Code::PermissionDenied, "NOT_ALLOWED") => Self::NotAllowed,
            (Code::Unauthenticated, "UNKNOWN_CALLER") => Self::Unknown(told(status)),
            (Code::Unauthenticated, "NO_CREDENTIALS") => Self::NoCredentials(told(status)),
            // The broker itself always gives a reason.
            (_, "") if status.metadata().is_empty() => Self::NoConnection(format!("{status:?}")),
            _ => Self::Odd(format!("{status:?}")),
        }
    }
}

/// Returns all that a refusal says, but for the time of day.
fn told(status: &Status) -> String {
    let mut headers: Vec<_> = status
        .metadata()
        .iter()
        .map(|header| match header {
            KeyAndValueRef::Ascii(name, value) => format!("{name}: {value:?}"),
            KeyAndValueRef::Binary(name, value) => format!("{name}: {value:?}"),
        })
        .filter(|header| !header.starts_with("date:"))
        .collect();
    headers.sort();
    format!(
        "{:?} {:?} {:?} {headers:?}",
        status.code(),
        status.message(),
        status.details()
    )
}
