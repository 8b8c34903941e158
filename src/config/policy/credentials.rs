//! What a caller is known by.

use std::net::IpAddr;

use super::caller::{Item, Table};
use crate::{
    access::{Credential, TokenSha256},
    types::SpiffeId,
};

const SPIFFE_IDS: &str = "spiffe-ids";
const URIS: &str = "uris";
const DNS_NAMES: &str = "dns-names";
const BEARER_SHA256: &str = "bearer-sha256";

/// The keys of a caller's table that say what it is known by.
pub(super) const KEYS: [&str; 4] = [SPIFFE_IDS, URIS, DNS_NAMES, BEARER_SHA256];

/// Returns the key under which a credential stands.
pub(super) fn key_of(credential: &Credential) -> &'static str {
    match credential {
        Credential::Spiffe(_) => SPIFFE_IDS,
        Credential::Uri(_) => URIS,
        Credential::Dns(_) => DNS_NAMES,
        Credential::Bearer(_) => BEARER_SHA256,
    }
}

/// The longest URI, in bytes, and the longest DNS name.
const LONGEST_URI: usize = 2048;
const LONGEST_DNS_NAME: usize = 253;

/// Where a credential is written.
pub(super) struct FoundAt {
    /// Where in the file.
    pub at: usize,
    pub key: &'static str,
}

/// Reads what a caller is known by. Adds to the table what is wrong.
pub(super) fn read(table: &mut Table<'_, '_, '_>) -> Vec<(FoundAt, Credential)> {
    let mut found = Vec::new();
    for (key, parse) in [
        (SPIFFE_IDS, spiffe_id as fn(&str) -> Result<_, String>),
        (URIS, uri),
        (DNS_NAMES, dns_name),
        (BEARER_SHA256, bearer),
    ] {
        for Item { text, at, which } in table.list(key) {
            match parse(text) {
                Ok(credential) => found.push((FoundAt { at, key }, credential)),
                Err(message) => table.wrong(at, Some(key), format!("{which}{message}")),
            }
        }
    }
    found
}

fn spiffe_id(text: &str) -> Result<Credential, String> {
    let id = text
        .parse::<SpiffeId>()
        .map_err(|error| error.to_string())?;
    Ok(Credential::Spiffe(id))
}

fn uri(text: &str) -> Result<Credential, String> {
    if text.to_ascii_lowercase().starts_with(SpiffeId::SCHEME) {
        return Err(format!("is a SPIFFE id: write it into {SPIFFE_IDS}"));
    }
    let is_printable = |byte: u8| byte.is_ascii_graphic();
    let has_scheme = text.split_once(':').is_some_and(|(scheme, rest)| {
        let is_allowed =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        let begins = |byte: &u8| byte.is_ascii_alphabetic();
        scheme.as_bytes().first().is_some_and(begins)
            && scheme.bytes().all(is_allowed)
            && !rest.is_empty()
    });
    if !has_scheme || text.len() > LONGEST_URI || !text.bytes().all(is_printable) {
        return Err(
            "must be a URI with its scheme, as it is written in the certificate".to_owned(),
        );
    }
    Ok(Credential::Uri(text.to_owned()))
}

fn dns_name(text: &str) -> Result<Credential, String> {
    if text.contains('*') {
        return Err(
            "must be a whole name: a name matches itself alone, and no wildcard".to_owned(),
        );
    }
    if text.parse::<IpAddr>().is_ok() {
        return Err("is an IP address, and those of certificates don't count".to_owned());
    }
    let is_label = |label: &str| {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len())
            && label.bytes().all(is_allowed)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() > LONGEST_DNS_NAME || !text.split('.').all(is_label) {
        return Err("must be a DNS name, without a dot at its end".to_owned());
    }
    Ok(Credential::Dns(text.to_ascii_lowercase()))
}

fn bearer(text: &str) -> Result<Credential, String> {
    let hash = TokenSha256::from_hex(text).ok_or(
        "must be the SHA-256 of a token, in 64 hexadecimal digits, and never the token itself",
    )?;
    if hash.is_of_nothing() {
        return Err("is the SHA-256 of no token, but of nothing or of a line break".to_owned());
    }
    Ok(Credential::Bearer(hash))
}
