//! A row and its envelope.

use std::sync::Once;

use crate::{
    error::{KeyMissing, Unreadable},
    seal::{AssociatedData, Keys, NotOpened},
    store::{Decoded, Error},
    traces::{self, Kind},
    types::{
        ClientId, ReauthReason, Row, RowKey, Secret, SecretBytes, StoredRow, Subject, Tenant,
        UserId, Version,
    },
};

/// How the rows of a tenant are sealed. Clones share the keys.
#[derive(Clone, Debug)]
pub struct Sealing {
    /// The tenant.
    pub tenant: Tenant,
    /// Its keys. Without any, rows are written plain, and those that are sealed can't be read.
    pub keys: Keys,
    /// Whether rows that aren't sealed can't be read.
    pub require_sealed: bool,
}

impl Sealing {
    /// Returns the sealing of a tenant that has no keys.
    #[must_use]
    pub fn off(tenant: Tenant) -> Self {
        Self {
            tenant,
            keys: Keys::default(),
            require_sealed: false,
        }
    }

    /// Returns the row as it is stored under `key`, with its tokens in an envelope. Returns `None` if there is no key, so
    /// that the row is stored as it is.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`] if the row can't be sealed.
    pub fn seal(&self, key: &RowKey, row: &Row, version: Version) -> Result<Option<Row>, Error> {
        let ring = self.keys.ring();
        if ring.sealing().is_none() {
            return Ok(None);
        }
        let _span = traces::child("seal", Kind::Internal);
        let associated = self.associated(key, row, version);
        let envelope = payload(row).and_then(|payload| ring.seal(&payload, &associated));
        let envelope = envelope.ok_or_else(|| Error::unavailable("the row can't be sealed"))?;
        Ok(Some(Row {
            access_token: None,
            refresh_token: None,
            id_token: None,
            token_type: row.token_type.clone(),
            scopes: row.scopes.clone(),
            expires_at: row.expires_at,
            session_expires_at: row.session_expires_at,
            refresh_expires_at: row.refresh_expires_at,
            user_id: row.user_id.clone(),
            upstream_subject: row.upstream_subject.clone(),
            client_id: row.client_id.clone(),
            updated_at: row.updated_at,
            reauth: row.reauth,
            origin: row.origin.clone(),
            sealed: Some(envelope.holding(row.refresh_token_hash())),
        }))
    }

    /// Returns the row as it was before it was sealed.
    ///
    /// # Errors
    /// Returns why it can't be read.
    pub fn open(&self, key: &RowKey, stored: StoredRow) -> Decoded {
        let damaged = |what: &str| Err(Unreadable::damaged(what));
        let StoredRow { mut row, version } = stored;
        let is_half_sealed = row.is_half_sealed();
        let Some(envelope) = row.sealed.take() else {
            return match self.require_sealed {
                true => damaged("it isn't sealed, and require-sealed is on"),
                false => Ok(StoredRow { row, version }),
            };
        };
        if is_half_sealed {
            return damaged("it is half plain and half sealed");
        }
        let _span = traces::child("open", Kind::Internal);
        let associated = self.associated(key, &row, version);
        match self.keys.ring().open(&envelope, &associated) {
            Ok(payload) => {
                if take_out(&payload, &mut row).is_none() {
                    return damaged("its envelope doesn't hold tokens");
                }
                // An earlier version may have sealed what no caller may store any more.
                match row.faulty_tokens().first() {
                    None => Ok(StoredRow { row, version }),
                    Some((field, fault)) => damaged(&format!("{field} in its envelope {fault}")),
                }
            }
            Err(NotOpened::Damaged(what)) => damaged(what),
            Err(NotOpened::KeyMissing(key)) => {
                self.tell_if_it_has_none();
                let shown = StoredRow { row, version };
                Err(Unreadable::KeyMissing(Box::new(KeyMissing { key, shown })))
            }
        }
    }

    /// Tells the log, once, that this broker has no keys though the tenant's rows are sealed: what it stores is plain, which
    /// nobody may have meant.
    fn tell_if_it_has_none(&self) {
        static TOLD: Once = Once::new();
        if self.keys.ring().sealing().is_none() {
            TOLD.call_once(|| {
                tracing::error!(
                    tenant = %self.tenant,
                    "a row is sealed, and this broker has no sealing keys: it can't read such rows, and what it stores is plain"
                );
            });
        }
    }

    /// Returns where the tokens of a row belong, and all of the row that stays readable.
    ///
    /// A field that a row may have later is added behind all others, and only if the row has it: rows that are stored
    /// already open as before. Older brokers can't open a row that has it. So one version has to read such a field before
    /// the next one writes it.
    fn associated(&self, key: &RowKey, row: &Row, version: Version) -> AssociatedData {
        // Without `..`: a new field doesn't compile until it is bound here, or sealed.
        let Row {
            access_token: _,
            refresh_token: _,
            id_token: _,
            sealed: _,
            token_type,
            scopes,
            expires_at,
            session_expires_at,
            refresh_expires_at,
            user_id,
            upstream_subject,
            client_id,
            updated_at,
            reauth,
            origin,
        } = row;
        let origin = origin.as_ref();
        let mut associated = AssociatedData::of("row")
            .text(&self.tenant.to_string())
            .text(key.session.as_str())
            .text(key.provider.as_str())
            .number(version.number())
            .optional(user_id.as_ref().map(UserId::as_str))
            .optional(upstream_subject.as_ref().map(Subject::as_str))
            .optional(client_id.as_ref().map(ClientId::as_str))
            .time(*expires_at)
            .time(*session_expires_at)
            .time(*refresh_expires_at)
            .time(*updated_at)
            .optional(reauth.map(|reason| match reason {
                ReauthReason::Refused => "refused",
                ReauthReason::InDoubt => "in_doubt",
            }))
            .optional(origin.map(|origin| origin.server.as_str()))
            .optional(origin.map(|origin| origin.client_id.as_str()))
            .text(token_type)
            .number(scopes.len() as u64);
        for scope in scopes {
            associated = associated.text(scope);
        }
        associated
    }
}

/// Returns the tokens of a row, each with its length before it. `None` if one is longer than 4 GiB.
fn payload(row: &Row) -> Option<SecretBytes> {
    let tokens = [&row.access_token, &row.refresh_token, &row.id_token];
    let tokens = tokens.map(|token| token.as_ref().map_or("", Secret::expose));
    let size: usize = tokens.iter().map(|token| token.len() + 4).sum();
    let mut payload = SecretBytes::with_capacity(size);
    for token in tokens {
        let length = u32::try_from(token.len()).ok()?;
        payload.extend_from_slice(&length.to_be_bytes());
        payload.extend_from_slice(token.as_bytes());
    }
    Some(payload)
}

/// Gives a row the tokens of `payload`. `None` if they aren't three texts and nothing else.
fn take_out(payload: &[u8], row: &mut Row) -> Option<()> {
    let mut rest = payload;
    let mut next = || {
        let (length, after) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (token, after) = after.split_at_checked(length)?;
        rest = after;
        Some(Secret::new(str::from_utf8(token).ok()?.to_owned()))
    };
    let (access, refresh, id) = (next()?, next()?, next()?);
    if !rest.is_empty() {
        return None;
    }
    row.access_token = access;
    row.refresh_token = refresh;
    row.id_token = id;
    Some(())
}
