//! Quotation marks around a value. A shell takes them away; what reads variables from a file, such as Docker's
//! `--env-file`, may keep them.

use super::{problem::Problem, settings::all, written::Settings};

/// What to tell about such a value.
const QUOTED: &str = "is in quotation marks, which count as part of it, so leave them out";

/// Returns a warning for each setting whose only text is in quotation marks.
pub(super) fn warnings(written: &Settings) -> Vec<Problem> {
    let quoted = all()
        .iter()
        .filter(|setting| hint(written.get(setting.name)).is_some());
    quoted
        .map(|setting| written.named(Problem::new(setting.name, QUOTED)))
        .collect()
}

/// Returns what may be wrong with the texts of a setting.
pub(super) fn hint(texts: &[String]) -> Option<&'static str> {
    let [text] = texts else {
        return None;
    };
    let text = text.trim();
    let is_in = |mark| text.len() > 1 && text.starts_with(mark) && text.ends_with(mark);
    (is_in('"') || is_in('\'')).then_some(QUOTED)
}
