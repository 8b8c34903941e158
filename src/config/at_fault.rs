//! The name of the setting that a connection to Redis found at fault.

use super::{
    settings::{RedisSettings, SentinelSettings},
    written::Settings,
};
use crate::store::redis::{AtFault, Peer, Spelling, TlsPart};

/// Returns the names of the settings as the operator gave them. A user or a password in the URL is the URL's fault.
pub(super) fn spelling(written: &Settings) -> Spelling {
    let written = written.without_texts();
    Spelling::new(move |at_fault| {
        let in_url = match at_fault {
            AtFault::Password(Peer::Server) => !written.is_set(RedisSettings::redis_password),
            AtFault::Username => !written.is_set(RedisSettings::redis_username),
            _ => false,
        };
        written.given_as(if in_url {
            RedisSettings::redis_url
        } else {
            setting(at_fault)
        })
    })
}

/// Returns the name of the setting.
fn setting(at_fault: AtFault) -> &'static str {
    match at_fault {
        AtFault::Url => RedisSettings::redis_url,
        AtFault::Username => RedisSettings::redis_username,
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
