//! A policy: who the callers are, and how they are known.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    hash::Hash,
    sync::Arc,
};

use super::{Caller, Credential, TokenSha256, credential::LONGEST_TOKEN};
use crate::{
    error::Error,
    types::{Peer, PeerCertificate, SpiffeId},
};

/// The callers of a broker, valid as a whole. Who isn't among them may do nothing.
#[derive(Debug, Default)]
pub struct Policy {
    callers: BTreeMap<String, (Arc<Caller>, Vec<Credential>)>,
    known: Known,
}

/// The callers by what they are known by.
#[derive(Debug, Default)]
struct Known {
    by_spiffe_id: HashMap<SpiffeId, Arc<Caller>>,
    by_uri: HashMap<String, Arc<Caller>>,
    by_dns_name: HashMap<String, Arc<Caller>>,
    by_token: HashMap<TokenSha256, Arc<Caller>>,
}

impl Known {
    /// Adds a credential. Returns the caller who has it already, if there is one.
    fn add(&mut self, credential: Credential, caller: &Arc<Caller>) -> Option<Arc<Caller>> {
        fn add<K: Eq + Hash>(
            map: &mut HashMap<K, Arc<Caller>>,
            key: K,
            caller: &Arc<Caller>,
        ) -> Option<Arc<Caller>> {
            match map.entry(key) {
                Entry::Occupied(known) => Some(Arc::clone(known.get())),
                Entry::Vacant(free) => {
                    free.insert(Arc::clone(caller));
                    None
                }
            }
        }
        match credential {
            Credential::Spiffe(id) => add(&mut self.by_spiffe_id, id, caller),
            Credential::Uri(uri) => add(&mut self.by_uri, uri, caller),
            Credential::Dns(name) => add(&mut self.by_dns_name, name, caller),
            Credential::Bearer(hash) => add(&mut self.by_token, hash, caller),
        }
    }
}

/// What a call shows of its caller.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// The other end of the connection.
    pub peer: Option<&'a Peer>,
    /// How many headers `authorization` there are.
    pub authorizations: usize,
    /// The first of them.
    pub authorization: Option<&'a [u8]>,
}

impl Policy {
    /// Adds a caller, and what it is known by. Its name must be new.
    ///
    /// # Errors
    /// Returns the credentials that are known already, each with the name of its caller, and by their places in the list.
    /// They stay with that caller.
    pub fn add(
        &mut self,
        caller: Caller,
        credentials: Vec<Credential>,
    ) -> Result<(), Vec<(usize, String)>> {
        let caller = Arc::new(caller);
        let mut taken = Vec::new();
        for (at, credential) in credentials.iter().enumerate() {
            if let Some(known) = self.known.add(credential.clone(), &caller) {
                taken.push((at, known.name.clone()));
            }
        }
        self.callers
            .insert(caller.name.clone(), (caller, credentials));
        if taken.is_empty() { Ok(()) } else { Err(taken) }
    }

    /// Returns the caller of this name, and what it is known by.
    #[must_use]
    pub fn caller(&self, name: &str) -> Option<(&Caller, &[Credential])> {
        let (caller, credentials) = self.callers.get(name)?;
        Some((caller, credentials))
    }

    /// Returns all callers, in the order of their names.
    pub fn callers(&self) -> impl ExactSizeIterator<Item = &Caller> {
        self.callers.values().map(|(caller, _)| &**caller)
    }

    /// Returns the caller whose credentials a call shows.
    ///
    /// # Errors
    /// Returns [`Error::NoCredentials`] if it shows none, and [`Error::UnknownCaller`] unless all of them are those of one
    /// caller.
    pub fn identify(&self, shown: Shown<'_>) -> Result<&Arc<Caller>, Error> {
        let certificate = shown.peer.and_then(|peer| peer.certificate.as_ref());
        let by_certificate = certificate
            .map(|certificate| self.of_certificate(certificate))
            .transpose()?;
        let by_bearer = (shown.authorizations > 0)
            .then(|| self.of_authorization(shown))
            .transpose()?;
        match (by_certificate, by_bearer) {
            (None, None) => Err(Error::NoCredentials),
            (Some(one), None) | (None, Some(one)) => Ok(one),
            (Some(one), Some(other)) if Arc::ptr_eq(one, other) => Ok(one),
            (Some(_), Some(_)) => Err(Error::UnknownCaller(
                "certificate and bearer token are those of two callers",
            )),
        }
    }

    /// Returns the caller of a certificate. A SPIFFE id counts alone: the authorities of a trust domain speak for its ids,
    /// and could put any DNS name beside one.
    fn of_certificate(&self, certificate: &PeerCertificate) -> Result<&Arc<Caller>, Error> {
        let unknown = Error::UnknownCaller("the certificate is that of no caller");
        if let Some(id) = &certificate.spiffe_id {
            return self.known.by_spiffe_id.get(id).ok_or(unknown);
        }
        let uris = certificate.uris.iter();
        let uris = uris.filter_map(|uri| self.known.by_uri.get(uri));
        let names = certificate.dns_names.iter();
        let names = names.filter_map(|name| self.known.by_dns_name.get(name));
        let mut found = uris.chain(names);
        let first = found.next().ok_or(unknown)?;
        match found.all(|other| Arc::ptr_eq(first, other)) {
            true => Ok(first),
            false => Err(Error::UnknownCaller(
                "the names of the certificate are those of two callers",
            )),
        }
    }

    fn of_authorization(&self, shown: Shown<'_>) -> Result<&Arc<Caller>, Error> {
        if shown.authorizations > 1 {
            return Err(Error::UnknownCaller("there are two bearer tokens"));
        }
        if !shown.peer.is_some_and(|peer| peer.channel.is_private()) {
            return Err(Error::UnknownCaller(
                "a bearer token came in plain text over a network",
            ));
        }
        let token = shown.authorization.and_then(bearer);
        let token = token.ok_or(Error::UnknownCaller(
            "the header authorization holds no bearer token",
        ))?;
        let known = self.known.by_token.get(&TokenSha256::of(token));
        known.ok_or(Error::UnknownCaller(
            "the bearer token is that of no caller",
        ))
    }
}

/// Returns the token of a header `authorization` (RFC 6750, section 2.1; the scheme in any case).
fn bearer(header: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer ";
    let (scheme, token) = header.split_at_checked(SCHEME.len())?;
    let is_bearer = scheme.eq_ignore_ascii_case(SCHEME);
    let fits = (1..=LONGEST_TOKEN).contains(&token.len());
    (is_bearer && fits).then_some(token)
}
