//! The terms of the domain as types (guarantees, section 1).
//!
//! A value is validated once, when it enters the broker. Values of different meaning can't be swapped.
//! `Debug` doesn't print those that are secret.

mod id;
mod row;
mod secret;
mod tenant;
mod time;
mod version;

pub use id::{ClientId, IdError, MAX_ID_BYTES, ProviderName, SessionId, Subject, UserId};
pub use row::{ReauthReason, Row, RowKey, StoredRow};
pub use secret::{Secret, SecretBytes};
pub use tenant::{Tenant, TenantError};
pub use time::UnixTime;
pub use version::Version;
