//! Pending authorizations whose payload is sealed.

use super::{Sealed, Sealing};
use crate::{
    error::{Damage, Unopened},
    seal::{AssociatedData, NotOpened},
    store::{Authorizations, CreateOutcome, Error, NewAuthorization},
    types::{Nonce, Payload, PendingAuthorization, SecretBytes, State, UnixTime, UserId},
};

impl<S: Authorizations> Authorizations for Sealed<S> {
    async fn create(&self, new: NewAuthorization<'_>) -> Result<CreateOutcome, Error> {
        match seal(&self.sealing, new.state, new.pending)? {
            Some(pending) => {
                let pending = &pending;
                self.inner.create(NewAuthorization { pending, ..new }).await
            }
            None => self.inner.create(new).await,
        }
    }

    async fn pending(
        &self,
        state: &State,
    ) -> Result<Option<Result<PendingAuthorization, Unopened>>, Error> {
        let found = self.inner.pending(state).await?;
        Ok(found.map(|found| self.sealing.open_pending(state, found?)))
    }

    async fn take(
        &self,
        state: &State,
        pending: &PendingAuthorization,
        taker: Nonce,
    ) -> Result<bool, Error> {
        self.inner.take(state, pending, taker).await
    }

    async fn now(&self) -> Result<UnixTime, Error> {
        self.inner.now().await
    }
}

/// Returns the authorization as it is stored, with its payload in an envelope. Returns `None` if there is no key, so that it
/// is stored as it is.
fn seal(
    sealing: &Sealing,
    state: &State,
    pending: &PendingAuthorization,
) -> Result<Option<PendingAuthorization>, Error> {
    let ring = sealing.keys.ring();
    let Payload::Plain(payload) = &pending.payload else {
        return Err(Error::unavailable("the payload is sealed already"));
    };
    if ring.sealing().is_none() {
        return Ok(None);
    }
    let envelope = ring.seal(payload, &associated(sealing, state, pending));
    let envelope = envelope.ok_or_else(|| Error::unavailable("the payload can't be sealed"))?;
    Ok(Some(PendingAuthorization {
        id: pending.id,
        provider: pending.provider.clone(),
        session: pending.session.clone(),
        client: pending.client.clone(),
        user: pending.user.clone(),
        expires_at: pending.expires_at,
        payload: Payload::Sealed(envelope),
    }))
}

impl Sealing {
    /// Returns the authorization of a state as it was before it was sealed.
    ///
    /// # Errors
    /// Returns why it can't be read.
    pub fn open_pending(
        &self,
        state: &State,
        mut pending: PendingAuthorization,
    ) -> Result<PendingAuthorization, Unopened> {
        let damaged = |what: &str, shown| {
            Err(Unopened::Damaged {
                damage: Damage(what.to_owned()),
                shown: Some(Box::new(shown)),
            })
        };
        let Payload::Sealed(envelope) = &pending.payload else {
            return match self.require_sealed {
                true => damaged("it isn't sealed, and require-sealed is on", pending),
                false => Ok(pending),
            };
        };
        let associated = associated(self, state, &pending);
        match self.keys.ring().open(envelope, &associated) {
            Ok(payload) => {
                pending.payload = Payload::Plain(SecretBytes::new(payload.to_vec()));
                Ok(pending)
            }
            Err(NotOpened::Damaged(what)) => damaged(what, pending),
            Err(NotOpened::KeyMissing(key)) => Err(Unopened::KeyMissing {
                key,
                shown: Box::new(pending),
            }),
        }
    }
}

/// Returns where the payload belongs, and all of the authorization that stays readable.
fn associated(sealing: &Sealing, state: &State, pending: &PendingAuthorization) -> AssociatedData {
    // Without `..`: a new field doesn't compile until it is bound here, or sealed.
    let PendingAuthorization {
        id,
        provider,
        session,
        client,
        user,
        payload: _,
        expires_at,
    } = pending;
    AssociatedData::of("pending authorization")
        .text(&sealing.tenant.to_string())
        .text(state.as_str())
        .text(&id.to_string())
        .text(provider.as_str())
        .text(session.as_str())
        .text(client.as_str())
        .optional(user.as_ref().map(UserId::as_str))
        .time(Some(*expires_at))
}
