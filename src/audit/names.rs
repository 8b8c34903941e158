//! What stands in an event for an id that must not be in it: a keyed hash.

use std::fmt;

use aws_lc_rs::hmac;

use super::chain::hex;
use crate::types::{ProviderName, SessionId, Tenant, UserId};

/// A keyed hash that stands for a row, a session or a user. The same one always has the same name, and without the key
/// nobody can find out whose name it is by trying ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name([u8; 32]);

impl Name {
    /// Returns the name as text.
    pub(super) fn hex(&self) -> [u8; 64] {
        hex(&self.0)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.hex()).unwrap_or_default())
    }
}

/// Makes names: HMAC-SHA-256 under the audit key, over what is named and its ids, each with its length before it.
///
/// The key is for this alone. It stays when sealing keys are rotated, so that a row keeps its name.
pub struct Names(hmac::Key);

/// What is named. No name of one sort is that of another.
#[derive(Clone, Copy)]
enum Sort {
    Row = 1,
    Session = 2,
    User = 3,
}

impl Names {
    /// The length of the shortest key, in bytes.
    pub const SHORTEST_KEY: usize = 32;

    /// Makes names under `key`.
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// Returns the name of a row.
    #[must_use]
    pub fn row(&self, tenant: &Tenant, session: &SessionId, provider: &ProviderName) -> Name {
        self.name(
            Sort::Row,
            [tenant.as_str(), session.as_str(), provider.as_str()],
        )
    }

    /// Returns the name of a session.
    #[must_use]
    pub fn session(&self, tenant: &Tenant, session: &SessionId) -> Name {
        self.name(Sort::Session, [tenant.as_str(), session.as_str()])
    }

    /// Returns the name of a user.
    #[must_use]
    pub fn user(&self, tenant: &Tenant, user: &UserId) -> Name {
        self.name(Sort::User, [tenant.as_str(), user.as_str()])
    }

    fn name<const N: usize>(&self, sort: Sort, ids: [&str; N]) -> Name {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&[sort as u8]);
        for id in ids {
            context.update(&(id.len() as u64).to_be_bytes());
            context.update(id.as_bytes());
        }
        let mut name = [0; 32];
        name.copy_from_slice(context.sign().as_ref());
        Name(name)
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Names(***)")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_that_differ_have_names_that_differ() {
        let (one, other) = (Names::new(&[1; 32]), Names::new(&[2; 32]));
        let session = |id: &str| SessionId::new(id).unwrap();
        let provider = |id: &str| ProviderName::new(id).unwrap();
        let (a, b): (Tenant, Tenant) = ("a:b".parse().unwrap(), "a:c".parse().unwrap());
        let names = [
            one.row(&a, &session("s"), &provider("p")),
            one.row(&b, &session("s"), &provider("p")),
            one.row(&a, &session("sp"), &provider("p")),
            one.row(&a, &session("s"), &provider("pp")),
            one.session(&a, &session("s")),
            one.user(&a, &UserId::new("s").unwrap()),
            other.row(&a, &session("s"), &provider("p")),
        ];
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        let again = Names::new(&[1; 32]);
        assert_eq!(names[0], again.row(&a, &session("s"), &provider("p")));
    }

    /// The form must not change: names in old files have to stay those of their rows.
    #[test]
    fn the_form_of_what_is_hashed_stays() {
        let names = Names::new(&[7; 32]);
        let user = names.user(&"t:t".parse().unwrap(), &UserId::new("u").unwrap());
        let input = b"\x03\0\0\0\0\0\0\0\x03t:t\0\0\0\0\0\0\0\x01u";
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
        assert_eq!(hmac::sign(&key, input).as_ref(), user.0);
    }
}
