//! The terms of the domain as types (guarantees, section 1).
//!
//! A value is validated once, when it enters the broker. Values of different meaning can't be swapped.
//! `Debug` doesn't print those that are secret.

mod authorization;
mod digest;
mod envelope;
mod file;
mod id;
mod identity;
mod key_id;
mod labels;
mod lifetime;
mod lineage;
mod lock;
mod open_file;
mod origin;
mod peer;
mod pem;
mod protocol;
mod reach;
mod record;
mod right;
mod row;
mod secret;
mod secret_file;
mod source;
mod spiffe;
mod tenant;
mod text;
mod time;
mod version;

pub use authorization::{Nonce, Payload, PendingAuthorization};
pub(crate) use digest::{sha1, sha256};
pub use envelope::Envelope;
pub(crate) use file::{FileId, folder_of};
pub use id::{ClientId, IdError, MAX_ID_BYTES, ProviderName, SessionId, State, Subject, UserId};
pub use identity::{Identity, IdentityKey, UserRecord};
pub use key_id::{Fingerprint, KeyId, KeyName};
pub(crate) use labels::labels;
pub use lifetime::keep_for;
pub use lineage::Lineage;
pub(crate) use lock::lock;
pub use open_file::{NotRead, open_file, read_file, read_once};
pub use origin::Origin;
pub use peer::{Address, Channel, Peer, PeerCertificate};
pub(crate) use pem::{certificates_in, private_key_in, without_mark};
pub use protocol::{PROTOCOL_TYPES, TypeNames};
pub use reach::{ProviderSet, Reach};
pub use record::{
    Attempt, AttemptId, AttemptState, Entry, EntryState, Record, StoreTime, Successor, TokenHash,
    Wanted,
};
pub use right::Right;
pub use row::{ReauthReason, Row, RowKey, StoredRow};
pub(crate) use secret::wipe;
pub use secret::{Secret, SecretBytes};
pub use secret_file::{
    SecretProblem, one_line, read_private, read_private_secret, read_secret, read_whole,
};
pub use source::Source;
pub use spiffe::{NotSpiffeId, SpiffeId};
pub use tenant::{Tenant, TenantError};
pub use text::{MAX_TOKEN_TYPE_BYTES, TextError, is_token};
pub use time::UnixTime;
pub use version::Version;
