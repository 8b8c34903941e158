//! What an agent's update offers, part by part.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use tokio_rustls::rustls::{
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
};
use x509_parser::parse_x509_certificate;

use super::{
    identity,
    options::{TlsPart, TlsProblem},
    own::Own,
    parts::{self, Parts},
};
use crate::{
    spiffe::{Svid, Update},
    types::SpiffeId,
};

/// Stands for the name of something in an update that has none.
const NAMELESS: &str = "a trust domain without a name";

/// Returns what an update offers. The broker's certificate is that of `wanted`, or else the first.
///
/// # Errors
/// Returns a [`TlsProblem`] if the update has no certificate for the broker: then it can't be told whose it is, and no part of it
/// counts.
pub(super) fn parts(
    update: Update,
    wanted: Option<&SpiffeId>,
    provider: &CryptoProvider,
) -> Result<Parts, TlsProblem> {
    let unfit = |what: &str| TlsProblem::new(&TlsPart::Svid, what);
    let mut bundles = BTreeMap::new();
    let (mut chosen, mut is_odd) = (None, false);
    for svid in update.svids {
        let Ok(id) = svid.id.parse::<SpiffeId>() else {
            is_odd = true;
            continue;
        };
        add(&mut bundles, id.trust_domain(), &svid.bundle);
        if chosen.is_none() && wanted.is_none_or(|wanted| *wanted == id) {
            chosen = Some((id, svid));
        }
    }
    if bundles.is_empty() {
        return Err(unfit(match is_odd {
            true => "the agent gives none whose id is a workload's",
            false => "the agent gives none",
        }));
    }
    if is_odd {
        let what = "the agent gives another one whose id is no workload's".to_owned();
        bundles.insert(TlsPart::Bundle(NAMELESS.to_owned()), Err(what));
    }
    for (domain, bundle) in &update.federated {
        let name = domain.strip_prefix(SpiffeId::SCHEME).unwrap_or(domain);
        if SpiffeId::is_trust_domain(name) {
            add(&mut bundles, name, bundle);
        } else {
            let what = "its name is no trust domain's".to_owned();
            bundles.insert(TlsPart::Bundle(NAMELESS.to_owned()), Err(what));
        }
    }
    let own = match chosen {
        Some((id, svid)) => own(&id, svid, provider),
        None => Err("the agent gives none with the id that spiffe-id names".to_owned()),
    };
    Ok(Parts {
        own: own.map(Arc::new).map_err(|what| vec![unfit(&what)]),
        authorities: bundles
            .into_iter()
            .map(|(part, found)| {
                let found = found.map_err(|what| TlsProblem::new(&part, what));
                (part, found)
            })
            .collect(),
    })
}

type Bundles = BTreeMap<TlsPart, Result<Vec<CertificateDer<'static>>, String>>;

/// Adds the bundle of a trust domain. All SVIDs of one domain come with the same.
fn add(bundles: &mut Bundles, domain: &str, bundle: &[u8]) {
    let found = certificates(bundle).and_then(|found| parts::authorities(found, "it"));
    match bundles.entry(TlsPart::Bundle(domain.to_owned())) {
        Entry::Vacant(place) => {
            place.insert(found);
        }
        Entry::Occupied(mut place) if *place.get() != found => {
            *place.get_mut() = Err("it comes twice, and differs".to_owned());
        }
        Entry::Occupied(_) => {}
    }
}

fn own(id: &SpiffeId, svid: Svid, provider: &CryptoProvider) -> Result<Own, String> {
    let chain = certificates(&svid.certificates)?;
    let said = chain.first().map(identity::read);
    let said = said
        .transpose()?
        .and_then(|certificate| certificate.spiffe_id);
    if said.as_ref() != Some(id) {
        return Err("its certificate isn't for its id".to_owned());
    }
    // rustls takes a key by value, and has it in memory as long as it is in use.
    let key = PrivatePkcs8KeyDer::from(svid.key.to_vec()).into();
    let part = TlsPart::Svid;
    Own::new(chain, key, provider, [&part, &part]).map_err(|problem| problem.what)
}

/// Returns the certificates that stand one behind the other.
fn certificates(mut der: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut found = Vec::new();
    while !der.is_empty() {
        let (rest, _) =
            parse_x509_certificate(der).map_err(|_| "it holds a damaged certificate")?;
        let (one, _) = der.split_at(der.len() - rest.len());
        found.push(CertificateDer::from(one.to_vec()));
        der = rest;
    }
    match found.is_empty() {
        true => Err("it holds no certificate".to_owned()),
        false => Ok(found),
    }
}
