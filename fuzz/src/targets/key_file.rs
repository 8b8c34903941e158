//! A key file is refused without a quote of it, or its keys have names of their own, and each comes back as its line.

use std::collections::HashSet;

use token_broker::seal::{AssociatedData, KeyRing};

use crate::input::{planted, prints_nothing, quotes_nothing};

pub fn run(bytes: &[u8]) -> Option<()> {
    let ring = match KeyRing::parse(bytes) {
        Ok(ring) => ring,
        Err(problem) => {
            prints_nothing("a problem", &problem);
            quotes_nothing("a problem", &problem.to_string());
            return Some(());
        }
    };
    let names: HashSet<_> = ring.ids().collect();
    let known = ring.ids().count();
    assert!(known > 0);
    assert_eq!(names.len(), known, "two keys have one name");
    assert_eq!(ring.sealing(), ring.ids().next());
    let associated = AssociatedData::of("fuzz");
    let envelope = ring.seal(b"payload", &associated).expect("a key");
    // Of two keys a flawed reader takes the second one for the first.
    if planted() && known > 1 {
        let rest = bytes
            .iter()
            .position(|byte| *byte == b'\n')
            .unwrap_or_default();
        let second = KeyRing::parse(&bytes[rest..]).expect("a key");
        assert!(second.open(&envelope, &associated).is_ok());
    }
    assert!(ring.open(&envelope, &associated).is_ok());
    Some(())
}
