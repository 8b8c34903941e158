//! Calls: how they ended, how long they took, and which wait.

use std::{fmt, sync::Arc};

use super::{Collector, Families, number};
use crate::{
    rpc::{Admission, CallFigures},
    types::Tenant,
};

/// The calls of one tenant.
#[derive(Debug)]
pub struct Calls {
    /// The tenant.
    pub tenant: Tenant,
    /// Its figures.
    pub figures: Arc<CallFigures>,
}

/// The calls of the process that are under way.
#[derive(Debug)]
pub struct Waits(pub Admission);

impl Collector for Calls {
    fn collect(&self, families: &mut Families<'_>) -> fmt::Result {
        let tenant = || ("tenant", self.tenant.to_string());
        let ended = self.figures.ended().map(|ended| {
            let labels = [
                tenant(),
                ("service", ended.service.to_owned()),
                ("rpc", ended.rpc.to_owned()),
                ("code", ended.code.to_owned()),
                ("reason", ended.reason.to_owned()),
                ("caller", ended.class.name().to_owned()),
            ];
            (labels, ended.calls)
        });
        let help = "Calls that ended, by what the caller was told";
        families.counters("calls", help, ended)?;
        let took = self.figures.took().map(|(rpc, took)| {
            let (service, name) = (rpc.service().to_owned(), rpc.name().to_owned());
            ([tenant(), ("service", service), ("rpc", name)], took)
        });
        families.times(
            "call_seconds",
            "How long calls took that were admitted, until their answer was made",
            took,
        )
    }
}

impl Collector for Waits {
    fn collect(&self, families: &mut Families<'_>) -> fmt::Result {
        let Self(admission) = self;
        let limits = admission.limits();
        for (name, help, value) in [
            (
                "calls_in_flight",
                "Calls that are under way, also those whose answer hasn't left",
                admission.in_flight(),
            ),
            (
                "calls_in_flight_limit",
                "How many calls may be under way: max-calls",
                limits.calls,
            ),
            (
                "calls_waiting_for_providers",
                "Calls that wait for a refresh",
                admission.waiting(),
            ),
            (
                "bytes_in_flight",
                "Bytes of messages and answers that are held",
                admission.bytes(),
            ),
            (
                "bytes_in_flight_limit",
                "How many bytes may be held: max-bytes-in-flight",
                limits.bytes,
            ),
            (
                "admitting",
                "1 if calls are admitted, 0 while they are refused as MIGRATING",
                usize::from(admission.is_open()),
            ),
        ] {
            families.gauges(name, help, [([], number(value))])?;
        }
        Ok(())
    }
}
