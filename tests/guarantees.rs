//! Tests the citations of `docs/guarantees.md`. Each citation in the repository must name a section or a rule that
//! exists, and a test must cite each rule that holds today.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The files and folders in which citations are looked for. Files that don't exist have no citations.
const PLACES: &[&str] = &[
    "README.md",
    "benches",
    "deploy",
    "docs",
    "proto",
    "scripts",
    "src",
    "testkit",
    "tests",
];

/// This file. It has wrong citations on purpose.
const SELF: &str = "tests/guarantees.rs";

/// The text that begins a citation of a section.
const SECTION: &str = "guarantees, section";

/// The marks that begin a line of a comment. A citation may span two lines.
const COMMENTS: &[&str] = &["//!", "///", "//", "--", "#", "*", ">"];

/// Lower limits for the numbers of citations, so that the test notices if it finds too few.
const FEWEST: (usize, usize) = (40, 250);

/// A section, such as `2.1`, or a rule, such as `I1`.
type Number = String;

/// A citation: the file, the line, and the section or rule that it names.
type Citation = (String, usize, Number);

/// How many rules of each kind the page defines: I1 and so on, M1 and so on, R1 and so on.
const INVARIANTS: usize = 10;
const MIGRATION: usize = 8;
const REFRESH: usize = 15;

#[test]
fn each_citation_is_of_something_that_is_there() {
    let (defined, citations) = (defined(&page()), citations());
    let wrong = undefined(&citations, &defined);
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));

    let (sections, rules): (Vec<_>, Vec<_>) = citations
        .iter()
        .partition(|(_, _, number)| number.starts_with(|c: char| c.is_ascii_digit()));
    assert!(
        sections.len() >= FEWEST.0,
        "only {} of sections",
        sections.len()
    );
    assert!(rules.len() >= FEWEST.1, "only {} of rules", rules.len());
}

#[test]
fn each_rule_that_holds_is_cited_by_a_test() {
    let of_tests = citations()
        .into_iter()
        .filter(|(file, ..)| file.starts_with("tests/"));
    let cited: BTreeSet<_> = of_tests.map(|(.., number)| number).collect();
    for rule in numbers("I", INVARIANTS).chain(numbers("M", MIGRATION)) {
        assert!(cited.contains(&rule), "no test cites {rule}");
    }
}

#[test]
fn the_page_defines_each_number_once() {
    let defined = defined(&page());
    let sections = [
        "1", "2", "2.1", "2.2", "2.3", "2.4", "2.5", "3", "3.1", "3.2", "4", "4.1", "4.2", "5",
        "6", "7", "8", "9",
    ];
    let expected: BTreeMap<_, _> = sections
        .into_iter()
        .map(str::to_owned)
        .chain(numbers("I", INVARIANTS))
        .chain(numbers("M", MIGRATION))
        .chain(numbers("R", REFRESH))
        .map(|number| (number, 1))
        .collect();
    assert_eq!(defined, expected);
}

#[test]
fn planted_citations_are_found() {
    let defined = defined(&page());
    for (text, expected) in [
        ("// (guarantees, section 2.9).", "2.9"),
        (
            "//! what is promised (guarantees,\n//! section 10, and more)",
            "10",
        ),
        ("    /// Kept (guarantees, section\n    /// 3.3).", "3.3"),
        ("-- guarantees, sections 2.1 and 4.3", "4.3"),
        ("[it](guarantees.md): guarantees, section 5.1", "5.1"),
        ("whoever races (I1, I99)", "I99"),
        ("M1 to M99", "M99"),
        ("# as in R99", "R99"),
        ("async fn i99_nothing_is_lost() {", "I99"),
        ("def test_m99_is_kept(self):", "M99"),
        ("`tests/conformance` `i1_*`, `i98_*`", "I98"),
        ("concat!(\"I0\")", "I0"),
    ] {
        let found = undefined(&citations_in("planted", text), &defined);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(
            found[0].ends_with(&format!(" {expected}")),
            "{text}: {found:?}"
        );
    }
    for harmless in [
        "RFC 6749, section 9.9",
        "guarantees, section 5, M6",
        "SHA1 HMAC256 M I AI99 I99a i99",
        "as i64_from, i128_max; r#\"raw\"#",
        "guarantees, section 3.1, by Redis' own account. 77",
    ] {
        let found = undefined(&citations_in("planted", harmless), &defined);
        assert!(found.is_empty(), "{harmless}: {found:?}");
    }
    let two = citations_in("planted", "a\n// (guarantees,\n// section 2.1)\nb (I1)");
    let expected = [("planted", 2, "2.1"), ("planted", 4, "I1")];
    assert_eq!(
        two,
        expected.map(|(f, l, n)| (f.to_owned(), l, n.to_owned()))
    );
}

