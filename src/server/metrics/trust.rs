//! What the broker's trust rests on: what is read again while it runs, sealing keys, handshakes.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
};

use super::{Collector, Families};
use crate::{
    access::Guard,
    meter::{HandshakeFailure, KeyChange, Reload, Trust},
};

/// What those who guard the broker have counted.
#[derive(Debug)]
pub struct Guards {
    /// Who judges calls.
    pub guard: Guard,
    /// All others.
    pub trust: Arc<Trust>,
}

impl Collector for Guards {
    fn collect(&self, families: &mut Families<'_>) -> fmt::Result {
        let (counts, trust) = (self.guard.counts(), &self.trust);
        let policy = [&counts.reloads, &counts.failed_reloads];
        let policy = ("policy", policy.map(|count| count.load(Ordering::Relaxed)));
        let others = Reload::ALL.map(|of| {
            let reloads = trust.reloads(of);
            (of.name(), [reloads.done.get(), reloads.failed.get()])
        });
        let reloads = others.into_iter().chain([policy]);
        let reloads = reloads.flat_map(|(what, counts)| {
            let outcomes = ["done", "failed"].into_iter().zip(counts);
            outcomes.map(move |(outcome, count)| {
                let labels = [("what", what.to_owned()), ("outcome", outcome.to_owned())];
                (labels, count)
            })
        });
        let help = "Times that something was read again, by whether it is in force now";
        families.counters("reloads", help, reloads)?;
        let stale = [([], counts.is_stale.load(Ordering::Relaxed))];
        let help = "1 while an older policy is in force, because the file is wrong";
        families.gauges("policy_stale", help, stale)?;
        let failed = HandshakeFailure::ALL.map(|why| {
            let count = trust.handshakes_failed(why).get();
            ([("reason", why.name().to_owned())], count)
        });
        let help = "TLS handshakes that failed, by the reason";
        families.counters("handshakes_failed", help, failed)?;
        let ended = [
            ("expired", &trust.clients_expired),
            ("unverified", &trust.clients_unverified),
        ];
        let ended = ended.map(|(why, count)| ([("why", why.to_owned())], count.get()));
        let help = "Connections that ended because their client's certificate was good no longer";
        families.counters("client_certificates_ended", help, ended)?;
        let expires = [([], trust.certificate_expires.get())];
        let help = "When the broker's own certificate expires, or one that it needs, in seconds since 1970; 0 without TLS";
        families.gauges("certificate_expires_seconds", help, expires)?;
        let keys = [([], trust.sealing_keys.get())];
        let help = "Sealing keys that are in use, to seal or to open";
        families.gauges("sealing_keys", help, keys)?;
        let changes = KeyChange::ALL.map(|to| {
            let count = trust.sealing_key_changes(to).get();
            ([("to", to.name().to_owned())], count)
        });
        let help = "Times that another sealing key began to seal, by whether it was in the key file before";
        families.counters("sealing_key_changes", help, changes)
    }
}
