//! Calls: how they ended, how long they took, and which wait.

use std::{fmt, sync::Arc};

use super::{Collector, Families, number};
use crate::rpc::{Admission, CallFigures, TenantDoor};

/// The calls of all tenants.
#[derive(Debug)]
pub struct Calls {
    /// The tenants, by name.
    pub tenants: Vec<(String, TenantDoor)>,
    /// The figures of calls without a caller. They are about no tenant.
    pub of_nobody: Arc<CallFigures>,
}

/// The calls of the process that are under way.
#[derive(Debug)]
pub struct Waits(pub Admission);

impl Collector for Calls {
    fn collect(&self, families: &mut Families<'_>) -> fmt::Result {
        let tenants = self.tenants.iter();
        let tenants = || tenants.clone().map(|(name, door)| (&**name, &door.figures));
        let all = tenants().chain([("", &self.of_nobody)]);
        let ended = all.flat_map(|(tenant, figures)| {
            figures.ended().map(move |ended| {
                let labels = [
                    ("tenant", tenant.to_owned()),
                    ("service", ended.service.to_owned()),
                    ("rpc", ended.rpc.to_owned()),
                    ("code", ended.code.to_owned()),
                    ("reason", ended.reason.to_owned()),
                    ("caller", ended.class.name().to_owned()),
                ];
                (labels, ended.calls)
            })
        });
        let help = "Calls that ended, by what the caller was told";
        families.counters("calls", help, ended)?;
        let took = tenants().flat_map(|(tenant, figures)| {
            figures.took().map(move |(rpc, took)| {
                let tenant = ("tenant", tenant.to_owned());
                let (service, name) = (rpc.service().to_owned(), rpc.name().to_owned());
                ([tenant, ("service", service), ("rpc", name)], took)
            })
        });
        families.times(
            "call_seconds",
            "How long calls took that were admitted, until their answer was made",
            took,
        )?;
        let shares = self.tenants.iter();
        let shares = || {
            shares
                .clone()
                .map(|(name, door)| ([("tenant", name.clone())], &door.share))
        };
        families.gauges(
            "admitting",
            "1 if the tenant's calls are admitted, 0 while they are refused as MIGRATING",
            shares().map(|(labels, share)| (labels, u64::from(share.is_open()))),
        )?;
        families.gauges(
            "tenant_calls_in_flight",
            "Calls of the tenant that are under way, also those whose answer hasn't left",
            shares().map(|(labels, share)| (labels, number(share.in_flight()))),
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
        ] {
            families.gauges(name, help, [([], number(value))])?;
        }
        Ok(())
    }
}
