//! Users and their identities in memory.

use std::collections::{BTreeSet, HashMap};

use super::MemoryStore;
use crate::{
    error::Damage,
    store::{
        DeletedIdentities, Error, Identities, LinkOutcome, NewIdentity, Resolved, USED_WITHIN,
        UnlinkOutcome,
    },
    types::{Identity, IdentityKey, UnixTime, UserId, UserRecord},
};

/// All users and identities. Each identity leads to a user who is there, because a user goes together with its identities.
#[derive(Debug, Default)]
pub(super) struct Users {
    users: HashMap<UserId, User>,
    identities: HashMap<IdentityKey, Identity>,
}

#[derive(Debug)]
struct User {
    record: UserRecord,
    identities: BTreeSet<IdentityKey>,
}

impl Users {
    fn resolve(&mut self, key: &IdentityKey, new: &UserId, now: UnixTime) -> Resolved {
        if let Some(identity) = self.identities.get_mut(key) {
            let again = identity.last_used_at.map(|used| used.plus(USED_WITHIN));
            // The clock may have been set back since.
            let is_to_come = identity.last_used_at.is_some_and(|used| used > now);
            if is_to_come || again.is_none_or(|again| now >= again) {
                identity.last_used_at = Some(now);
            }
            return Resolved {
                user: identity.user.clone(),
                created: false,
            };
        }
        let record = UserRecord {
            id: new.clone(),
            created_at: Some(now),
            updated_at: Some(now),
        };
        let user = User {
            record,
            identities: BTreeSet::new(),
        };
        self.users.insert(new.clone(), user);
        self.insert(key, new, now, Some(now));
        Resolved {
            user: new.clone(),
            created: true,
        }
    }

    fn insert(&mut self, key: &IdentityKey, user: &UserId, now: UnixTime, used: Option<UnixTime>) {
        let identity = Identity {
            key: key.clone(),
            user: user.clone(),
            linked_at: Some(now),
            last_used_at: used,
        };
        self.identities.insert(key.clone(), identity);
        if let Some(user) = self.users.get_mut(user) {
            user.identities.insert(key.clone());
        }
    }

    fn link(&mut self, new: NewIdentity<'_>, now: UnixTime) -> LinkOutcome {
        let Some(user) = self.users.get(new.user) else {
            return LinkOutcome::NoUser;
        };
        match self.identities.get(new.key) {
            Some(identity) if identity.user == *new.user => return LinkOutcome::LinkedBefore,
            Some(_) => return LinkOutcome::LinkedToOther,
            None if user.identities.len() >= new.max => return LinkOutcome::TooMany,
            None => {}
        }
        self.insert(new.key, new.user, now, None);
        LinkOutcome::Linked
    }

    fn unlink(&mut self, key: &IdentityKey, user: Option<&UserId>) -> UnlinkOutcome {
        let is_its = |identity: &Identity| user.is_none_or(|user| identity.user == *user);
        if !self.identities.get(key).is_some_and(is_its) {
            return UnlinkOutcome::Absent;
        }
        let Some(identity) = self.identities.remove(key) else {
            return UnlinkOutcome::Absent;
        };
        if let Some(user) = self.users.get_mut(&identity.user) {
            user.identities.remove(key);
        }
        UnlinkOutcome::Unlinked(identity.user)
    }

    fn delete(&mut self, user: &UserId) -> DeletedIdentities {
        let Some(User { identities, .. }) = self.users.remove(user) else {
            return DeletedIdentities::default();
        };
        for key in &identities {
            self.identities.remove(key);
        }
        DeletedIdentities {
            count: identities.len() as u64,
            record: true,
            ..DeletedIdentities::default()
        }
    }
}

impl Identities for MemoryStore {
    async fn resolve(
        &self,
        identity: &IdentityKey,
        new: &UserId,
    ) -> Result<Result<Resolved, Damage>, Error> {
        Ok(Ok(self.0.users().resolve(identity, new, UnixTime::now())))
    }

    async fn user(&self, user: &UserId) -> Result<Option<Result<UserRecord, Damage>>, Error> {
        let users = self.0.users();
        Ok(users.users.get(user).map(|user| Ok(user.record.clone())))
    }

    async fn link(&self, new: NewIdentity<'_>) -> Result<LinkOutcome, Error> {
        Ok(self.0.users().link(new, UnixTime::now()))
    }

    async fn leads_to(
        &self,
        identity: &IdentityKey,
    ) -> Result<Option<Result<UserId, Damage>>, Error> {
        let users = self.0.users();
        Ok(users
            .identities
            .get(identity)
            .map(|found| Ok(found.user.clone())))
    }

    async fn unlink(
        &self,
        identity: &IdentityKey,
        user: Option<&UserId>,
    ) -> Result<UnlinkOutcome, Error> {
        Ok(self.0.users().unlink(identity, user))
    }

    async fn identities(&self, user: &UserId) -> Result<Vec<Identity>, Error> {
        let users = self.0.users();
        let Some(User { identities, .. }) = users.users.get(user) else {
            return Ok(Vec::new());
        };
        let found = identities
            .iter()
            .filter_map(|key| users.identities.get(key));
        Ok(found.cloned().collect())
    }

    async fn delete_user(&self, user: &UserId) -> Result<DeletedIdentities, Error> {
        Ok(self.0.users().delete(user))
    }
}
