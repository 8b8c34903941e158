//! Refreshes, by provider.

use std::fmt;

use super::{Collector, Families, number};
use crate::{
    meter::Count,
    refresh::{Configured, Counts, Providers},
    types::Tenant,
};

/// The name of all providers that aren't configured.
const OTHER: &str = "other";

/// The refreshes of the tenants' tokens: each tenant and its providers.
#[derive(Debug)]
pub struct Refreshes(Vec<(String, Providers)>);

/// Finds one of the numbers.
type Which = fn(&Counts) -> &Count;
/// Reads one of a provider's numbers that fall as well.
type Now = fn(&Configured) -> u64;

/// What a provider answered, and how metrics call it.
const OUTCOMES: [(&str, Which); 5] = [
    ("tokens", |counts| &counts.tokens),
    ("refused", |counts| &counts.refused),
    ("misconfigured", |counts| &counts.misconfigured),
    ("passing", |counts| &counts.passing),
    ("unknown", |counts| &counts.unknown),
];

impl Refreshes {
    /// Returns the refreshes at these tenants' providers.
    pub fn of<'a>(tenants: impl Iterator<Item = (&'a Tenant, &'a Providers)>) -> Self {
        let tenants = tenants.map(|(tenant, providers)| (tenant.to_string(), providers.clone()));
        Self(tenants.collect())
    }

    /// Returns what `value` reads of each provider of each tenant, and its labels.
    fn each<V>(
        &self,
        value: impl Fn(&Configured) -> V,
    ) -> impl Iterator<Item = ([(&'static str, String); 2], V)> {
        let all = self
            .0
            .iter()
            .flat_map(|(tenant, providers)| providers.iter().map(move |of| (tenant, of)));
        all.map(move |(tenant, of)| {
            let provider = of.provider.options().name.to_string();
            (
                [("tenant", tenant.clone()), ("provider", provider)],
                value(of),
            )
        })
    }
}

impl Collector for Refreshes {
    fn collect(&self, families: &mut Families<'_>) -> fmt::Result {
        let outcomes =
            self.each(|of| OUTCOMES.map(|(outcome, count)| (outcome, count(&of.counts).get())));
        let outcomes = outcomes.flat_map(|([tenant, provider], outcomes)| {
            outcomes.map(|(outcome, tokens)| {
                let outcome = ("outcome", outcome.to_owned());
                ([tenant.clone(), provider.clone(), outcome], tokens)
            })
        });
        families.counters(
            "refreshes",
            "Refresh tokens that were sent, by what the provider's answer means",
            outcomes,
        )?;
        let counts: [(&str, &str, Which); 4] = [
            (
                "refreshes_sent",
                "Refresh tokens that were sent to the provider",
                |c| &c.sent,
            ),
            (
                "refreshes_in_doubt",
                "Rows of which it isn't known whether their token was redeemed, so that the user has to log in again",
                |c| &c.in_doubt,
            ),
            (
                "refreshes_waited_for",
                "Callers that waited for a refresh",
                |c| &c.waited,
            ),
            (
                "refreshes_turned_away",
                "Callers that were refused because too many waited",
                |c| &c.turned_away,
            ),
        ];
        for (name, help, count) in counts {
            families.counters(name, help, self.each(|of| count(&of.counts).get()))?;
        }
        let others = self.0.iter().map(|(tenant, providers)| {
            let labels = [("tenant", tenant.clone()), ("provider", OTHER.to_owned())];
            (labels, providers.times_not_configured())
        });
        families.counters(
            "refreshes_not_configured",
            "Refreshes that couldn't be, because the row's provider isn't configured",
            others,
        )?;
        let gauges: [(&str, &str, Now); 3] = [
            (
                "provider_breaker_open",
                "1 while calls to the provider are stopped, because it fails",
                |of| u64::from(of.is_stopped()),
            ),
            (
                "provider_calls_running",
                "Calls to the provider that are under way",
                |of| number(of.gate.calls()),
            ),
            (
                "provider_callers_waiting",
                "Callers that wait for a refresh at the provider",
                |of| number(of.gate.waiting()),
            ),
        ];
        for (name, help, value) in gauges {
            families.gauges(name, help, self.each(value))?;
        }
        let outcomes = self.0.iter().flat_map(|(tenant, providers)| {
            let revoked = providers.revocations().figures();
            let outcomes = [
                ("revoked", revoked.revoked),
                ("failed", revoked.failed),
                ("dropped", revoked.dropped),
            ];
            outcomes.map(|(outcome, tokens)| {
                let labels = [("tenant", tenant.clone()), ("outcome", outcome.to_owned())];
                (labels, tokens)
            })
        });
        families.counters(
            "revocations",
            "Tokens of deleted rows that were to be revoked, by what became of it",
            outcomes,
        )
    }
}
