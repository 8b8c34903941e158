//! Copying one identity of the older layout ahead of the next pass, because a login needs it now (guarantees, section 5, M4).

use super::{
    identity::{self, IdentityKey},
    report::Outcome,
};
use crate::{
    error::Damage,
    store::{
        Error,
        redis::{
            RedisStore,
            link::{Effect, reply},
            scripts::sha1_hex,
        },
    },
    types,
};

/// Copies the identity that older software keeps under the protocol type of a provider to the provider's name, unless there
/// is one. Copies nothing if there is no older one.
///
/// # Errors
/// Returns an [`Error`] if Redis fails, and a [`Damage`] if the older identity can't be copied.
pub async fn copy_identity(
    store: &RedisStore,
    key: &types::IdentityKey,
) -> Result<Result<(), Damage>, Error> {
    let older = store.older_layout();
    let mut pairs = older.pairs();
    let Some((protocol, provider)) = pairs.find(|(_, to)| **to == key.provider) else {
        return Ok(Ok(()));
    };
    let from = store.keys.identity(protocol, key.subject.as_str());
    let to = store.keys.identity(provider.as_str(), key.subject.as_str());
    let mut get = redis::cmd("GET");
    get.arg(&from);
    let Some(bytes) = reply::bytes(store.link.read(&get).await?)? else {
        return Ok(Ok(()));
    };
    let named = IdentityKey {
        protocol: protocol.to_owned(),
        provider: provider.clone(),
        subject: key.subject.as_str().to_owned(),
    };
    let copied = match identity::rewrite(&named, &bytes) {
        Ok(copied) => copied,
        Err(Outcome::Failed(reason)) => return Ok(Err(Damage(reason.to_string()))),
        Err(_) => {
            let what = "the older identity is another provider's";
            return Ok(Err(Damage(what.to_owned())));
        }
    };
    let set = store.keys.user_identities(&copied.user);
    let sha = sha1_hex(&bytes);
    let args: [&[u8]; 3] = [b"1", sha.as_bytes(), &copied.json];
    let script = &store.redis.scripts().migrate_identity;
    let answer = store
        .link
        .call(script, &[&from, &to, &set], &args, Effect::Writes)
        .await?;
    let outcomes: Vec<String> = reply::of_write(answer)?;
    match outcomes.first().map(String::as_str) {
        // Somebody else copied it, or it has changed: who asked looks again.
        Some("done" | "changed") => Ok(Ok(())),
        Some("type") => Err(Error::WrongType),
        _ => Err(reply::odd_outcome()),
    }
}
