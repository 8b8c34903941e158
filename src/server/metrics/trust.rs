//! What the broker's trust rests on: what is read again while it runs, sealing keys, audit, handshakes.

use std::{fmt, sync::Arc};

use super::{Collector, Families};
use crate::meter::{Reload, Trust};

/// What those who guard the broker have counted.
#[derive(Debug)]
pub struct Guards(pub Arc<Trust>);

impl Collector for Guards {
    fn collect(&self, families: &mut Families<'_>) -> fmt::Result {
        let Self(trust) = self;
        let reloads = Reload::ALL.into_iter().flat_map(|of| {
            let reloads = trust.reloads(of);
            [("done", &reloads.done), ("failed", &reloads.failed)].map(|(outcome, count)| {
                let labels = [
                    ("what", of.name().to_owned()),
                    ("outcome", outcome.to_owned()),
                ];
                (labels, count.get())
            })
        });
        families.counters(
            "reloads",
            "Times that something was read again, by whether it is in force now",
            reloads,
        )?;
        for (name, help, count) in [
            (
                "audit_events",
                "Events that were written to the audit log",
                &trust.audit_events,
            ),
            (
                "audit_failures",
                "Events that couldn't be written to the audit log",
                &trust.audit_failures,
            ),
            (
                "handshakes_failed",
                "TLS handshakes that failed, also because of the caller's certificate",
                &trust.handshakes_failed,
            ),
        ] {
            families.counters(name, help, [([], count.get())])?;
        }
        let keys = [([], trust.sealing_keys.get())];
        families.gauges(
            "sealing_keys",
            "Sealing keys that are in use, to seal or to open",
            keys,
        )
    }
}
