//! Page tokens, which say where a listing continues.
//!
//! A token holds the store's position and a checksum that binds it to the tenant and the user. The checksum
//! detects tokens that are damaged, cut off, or from another listing. It is not a signature, because replicas
//! of the broker share no secret. A caller that forges a token only moves the start of its own listing. The position
//! names no session ([`Position`]), so that a token may be logged.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use sha2::{Digest, Sha256};

use crate::{
    error::Error,
    store::Position,
    types::{Tenant, UserId},
};

const CHECKSUM_BYTES: usize = 16;

/// Returns the token of the page that begins at `position`.
#[must_use]
pub fn encode(position: &Position, tenant: &Tenant, user: &UserId) -> String {
    let mut token = checksum(position.as_bytes(), tenant, user).to_vec();
    token.extend_from_slice(position.as_bytes());
    BASE64.encode(token)
}

/// Returns the position at which the page begins.
///
/// # Errors
/// Returns [`Error::Invalid`], which names `page_token`.
pub fn decode(token: &str, tenant: &Tenant, user: &UserId) -> Result<Position, Error> {
    parse(token, tenant, user)
        .ok_or_else(|| Error::invalid("page_token", "is not a page token of this listing"))
}

fn parse(token: &str, tenant: &Tenant, user: &UserId) -> Option<Position> {
    let token = BASE64.decode(token).ok()?;
    let (sum, position) = token.split_at_checked(CHECKSUM_BYTES)?;
    (checksum(position, tenant, user) == sum).then(|| Position::new(position.to_vec()))
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
    fn a_token_is_good_for_its_own_listing_only() {
        let tenant: Tenant = "a:b".parse().unwrap();
        let (user, other) = (UserId::new("u").unwrap(), UserId::new("v").unwrap());
        let position = Position::new(b"position".to_vec());
        let token = encode(&position, &tenant, &user);
        assert_eq!(decode(&token, &tenant, &user).unwrap(), position);

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
