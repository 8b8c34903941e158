//! Page tokens, which say where a listing continues.
//!
//! A token holds the last key of a page and a checksum that binds it to the tenant and the user. The checksum
//! detects tokens that are damaged, cut off, or from another listing. It is not a signature, because replicas
//! of the broker share no secret. A caller that forges a token only moves the start of its own listing.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use sha2::{Digest, Sha256};

use crate::{
    error::Error,
    types::{ProviderName, RowKey, SessionId, Tenant, UserId},
};

const CHECKSUM_BYTES: usize = 16;

/// Returns the token of the page that begins after `last`.
pub(super) fn encode(last: &RowKey, tenant: &Tenant, user: &UserId) -> String {
    // Stored ids may contain any character. The length says where the session ends.
    let (session, provider) = (last.session.as_str(), last.provider.as_str());
    let position = format!("{}:{session}{provider}", session.len());
    let mut token = checksum(position.as_bytes(), tenant, user).to_vec();
    token.extend_from_slice(position.as_bytes());
    BASE64.encode(token)
}

/// Returns the last key of the previous page.
///
/// # Errors
/// Returns [`Error::Invalid`], which names `page_token`.
pub(super) fn decode(token: &str, tenant: &Tenant, user: &UserId) -> Result<RowKey, Error> {
    parse(token, tenant, user)
        .ok_or_else(|| Error::invalid("page_token", "is not a page token of this listing"))
}

fn parse(token: &str, tenant: &Tenant, user: &UserId) -> Option<RowKey> {
    let token = BASE64.decode(token).ok()?;
    let (sum, position) = token.split_at_checked(CHECKSUM_BYTES)?;
    if checksum(position, tenant, user) != sum {
        return None;
    }
    let (length, ids) = std::str::from_utf8(position).ok()?.split_once(':')?;
    let (session, provider) = ids.split_at_checked(length.parse().ok()?)?;
    Some(RowKey {
        session: SessionId::from_stored(session.to_owned())?,
        provider: ProviderName::from_stored(provider.to_owned())?,
    })
}

fn checksum(position: &[u8], tenant: &Tenant, user: &UserId) -> [u8; CHECKSUM_BYTES] {
    let mut hash = Sha256::new();
    for part in [
        "token-broker page token",
        &tenant.to_string(),
        user.as_str(),
    ] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.update(position);
    let mut sum = [0; CHECKSUM_BYTES];
    sum.copy_from_slice(&hash.finalize()[..CHECKSUM_BYTES]);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_any_form_come_back() {
        let (tenant, user) = ("a:b".parse().unwrap(), UserId::new("u").unwrap());
        for (session, provider) in [("a\nb", "p"), ("1:", ":2"), ("é", "\n"), ("7", "8")] {
            let key = RowKey {
                session: SessionId::from_stored(session.to_owned()).unwrap(),
                provider: ProviderName::from_stored(provider.to_owned()).unwrap(),
            };
            let token = encode(&key, &tenant, &user);
            assert_eq!(decode(&token, &tenant, &user).unwrap(), key);
        }
    }

    #[test]
    fn a_token_is_good_for_its_own_listing_only() {
        let tenant: Tenant = "a:b".parse().unwrap();
        let (user, other) = (UserId::new("u").unwrap(), UserId::new("v").unwrap());
        let key = RowKey {
            session: SessionId::new("s:1").unwrap(),
            provider: ProviderName::new("p").unwrap(),
        };
        let token = encode(&key, &tenant, &user);
        assert_eq!(decode(&token, &tenant, &user).unwrap(), key);

        let other_tenant = "a:c".parse().unwrap();
        for (bad, tenant, user) in [
            (token.as_str(), &tenant, &other),
            (token.as_str(), &other_tenant, &user),
            (&token[1..], &tenant, &user),
            (&token[..token.len() - 2], &tenant, &user),
            ("czox", &tenant, &user),
            ("%%%", &tenant, &user),
        ] {
            assert!(
                matches!(decode(bad, tenant, user), Err(Error::Invalid(_))),
                "{bad}"
            );
        }
        for at in 0..token.len() {
            let mut flipped = token.clone().into_bytes();
            flipped[at] = if flipped[at] == b'A' { b'B' } else { b'A' };
            let flipped = String::from_utf8(flipped).unwrap();
            assert!(decode(&flipped, &tenant, &user).is_err(), "byte {at}");
        }
    }
}
