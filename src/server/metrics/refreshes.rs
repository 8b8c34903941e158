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

/// The refreshes of one tenant's tokens.
#[derive(Debug)]
pub struct Refreshes {
    /// The tenant.
    pub tenant: Tenant,
    /// Its providers.
    pub providers: Providers,
}

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
    fn labels(&self, of: &Configured) -> [(&'static str, String); 2] {
        let provider = of.provider.options().name.to_string();
        [("tenant", self.tenant.to_string()), ("provider", provider)]
    }

    fn each<V>(
        &self,
        value: impl Fn(&Configured) -> V,
    ) -> impl Iterator<Item = ([(&'static str, String); 2], V)> {
        let all = self.providers.iter();
        all.map(move |of| (self.labels(of), value(of)))
    }
}

impl Collector for Refreshes {
    fn collect(&self, families: &mut Families<'_>) -> fmt::Result {
        let outcomes = self.providers.iter().flat_map(|of| {
            OUTCOMES.map(|(outcome, count)| {
                let [tenant, provider] = self.labels(of);
                let labels = [tenant, provider, ("outcome", outcome.to_owned())];
                (labels, count(&of.counts).get())
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
        let others = [
            ("tenant", self.tenant.to_string()),
            ("provider", OTHER.to_owned()),
        ];
        let others = [(others, self.providers.times_not_configured())];
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
        let revoked = self.providers.revocations().figures();
        let outcomes = [
            ("revoked", revoked.revoked),
            ("failed", revoked.failed),
            ("dropped", revoked.dropped),
        ];
        let outcomes = outcomes.map(|(outcome, tokens)| {
            (
                [
                    ("tenant", self.tenant.to_string()),
                    ("outcome", outcome.to_owned()),
                ],
                tokens,
            )
        });
        families.counters(
            "revocations",
            "Tokens of deleted rows that were to be revoked, by what became of it",
            outcomes,
        )
    }
}
