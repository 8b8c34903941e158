//! Tries a provider without redeeming anything.

use super::{Answer, Asked, PrepareError, Provider, Why, redemption::Target};
use crate::{outbound::Endpoint, types::Secret};

/// A text that no provider gives out as a refresh token.
const MADE_UP: &str = "token-broker-made-up-token-that-no-provider-gave-out";

/// What a trial found.
#[derive(Debug)]
pub struct Trial {
    /// Where metadata was asked for, and whose it is.
    pub asked: Vec<Asked>,
    /// The token endpoint, if it is known.
    pub token_endpoint: Option<Endpoint>,
    /// The revocation endpoint, if there is one.
    pub revocation_endpoint: Option<Endpoint>,
    /// What came of it.
    pub verdict: Verdict,
}

/// What came of a trial.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The settings or files are wrong. The text quotes no secret.
    Misconfigured(String),
    /// The provider can't be reached.
    Unreachable(Why),
    /// The files can be read, the endpoints are known, and a connection was made. Whether the provider knows the client
    /// wasn't asked.
    Connected,
    /// The provider knows the client: it found fault with the made-up token alone.
    ClientAccepted,
    /// The provider doesn't accept the client or the request.
    ClientRefused(Why),
    /// The answer tells nothing about the client.
    Unclear(Why),
}

impl Provider {
    /// Reads the files, finds the endpoints, and connects to the token endpoint. Sends no request there, unless
    /// `with_made_up_token`: then it asks to redeem a token that no provider gave out, and so learns whether the client is
    /// accepted.
    pub async fn try_out(&self, with_made_up_token: bool) -> Trial {
        let mut trial = Trial {
            asked: Vec::new(),
            token_endpoint: None,
            revocation_endpoint: None,
            verdict: Verdict::Connected,
        };
        if let Ok(material) = self.credentials.read(&self.options).await
            && let Ok(found) = self.discovery.endpoints(&self.options, &material).await
        {
            trial.token_endpoint = found.token;
            trial.revocation_endpoint = found.revocation;
        }
        trial.verdict = if with_made_up_token {
            self.try_client().await
        } else {
            match self.ready(Target::Token).await {
                Ok(_) => Verdict::Connected,
                Err(error) => error.into(),
            }
        };
        trial.asked = self.discovery.trace();
        trial
    }

    async fn try_client(&self) -> Verdict {
        let prepared = match self.prepare().await {
            Ok(prepared) => prepared,
            Err(error) => return error.into(),
        };
        let Some(token) = Secret::new(MADE_UP.to_owned()) else {
            return Verdict::Connected;
        };
        match prepared.send(&token).await {
            Answer::Refused { .. } => Verdict::ClientAccepted,
            Answer::OurFault { why, .. } => Verdict::ClientRefused(why),
            Answer::Passing { why, .. } | Answer::Unknown { why } => Verdict::Unclear(why),
            // Not a token endpoint, or a test server.
            Answer::Tokens(_) => Verdict::Unclear(Why::Unreadable),
        }
    }
}

impl From<PrepareError> for Verdict {
    fn from(error: PrepareError) -> Self {
        match error {
            PrepareError::Misconfigured(what) => Self::Misconfigured(what),
            PrepareError::Unreachable(why) => Self::Unreachable(why),
        }
    }
}
