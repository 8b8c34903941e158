//! Whatever becomes of the bytes of a sealed row: it opens as the row that was sealed, or not at all. A row that isn't sealed
//! is sealed and comes back.

use std::sync::LazyLock;

use token_broker::{
    seal::Keys,
    store::{Decoded, Sealing, redis::row},
    types::{ProviderName, RowKey, SessionId, StoredRow},
};

use crate::input::{planted, prints_nothing, provider, ring, tenant};

/// A row that `fuzz/sealed_seeds.py` has sealed with the key `a`, and the same one as it was before.
const SEALED: &[u8] = include_bytes!("../../seeds/sealed_row/sealed.json");
const PLAIN: &[u8] = include_bytes!("../../seeds/sealed_row/plain.json");

struct World {
    provider: ProviderName,
    key: RowKey,
    sealing: Sealing,
    original: StoredRow,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let session = SessionId::new("s").expect("an id");
    let sealing = Sealing {
        keys: Keys::fixed(ring()),
        ..Sealing::off(tenant())
    };
    let world = World {
        provider: provider(),
        key: RowKey {
            session,
            provider: provider(),
        },
        sealing,
        original: decoded(PLAIN).expect("a row"),
    };
    let sealed = decoded(SEALED).expect("a row");
    let opened = world.sealing.open(&world.key, sealed).expect("it opens");
    assert!(opened == world.original, "the seeds don't belong together");
    world
});

fn decoded(bytes: &[u8]) -> Option<StoredRow> {
    row::decode(bytes, &provider())?.ok()
}

pub fn run(bytes: &[u8]) -> Option<()> {
    let World {
        provider,
        key,
        sealing,
        original,
    } = &*WORLD;
    let stored = row::decode(bytes, provider)?.ok()?;
    if stored.row.sealed.is_some() {
        let opened = open(sealing, key, stored);
        match opened {
            Ok(row) => assert!(row == *original, "it opens as another row"),
            Err(why) => prints_nothing("an unreadable row", &why),
        }
        return Some(());
    }
    let sealed = sealing.seal(key, &stored.row, stored.version);
    let sealed = sealed.expect("it is sealed").expect("there is a key");
    let json = row::encode(&sealed, provider, stored.version).expect("JSON");
    let back = row::decode(&json, provider)
        .expect("a row")
        .expect("it is read");
    let opened = sealing.open(key, back).expect("it opens");
    assert!(opened == stored, "it comes back changed");
    Some(())
}

fn open(sealing: &Sealing, key: &RowKey, mut stored: StoredRow) -> Decoded {
    // A row whose texts aren't bound to the envelope.
    if planted() {
        let was = stored.row.clone();
        let original = &WORLD.original.row;
        stored.row.token_type.clone_from(&original.token_type);
        stored.row.scopes.clone_from(&original.scopes);
        stored.row.client_id.clone_from(&original.client_id);
        stored.row.origin.clone_from(&original.origin);
        let mut opened = sealing.open(key, stored)?;
        opened.row.token_type = was.token_type;
        opened.row.scopes = was.scopes;
        opened.row.client_id = was.client_id;
        opened.row.origin = was.origin;
        return Ok(opened);
    }
    sealing.open(key, stored)
}
