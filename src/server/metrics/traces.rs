//! What becomes of the spans of traced calls.

use std::fmt;

use super::{Collector, Families};
use crate::traces::Traces;

/// The traces. Where there are none, all is 0.
#[derive(Debug)]
pub struct Spans(pub Traces);

impl Collector for Spans {
    fn collect(&self, families: &mut Families<'_>) -> fmt::Result {
        let (exported, dropped, failed, waiting) =
            self.0.figures().map_or((0, 0, 0, 0), |figures| {
                (
                    figures.exported.get(),
                    figures.dropped.get(),
                    figures.failed.get(),
                    figures.waiting(),
                )
            });
        for (name, help, count) in [
            (
                "trace_spans_exported",
                "Spans that the collector took",
                exported,
            ),
            (
                "trace_spans_dropped",
                "Spans that there was no room for",
                dropped,
            ),
            (
                "trace_spans_failed",
                "Spans that couldn't be sent, or that the collector refused",
                failed,
            ),
        ] {
            families.counters(name, help, [([], count)])?;
        }
        let help = "Spans that wait to be sent";
        families.gauges("trace_spans_waiting", help, [([], waiting)])
    }
}
