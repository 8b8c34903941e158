//! Prints figures as tables in Markdown.

use std::thread;

use serde_json::Value;

use crate::{
    figures::{Figure, Spread, Table},
    options::Options,
};

/// Prints how the figures come about.
pub(crate) fn print_conditions(options: &Options) {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let Options {
        rounds,
        span,
        broker_args,
        ..
    } = options;
    println!(
        "{cores} cores, shared by client, server and Redis. Rows of 2 KiB. The median of {rounds} rounds of {span:?}; ×: \
         as a ratio to the echo in the same round; in brackets the lowest and the highest round. CPU is per call."
    );
    if !broker_args.is_empty() {
        println!("\nThe broker was started with `{}`.", broker_args.join(" "));
    }
}

/// Prints a table: a row a subject, a column a figure. A cell has the median and its ratio to the floor, and in brackets
/// the lowest and the highest round: of the ratio, or of the figure itself if there is none.
pub(crate) fn print(table: &Table) {
    println!("\n| {} | {} |", table.title, headings(table).join(" | "));
    println!("|---{}|", "|---".repeat(headings(table).len()));
    for series in &table.series {
        let cells = headings(table).into_iter().map(|heading| {
            let figure = series.figures.iter().find(|f| f.heading == heading);
            figure.map(cell).unwrap_or_default()
        });
        // What differs between the rows of a table.
        let label = match series.label("measure") {
            measure if measure == "growth" => "rows",
            _ => "subject",
        };
        let name = match series.label(label) {
            Value::Number(rows) => format!("{rows} rows"),
            name => name.as_str().unwrap_or_default().to_owned(),
        };
        println!("| {name} | {} |", cells.collect::<Vec<_>>().join(" | "));
    }
}

/// Returns all headings of a table, each once.
fn headings(table: &Table) -> Vec<&'static str> {
    let mut headings = Vec::new();
    for figure in table.series.iter().flat_map(|series| &series.figures) {
        if !headings.contains(&figure.heading) {
            headings.push(figure.heading);
        }
    }
    headings
}

fn cell(figure: &Figure) -> String {
    match &figure.ratio {
        Some(ratios) => {
            let median = number(Spread::of(&figure.rounds).median);
            format!("{median}, ×{}", spread(ratios))
        }
        None => spread(&figure.rounds),
    }
}

fn spread(values: &[f64]) -> String {
    let Spread {
        median,
        lowest,
        highest,
    } = Spread::of(values);
    if values.len() == 1 {
        return number(median);
    }
    format!(
        "{} ({}-{})",
        number(median),
        number(lowest),
        number(highest)
    )
}

/// Returns a number with three digits or more, and a comma after each thousand.
fn number(number: f64) -> String {
    if number.abs() < 9.995 {
        return format!("{number:.2}");
    }
    if number.abs() < 99.95 {
        return format!("{number:.1}");
    }
    let digits = format!("{number:.0}");
    let head = digits.len() % 3;
    let mut groups = vec![&digits[..head]];
    groups.extend(
        (head..digits.len())
            .step_by(3)
            .map(|at| &digits[at..at + 3]),
    );
    groups.retain(|group| !group.is_empty());
    groups.join(",")
}
