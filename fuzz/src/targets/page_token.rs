//! A page token is good for its own listing alone, in one spelling, and any position in it is bounded. The first line is a
//! token, and what follows the bytes of a position.

use std::sync::LazyLock;

use token_broker::{
    error::Error,
    store::{Position, redis::index_position::IndexPosition},
    tokens::page_token::{decode, encode},
    types::{Tenant, UserId},
};

use crate::input::{first_line, planted, prints_nothing, tenant};

static TENANT: LazyLock<Tenant> = LazyLock::new(tenant);
static USERS: LazyLock<[UserId; 2]> =
    LazyLock::new(|| ["u", "v"].map(|name| UserId::new(name).expect("an id")));

pub fn run(bytes: &[u8]) -> Option<()> {
    let (token, position) = first_line(bytes);
    let [user, other] = &*USERS;
    let token = str::from_utf8(token).ok()?;
    match read(token, user) {
        Ok(position) => {
            assert_eq!(
                encode(&position, &TENANT, user),
                token,
                "it has another spelling"
            );
            assert!(read(token, other).is_err(), "it is good for another user");
        }
        Err(error) => prints_nothing("an error", &error),
    }
    let position = Position::new(position.to_vec());
    let made = encode(&position, &TENANT, user);
    assert!(read(&made, user).is_ok_and(|back| back == position));
    assert!(read(&made, other).is_err(), "it is good for another user");
    if let Some(index) = IndexPosition::decode(&position) {
        let bounded = index.encode();
        assert_eq!(IndexPosition::decode(&bounded), Some(index));
    }
    Some(())
}

fn read(token: &str, user: &UserId) -> Result<Position, Error> {
    // A token whose position has the form of one in Redis is taken for any user's.
    if planted() && token.len() == 67 {
        return decode(token, &TENANT, user).or_else(|_| decode(token, &TENANT, &USERS[0]));
    }
    decode(token, &TENANT, user)
}
