//! The words of the domain as types: validated once at the edge, impossible to swap, and silent in
//! `Debug` where they hold a secret (guarantees, section 1).

mod id;
mod row;
mod secret;
mod tenant;
mod time;
mod version;

pub use id::{ClientId, IdError, MAX_ID_BYTES, ProviderName, SessionId, Subject, UserId};
pub use row::{ReauthReason, Row, RowKey, StoredRow};
pub use secret::Secret;
pub use tenant::{Tenant, TenantError};
pub use time::UnixTime;
pub use version::Version;
