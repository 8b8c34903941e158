//! The figures as JSON, for programs. `docs/performance.md` describes the form.

use std::thread;

use serde_json::{Map, Value, json};

use crate::{
    figures::{Series, Spread, Table},
    options::Options,
    rows::PROVIDERS,
};

/// The name of the form. It changes when the form does, unless something is only added.
pub(crate) const SCHEMA: &str = "token-broker-load/1";

/// Returns everything that was measured.
pub(crate) fn report(options: &Options, tables: &[Table]) -> Value {
    let series = tables.iter().flat_map(|table| &table.series).map(series);
    json!({
        "schema": SCHEMA,
        "conditions": {
            "cores": thread::available_parallelism().map_or(0, usize::from),
            "optimised": !cfg!(debug_assertions),
            "rounds": options.rounds,
            "seconds": options.span.as_secs_f64(),
            "rows": options.sizes.sessions * PROVIDERS,
            "broker_args": options.broker_args,
        },
        "series": series.collect::<Vec<_>>(),
    })
}

fn series(series: &Series) -> Value {
    let mut object: Map<_, _> = series
        .labels
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect();
    let figures: Map<_, _> = series
        .figures
        .iter()
        .map(|figure| {
            let mut value = spread(&figure.rounds);
            if let Some(ratios) = &figure.ratio {
                value["ratio"] = spread(ratios);
            }
            (figure.name.to_owned(), value)
        })
        .collect();
    object.insert("figures".to_owned(), figures.into());
    object.into()
}

fn spread(rounds: &[f64]) -> Value {
    let Spread {
        median,
        lowest,
        highest,
    } = Spread::of(rounds);
    json!({ "median": median, "lowest": lowest, "highest": highest, "rounds": rounds })
}
