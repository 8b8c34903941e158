//! The name of the setting that a connection to Redis found at fault.

use super::settings::{RedisSettings, SentinelSettings};
use crate::store::redis::{AtFault, ConnectError, Peer, TlsPart};

/// Returns the name of the setting.
pub(super) fn setting(at_fault: AtFault) -> &'static str {
    match at_fault {
        AtFault::Url => RedisSettings::redis_url,
        AtFault::Password(Peer::Server) => RedisSettings::redis_password,
        AtFault::Password(Peer::Sentinel) => SentinelSettings::redis_sentinel_password,
        AtFault::PasswordFile(Peer::Server) => RedisSettings::redis_password_file,
        AtFault::PasswordFile(Peer::Sentinel) => SentinelSettings::redis_sentinel_password_file,
        AtFault::Tls(Peer::Server, part) => match part {
            TlsPart::Authorities => RedisSettings::redis_tls_ca,
            TlsPart::Certificate => RedisSettings::redis_tls_cert,
            TlsPart::Key => RedisSettings::redis_tls_key,
            TlsPart::ServerName => RedisSettings::redis_tls_server_name,
        },
        AtFault::Tls(Peer::Sentinel, part) => match part {
            TlsPart::Authorities => SentinelSettings::redis_sentinel_tls_ca,
            TlsPart::Certificate => SentinelSettings::redis_sentinel_tls_cert,
            TlsPart::Key => SentinelSettings::redis_sentinel_tls_key,
            TlsPart::ServerName => SentinelSettings::redis_sentinel_tls_server_name,
        },
        AtFault::SentinelUsername => SentinelSettings::redis_sentinel_username,
        AtFault::SentinelTls => SentinelSettings::redis_sentinel_tls,
    }
}

/// Explains why there is no connection. The text begins with the name of the setting that is wrong, if
/// one is.
#[must_use]
pub fn explain(error: &ConnectError) -> String {
    error.explain(setting)
}
