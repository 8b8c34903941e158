//! Tests that each test that `docs/threat-model.md` names is there.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path};

/// So many tests the page names at least. If fewer are found, this test reads it wrongly.
const FEWEST: usize = 25;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the pieces of a line that stand between backquotes.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Returns the pairs of a file and a test in it that the page names. A file that is named without a test is a pair with an
/// empty name.
fn named(page: &str) -> Vec<(&str, &str)> {
    let mut all = Vec::new();
    for line in page.lines() {
        let mut file = "";
        for piece in quoted(line) {
            if piece.starts_with("tests/") || piece.starts_with("src/") {
                file = piece;
                all.push((file, ""));
            } else if !file.is_empty() && piece.contains('_') && !piece.contains(['-', '/', '.']) {
                all.push((file, piece));
            }
        }
    }
    all
}

/// Returns those that aren't there.
fn missing<'a>(named: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let is_missing = |(file, test): &(&str, &str)| {
        let path = root().join(file);
        match test.is_empty() {
            true => !path.exists(),
            false => {
                let text = fs::read_to_string(path).unwrap_or_default();
                !text.contains(&format!("fn {test}("))
            }
        }
    };
    named.iter().copied().filter(is_missing).collect()
}

#[test]
fn each_test_of_the_threat_model_is_there() {
    let page = fs::read_to_string(root().join("docs/threat-model.md")).unwrap();
    let named = named(&page);
    assert_eq!(missing(&named), []);
    let tests = named.iter().filter(|(_, test)| !test.is_empty());
    assert!(tests.count() >= FEWEST);
}

#[test]
fn a_test_that_is_not_there_is_found() {
    let page = "| a | b | `tests/threat_model.rs`: `named_nowhere`, `each_test_of_the_threat_model_is_there`; `tests/nowhere.rs` |";
    assert_eq!(
        missing(&named(page)),
        [
            ("tests/threat_model.rs", "named_nowhere"),
            ("tests/nowhere.rs", "")
        ]
    );
}
