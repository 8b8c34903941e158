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
                !["fn", "def"]
                    .iter()
                    .any(|word| text.contains(&format!("{word} {test}(")))
            }
        }
    };
    named.iter().copied().filter(is_missing).collect()
}

/// Returns the rows of tables of attacks that name no test.
fn unshown(page: &str) -> Vec<&str> {
    let mut is_of_attacks = false;
    let mut all = Vec::new();
    for line in page.lines() {
        if !line.starts_with('|') {
            is_of_attacks = false;
        } else if line.ends_with("| shown by |") {
            is_of_attacks = true;
        } else if is_of_attacks && !line.starts_with("|---") {
            let has_test = named(line).iter().any(|(_, test)| !test.is_empty());
            all.extend((!has_test).then_some(line));
        }
    }
    all
}

#[test]
fn each_attack_names_a_test() {
    let page = fs::read_to_string(root().join("docs/threat-model.md")).unwrap();
    assert_eq!(unshown(&page), [""; 0]);
}

#[test]
fn an_attack_without_a_test_is_found() {
    let page = "\
        | attack | what stops it | shown by |\n\
        |---|---|---|\n\
        | a | b | `tests/c.rs`: `a_test` |\n\
        | d | e | `tests/f.rs` |\n\
        \n\
        | no | attack |\n";
    assert_eq!(unshown(page), ["| d | e | `tests/f.rs` |"]);
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
