//! An envelope opens as what was sealed, for what it was sealed for, or not at all. The first line is the envelope, and each
//! further line a part of what it is bound to. Whatever bytes are sealed come back.

use std::sync::LazyLock;

use token_broker::{
    seal::{AssociatedData, KeyRing, NotOpened, Opened},
    types::Envelope,
};

use crate::input::{first_line, planted, ring};

/// An envelope of [`PAYLOAD`], and what it is bound to. `fuzz/sealed_seeds.py` made it with the key `a`.
const SEED: &[u8] = include_bytes!("../../seeds/envelope/sealed");
const PAYLOAD: &[u8] = b"payload";

static RING: LazyLock<KeyRing> = LazyLock::new(|| {
    let (ring, (text, bound)) = (ring(), first_line(SEED));
    let text = str::from_utf8(text).expect("a text").to_owned();
    let opened = ring.open(&Envelope::from_stored(text), &associated(bound));
    assert!(
        opened.is_ok_and(|payload| payload[..] == *PAYLOAD),
        "the seed doesn't open"
    );
    ring
});

pub fn run(bytes: &[u8]) -> Option<()> {
    let (text, bound) = first_line(bytes);
    let envelope = Envelope::from_stored(str::from_utf8(text).ok()?.to_owned());
    match open(&envelope, bound) {
        Ok(payload) => {
            assert!(payload[..] == *PAYLOAD, "it opens as something else");
            assert_eq!(bytes, SEED, "it was changed or moved, and opens");
        }
        Err(NotOpened::KeyMissing(key)) => {
            assert!(
                RING.ids().all(|id| !id.is_same_key(&key)),
                "the key is there"
            );
            assert_eq!(RING.key_of(&envelope), Some(key));
        }
        Err(NotOpened::Damaged(_)) => {}
    }
    let again = RING.seal(bound, &associated(text)).expect("a key");
    let opened = RING.open(&again, &associated(text)).expect("it opens");
    assert!(opened[..] == *bound, "it comes back changed");
    assert!(RING.open(&again, &associated(bound)).is_err() || text == bound);
    Some(())
}

fn associated(parts: &[u8]) -> AssociatedData {
    let mut lines = parts.split(|byte| *byte == b'\n');
    let kind = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    // The kind is a text, so that its bytes are a part as well where they are none.
    let begun = AssociatedData::of(&kind).bytes(parts);
    lines.fold(begun, AssociatedData::bytes)
}

fn open(envelope: &Envelope, bound: &[u8]) -> Result<Opened, NotOpened> {
    // A reader that looks at the first two parts alone.
    if planted() && bound.starts_with(b"row\nsession\n") {
        return RING.open(envelope, &associated(first_line(SEED).1));
    }
    RING.open(envelope, &associated(bound))
}
