//! Storing a row.

use super::{Tokens, carry_forward::Source};
use crate::{
    error::Error,
    refresh::Configured,
    store::{self, Attempts, Condition, Put, PutOutcome, Store, until_known},
    types::{Reach, Row, RowKey, UnixTime, Version, keep_for},
};

/// What must be true for a row to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// There is no row yet.
    MustNotExist,
    /// The existing row has this version.
    Version(Version),
}

/// A request to store a row.
#[derive(Clone, Debug)]
pub struct StoreTokens {
    /// The key of the row.
    pub key: RowKey,
    /// The row. The broker sets [`Row::updated_at`], [`Row::reauth`] and [`Row::origin`] itself.
    pub row: Row,
    /// The precondition. With `None` the row replaces any row.
    pub precondition: Option<Precondition>,
    /// Whether a refresh token that is already known is kept if `row` has none.
    pub carry_forward: bool,
}

impl<S: Store> Tokens<S> {
    /// Stores a whole row. Returns its version.
    ///
    /// # Errors
    /// Returns [`Error::RowExists`], [`Error::VersionMismatch`], [`Error::TooLarge`] or
    /// [`Error::TooManyProviders`]. Returns [`Error::OutcomeUnknown`] if the answer to the write was lost, and what is
    /// stored afterwards doesn't tell what became of it.
    pub async fn store(&self, request: StoreTokens) -> Result<Version, Error> {
        self.store_within(request, &Reach::default()).await
    }

    /// Like [`Tokens::store`], and carries a refresh token forward only from a row within `reach`.
    ///
    /// # Errors
    /// Returns the errors of [`Tokens::store`].
    pub async fn store_within(
        &self,
        request: StoreTokens,
        reach: &Reach,
    ) -> Result<Version, Error> {
        Error::check_name(&request.key.provider, self.rules.limits.type_names)?;
        let is_conditional = request.precondition.is_some();
        let stored = self.store_row(request, reach).await;
        stored.map_err(|error| match is_conditional {
            // Repeated, it would find its own row.
            true => error.of_a_single_write(),
            false => error,
        })
    }

    async fn store_row(&self, request: StoreTokens, reach: &Reach) -> Result<Version, Error> {
        let StoreTokens {
            key,
            mut row,
            precondition,
            carry_forward,
        } = request;
        let now = UnixTime::now();
        row.updated_at = Some(now);
        row.reauth = None;
        let configured = self.rules.providers.get(&key.provider);
        row.origin = configured.map(Configured::origin);
        self.rules.limits.check(&row)?;

        if carry_forward && row.refresh_token.is_none() {
            return Box::pin(self.carry_forward(&key, row, now, precondition, reach)).await;
        }
        let condition = required(precondition);
        let outcome = self.put(&key, &row, now, condition, None).await?;
        outcome.map_err(|outcome| self.refusal(outcome))
    }

