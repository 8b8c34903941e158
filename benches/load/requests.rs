//! The calls that are measured, encoded before anything is measured.

use std::ops::Range;

use prost::Message;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::rows::{self, PROVIDERS};

/// The method that is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Method {
    Get,
    GetAll,
    GetAccessToken,
    Store,
}

impl Method {
    pub(crate) const ALL: [Self; 4] = [Self::Get, Self::GetAll, Self::GetAccessToken, Self::Store];

    /// Returns the word for it on the command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::GetAll => "get-all",
            Self::GetAccessToken => "get-access-token",
            Self::Store => "store",
        }
    }

    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Get => "/tokenbroker.v1.TokenBroker/Get",
            Self::GetAll => "/tokenbroker.v1.TokenBroker/GetAll",
            Self::GetAccessToken => "/tokenbroker.v1.AccessTokens/GetAccessToken",
            Self::Store => "/tokenbroker.v1.TokenBroker/Store",
        }
    }

    /// Returns the least bytes that a right answer has.
    pub(crate) fn shortest_answer(self) -> usize {
        match self {
            Self::Get => rows::TOKENS,
            Self::GetAll => rows::TOKENS * PROVIDERS as usize,
            Self::GetAccessToken => rows::ACCESS,
            // The version.
            Self::Store => 2,
        }
    }
}

/// Messages of one method, one for each row or session, and which one is next.
pub(crate) struct Requests {
    pub(crate) method: Method,
    messages: Vec<Vec<u8>>,
    dice: StdRng,
}

impl Requests {
    /// Returns the requests for the rows of these sessions.
    pub(crate) fn new(method: Method, sessions: Range<u32>) -> Self {
        let messages = match method {
            Method::Get => rows::all(sessions)
                .map(|row| rows::get(row).encode_to_vec())
                .collect(),
            Method::GetAccessToken => rows::all(sessions)
                .map(|row| rows::get_access_token(row).encode_to_vec())
                .collect(),
            Method::GetAll => sessions
                .map(|session| rows::get_all(session).encode_to_vec())
                .collect(),
            Method::Store => rows::all(sessions)
                .map(|row| rows::store(row).encode_to_vec())
                .collect(),
        };
        Self::of(method, messages)
    }

    /// Returns these messages as requests.
    pub(crate) fn of(method: Method, messages: Vec<Vec<u8>>) -> Self {
        Self {
            method,
            messages,
            dice: StdRng::seed_from_u64(1),
        }
    }

    /// Returns a random one.
    pub(crate) fn any(&mut self) -> &[u8] {
        let nth = self.dice.random_range(0..self.messages.len());
        &self.messages[nth]
    }

    /// Returns all, in order.
    pub(crate) fn all(&self) -> &[Vec<u8>] {
        &self.messages
    }
}
