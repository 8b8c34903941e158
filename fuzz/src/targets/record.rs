//! A record that can be read comes back when it is written. Each two lines are a field of the hash, its name and its value.

use token_broker::{
    store::redis::record::{decode, encode},
    types::Record,
};

use crate::input::planted;

pub fn run(bytes: &[u8]) -> Option<()> {
    let lines: Vec<_> = bytes.split(|byte| *byte == b'\n').collect();
    let (pairs, _) = lines.as_chunks::<2>();
    // A hash has each of its fields once.
    let mut fields: Vec<_> = pairs.iter().map(|[name, value]| (*name, *value)).collect();
    fields.sort_unstable();
    fields.dedup_by_key(|(name, _)| *name);
    let (record, change) = decode(&fields).ok()?;
    let mut written = encode(&record).expect("JSON");
    if change > 0 {
        written.push(("change".to_owned(), change.to_string().into_bytes()));
    }
    let mut fields: Vec<_> = written
        .iter()
        .map(|(name, value)| (name.as_bytes(), &**value))
        .collect();
    fields.sort_unstable();
    let (back, changed) = decode(&fields).expect("it was written");
    assert_eq!(back, flawed(record));
    assert_eq!(changed, change);
    for entry in back.entries() {
        assert_eq!(back.is_redeemed(entry.token), entry.state.is_redeemed());
    }
    Some(())
}

fn flawed(record: Record) -> Record {
    let mut entries = record.entries().to_vec();
    // A reader that loses the time of a refusal beside a lease that ends at an odd millisecond.
    if planted() {
        let hit = entries
            .iter_mut()
            .filter(|entry| entry.lease_ends.millis() % 2 == 1);
        hit.for_each(|entry| entry.refused_at = None);
    }
    Record::new(entries)
}