    /// Stores a row with a refresh token that is already known, if there is one.
    async fn carry_forward(
        &self,
        key: &RowKey,
        mut row: Row,
        now: UnixTime,
        precondition: Option<Precondition>,
        reach: &Reach,
    ) -> Result<Version, Error> {
        let condition = required(precondition);
        let requested_expiry = row.refresh_expires_at;
        let origin_of_request = row.origin.clone();
        // An attempt fails only because another caller's write succeeded.
        let mut attempts = Attempts::within(self.rules.persistence);
        loop {
            let Source {
                token,
                token_expires_at,
                origin,
                condition: unchanged,
                other,
            } = self.refresh_token_for(key, &row, now, reach).await?;
            let condition = match (condition, unchanged) {
                // The caller's precondition fails here if it didn't hold when the row was read. It could hold
                // again at the write, but the written row would then lack the token that it should keep.
                (Condition::Absent, Condition::Version(_)) => return Err(Error::RowExists),
                (Condition::Version(named), Condition::Version(read)) if named != read => {
                    return Err(Error::VersionMismatch);
                }
                (Condition::Version(_), Condition::Absent) => return Err(Error::VersionMismatch),
                (Condition::Always, unchanged) => unchanged,
                (named, _) => named,
            };
            row.origin = match token {
                Some(_) => origin,
                None => origin_of_request.clone(),
            };
            row.refresh_token = token;
            row.refresh_expires_at = requested_expiry.or(token_expires_at);
            self.rules.limits.check(&row)?;
            let other = other.as_ref().map(|(key, version)| (key, *version));
            match self.put(key, &row, now, condition, other).await? {
                Ok(version) => return Ok(version),
                // A row that was read has changed since, and nothing was written. If the caller set a precondition,
                // only a change of the source row is worth another attempt.
                Err(PutOutcome::SourceChanged) => {}
                Err(PutOutcome::Exists | PutOutcome::VersionMismatch) if precondition.is_none() => {
                }
                Err(outcome) => return Err(self.refusal(outcome)),
            }
            if !attempts.another().await {
                return Err(store::Error::unavailable("a row changed before each attempt").into());
            }
        }
    }

    /// Writes the row once, or not at all. The inner error is a condition that doesn't hold: nothing was written.
    ///
    /// If the answer is lost, this looks for the version that it drew. The row has it if the write was done, unless
    /// another caller wrote or deleted the row since. In that case the outcome stays unknown.
    async fn put(
        &self,
        key: &RowKey,
        row: &Row,
        now: UnixTime,
        condition: Condition,
        source: Option<(&RowKey, Version)>,
    ) -> Result<Result<Version, PutOutcome>, Error> {
        let version = Version::random();
        let usual = self.rules.refresh_lifetime;
        let refresh_lifetime = self.rules.providers.refresh_lifetime(&key.provider, usual);
        let put = Put {
            key,
            row,
            version,
            keep_for: keep_for(row, now, refresh_lifetime),
            condition,
            source,
            max_providers: self.rules.limits.providers,
        };
        let again = match condition {
            // Such a version never comes back, so that only one attempt can replace it.
            Condition::Version(replaced) if !replaced.may_come_back() => put,
            // A second write could bring back a row that another caller deleted in between, or replace one that was
            // written since. On this condition the store only looks.
            Condition::Version(_) | Condition::Always | Condition::Absent => Put {
                condition: Condition::Version(version),
                source: None,
                ..put
            },
        };
        let tells = |outcome: &PutOutcome| match outcome {
            PutOutcome::Written => true,
            // The row still has the version that this write replaces. If the source will never have its version again,
            // no attempt was or will be done.
            PutOutcome::SourceChanged => {
                source.is_some_and(|(_, version)| !version.may_come_back())
            }
            PutOutcome::Exists
            | PutOutcome::VersionMismatch
            | PutOutcome::TooManyProviders
            | PutOutcome::Redeemed => false,
        };
        let again = || self.store.put(again);
        let write = self.store.put(put);
        match until_known(self.rules.patience, write, again, tells).await? {
            PutOutcome::Written => Ok(Ok(version)),
            refused => Ok(Err(refused)),
        }
    }

    fn refusal(&self, outcome: PutOutcome) -> Error {
        match outcome {
            PutOutcome::Exists => Error::RowExists,
            PutOutcome::Redeemed => Error::RefreshTokenRedeemed,
            PutOutcome::TooManyProviders => Error::TooManyProviders {
                limit: self.rules.limits.providers,
            },
            PutOutcome::Written | PutOutcome::VersionMismatch | PutOutcome::SourceChanged => {
                Error::VersionMismatch
            }
        }
    }
}

/// Returns the condition that a caller's precondition is.
fn required(precondition: Option<Precondition>) -> Condition {
    match precondition {
        None => Condition::Always,
        Some(Precondition::MustNotExist) => Condition::Absent,
        Some(Precondition::Version(version)) => Condition::Version(version),
    }
}