#[test]
fn links_of_the_documentation_lead_somewhere() {
    let mut links = 0;
    for file in files() {
        let path = root().join(&file);
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        for link in links_in(&fs::read_to_string(&path).unwrap()) {
            let (target, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match target {
                "" => path.clone(),
                relative => path.parent().unwrap().join(relative),
            };
            assert!(target.exists(), "{file}: {link}");
            if !anchor.is_empty() {
                let text = fs::read_to_string(&target).unwrap();
                let mut headings = headings(&text).map(slug);
                assert!(headings.any(|slug| slug == anchor), "{file}: {link}");
            }
            links += 1;
        }
    }
    assert!(links > 50, "only {links} links");
}

fn numbers(letter: &'static str, last: usize) -> impl Iterator<Item = Number> {
    (1..=last).map(move |number| format!("{letter}{number}"))
}

/// Returns what the page defines, and how often: sections by their headings, and rules in bold.
fn defined(page: &str) -> BTreeMap<Number, usize> {
    let mut defined = BTreeMap::new();
    let sections = headings(page).filter_map(|heading| {
        let number = heading.split(' ').next()?.trim_end_matches('.');
        number
            .starts_with(|c: char| c.is_ascii_digit())
            .then(|| number.to_owned())
    });
    let rules = page.lines().filter_map(|line| {
        let (rule, _) = line.strip_prefix("- **")?.split_once("**")?;
        (rules_in(rule) == [rule]).then(|| rule.to_owned())
    });
    for number in sections.chain(rules) {
        *defined.entry(number).or_default() += 1;
    }
    defined
}

fn undefined(citations: &[Citation], defined: &BTreeMap<Number, usize>) -> Vec<String> {
    let wrong = citations
        .iter()
        .filter(|(.., number)| !defined.contains_key(number));
    wrong
        .map(|(file, line, number)| format!("{file}:{line} cites {number}"))
        .collect()
}

fn citations() -> Vec<Citation> {
    let files = files().into_iter().filter(|file| file != SELF);
    files
        .filter_map(|file| {
            let text = fs::read_to_string(root().join(&file)).ok()?;
            Some(citations_in(&file, &text))
        })
        .flatten()
        .collect()
}

fn citations_in(file: &str, text: &str) -> Vec<Citation> {
    let mut found = Vec::new();
    let mut cite =
        |line: usize, number: &str| found.push((file.to_owned(), line, number.to_owned()));
    let lines: Vec<_> = text.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        for rule in rules_in(line) {
            cite(at + 1, &rule);
        }
        // The text includes the beginning of the next line, in case the citation spans two lines.
        let next = lines.get(at + 1).map_or("", |next| uncommented(next));
        let both = format!("{} {next}", line.trim_end());
        for (start, _) in both
            .match_indices(SECTION)
            .filter(|(start, _)| *start < line.len())
        {
            for section in sections_in(&both[start + SECTION.len()..]) {
                cite(at + 1, &section);
            }
        }
    }
    found
}

fn uncommented(line: &str) -> &str {
    let line = line.trim_start();
    let mark = COMMENTS.iter().find_map(|mark| line.strip_prefix(mark));
    mark.unwrap_or(line).trim_start()
}

/// Returns the sections in a text: `" 2.1 and 3, M6"` gives 2.1 and 3.
fn sections_in(text: &str) -> Vec<Number> {
    let mut sections = Vec::new();
    let mut rest = text.strip_prefix('s').unwrap_or(text).trim_start();
    loop {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let number = rest[..end].trim_end_matches('.');
        if number.is_empty() {
            return sections;
        }
        sections.push(number.to_owned());
        let further = &rest[number.len()..];
        let joined = [", ", " and ", " to "]
            .iter()
            .find_map(|word| further.strip_prefix(word));
        match joined {
            Some(further) => rest = further,
            None => return sections,
        }
    }
}

/// Returns the rules in a line: `I1` as a word, and names that begin with `i1_`, as in the names of tests.
fn rules_in(line: &str) -> Vec<Number> {
    let mut rules = Vec::new();
    let mut before = ' ';
    for (at, letter) in line.char_indices() {
        let starts = !before.is_alphanumeric();
        let in_word = before == '_';
        before = letter;
        let rest = &line[at + letter.len_utf8()..];
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (digits, after) = (&rest[..end], rest[end..].chars().next().unwrap_or(' '));
        if !starts || digits.is_empty() || digits.len() > 3 {
            continue;
        }
        let is_word = !in_word && !after.is_alphanumeric() && after != '_';
        // Names such as `i64_` are integer types of Rust.
        let is_name = after == '_' && !["16", "32", "64", "128"].contains(&digits);
        if ("IMR".contains(letter) && is_word) || ("imr".contains(letter) && is_name) {
            rules.push(format!("{}{digits}", letter.to_ascii_uppercase()));
        }
    }
    rules
}

fn headings(page: &str) -> impl Iterator<Item = &str> {
    page.lines().filter_map(|line| {
        line.trim_start_matches('#')
            .strip_prefix(' ')
            .filter(|_| line.starts_with('#'))
    })
}

/// Returns the anchor that a heading has on the web.
fn slug(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| {
        if c == ' ' {
            '-'
        } else {
            c.to_ascii_lowercase()
        }
    })
    .collect()
}

/// Returns the links to other files and within the page.
fn links_in(page: &str) -> Vec<String> {
    let joined = page.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    // Text in backticks is never a link.
    let joined: String = joined.split('`').step_by(2).collect();
    let targets = joined
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    targets
        .filter(|link| !link.contains(':') && !link.contains(' '))
        .map(str::to_owned)
        .collect()
}

fn page() -> String {
    fs::read_to_string(root().join("docs/guarantees.md")).unwrap()
}

/// Returns all files of [`PLACES`], relative to the root of the repository, without files that tools leave behind.
fn files() -> Vec<String> {
    let mut files = Vec::new();
    let mut open: Vec<PathBuf> = PLACES.iter().map(|place| root().join(place)).collect();
    while let Some(path) = open.pop() {
        let name = path.file_name().unwrap().to_string_lossy();
        if path.is_file() {
            files.push(
                path.strip_prefix(root())
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned(),
            );
        } else if path.is_dir()
            && name != "target"
            && name != "__pycache__"
            && !name.starts_with('.')
        {
            open.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
    }
    files.sort_unstable();
    files
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
