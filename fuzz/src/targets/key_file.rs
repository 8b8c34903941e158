//! A key file is refused without a quote of it, or its keys have names of their own, and each comes back as its line.

use std::collections::HashSet;

use token_broker::{
    seal::{AssociatedData, KeyRing},
    types::KeyId,
};

use crate::input::{planted, prints_nothing, quotes_nothing};

pub fn run(bytes: &[u8]) -> Option<()> {
    let ring = match KeyRing::parse(&flawed(bytes)) {
        Ok(ring) => ring,
        Err(problem) => {
            prints_nothing("a problem", &problem);
            quotes_nothing("a problem", &problem.to_string());
            return Some(());
        }
    };
    let names: HashSet<_> = ring.ids().map(KeyId::name).collect();
    let known = ring.ids().count();
    let text = str::from_utf8(bytes).expect("it was read");
    let is_key = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with('#');
    assert_eq!(known, text.lines().filter(is_key).count(), "a key is lost");
    assert_eq!(names.len(), known, "two keys have one name");
    assert_eq!(ring.sealing(), ring.ids().next());
    let associated = AssociatedData::of("fuzz");
    let envelope = ring.seal(b"payload", &associated).expect("a key");
    assert!(ring.open(&envelope, &associated).is_ok());
    Some(())
}

fn flawed(bytes: &[u8]) -> Vec<u8> {
    let mut lines: Vec<_> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    // A reader that skips a line with a tab.
    if planted() {
        lines.retain(|line| !line.contains(&b'\t'));
    }
    lines.concat()
}
