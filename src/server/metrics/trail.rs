//! What becomes of events on their way to the audit trail.

use std::fmt;

use super::{Collector, Families};
use crate::audit::Audit;

/// The audit trail. Where there is none, all is 0.
#[derive(Debug)]
pub struct Trail(pub Audit);

impl Collector for Trail {
    fn collect(&self, families: &mut Families<'_>) -> fmt::Result {
        let totals = self.0.figures().map(|figures| figures.totals());
        let totals = totals.unwrap_or_default();
        for (name, help, count) in [
            (
                "audit_events",
                "Events that were written to the audit trail",
                totals.written,
            ),
            (
                "audit_failures",
                "Attempts to write to the audit trail that failed",
                totals.failures,
            ),
            (
                "audit_lost",
                "Events that were never written to the audit trail",
                totals.lost,
            ),
            (
                "audit_refused",
                "Calls that were refused because their events couldn't be written",
                totals.refused,
            ),
            (
                "audit_withheld",
                "Answers that were withheld because their events couldn't be written",
                totals.withheld,
            ),
            (
                "audit_counted",
                "Denials that have no events of their own, and are counted in one for each caller, and for all that aren't known",
                totals.counted,
            ),
            (
                "audit_files",
                "Audit files that were begun because another one was full or had been moved",
                totals.rotations,
            ),
        ] {
            families.counters(name, help, [([], count)])?;
        }
        for (name, help, number) in [
            (
                "audit_waiting",
                "Events of calls in flight, and those that wait to be written",
                totals.waiting,
            ),
            (
                "audit_failing",
                "Destinations of the audit trail that can't be written",
                totals.failing,
            ),
        ] {
            families.gauges(name, help, [([], number)])?;
        }
        Ok(())
    }
}
