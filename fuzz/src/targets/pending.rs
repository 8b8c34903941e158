//! Whatever becomes of the bytes of a sealed pending authorization: it opens as the one that was sealed, or not at all. One that
//! can be read comes back when it is written.

use std::sync::LazyLock;

use token_broker::{
    error::Unopened,
    seal::Keys,
    store::{
        Sealing,
        redis::pending::{decode, encode},
    },
    types::{Payload, PendingAuthorization, SecretBytes, State},
};

use crate::input::{planted, prints_nothing, ring, tenant};

/// An authorization that `fuzz/sealed_seeds.py` has sealed with the key `a`, and the same one as it was before.
const SEALED: &[u8] = include_bytes!("../../seeds/pending/sealed.json");
const PLAIN: &[u8] = include_bytes!("../../seeds/pending/plain.json");

struct World {
    state: State,
    sealing: Sealing,
    original: PendingAuthorization,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let read = |bytes| decode(bytes).expect("a broker's").expect("it is read");
    let world = World {
        state: State::new("x").expect("a state"),
        sealing: Sealing {
            keys: Keys::fixed(ring()),
            ..Sealing::off(tenant())
        },
        original: read(PLAIN),
    };
    let opened = world.sealing.open_pending(&world.state, read(SEALED));
    let opened = opened.expect("it opens");
    assert!(
        json(&opened) == json(&world.original),
        "the seeds don't belong together"
    );
    world
});

fn json(pending: &PendingAuthorization) -> SecretBytes {
    encode(pending).expect("JSON")
}

pub fn run(bytes: &[u8]) -> Option<()> {
    let world = &*WORLD;
    let pending = match decode(bytes)? {
        Ok(pending) => pending,
        Err(why) => {
            prints_nothing("a damaged authorization", &why);
            return None;
        }
    };
    let written = json(&pending);
    let back = decode(&written).expect("a broker's").expect("it is read");
    assert!(json(&back) == written, "it comes back changed");
    if matches!(pending.payload, Payload::Plain(_)) {
        return Some(());
    }
    match open(world, pending) {
        Ok(opened) => assert!(
            json(&opened) == json(&world.original),
            "it opens as another one"
        ),
        Err(why) => prints_nothing("an unreadable authorization", &why),
    }
    Some(())
}

fn open(world: &World, pending: PendingAuthorization) -> Result<PendingAuthorization, Unopened> {
    // An authorization that isn't bound to its session and its client.
    if planted() {
        let original = world.original.clone();
        let (session, client) = (pending.session.clone(), pending.client.clone());
        let pending = PendingAuthorization {
            session: original.session,
            client: original.client,
            ..pending
        };
        let opened = world.sealing.open_pending(&world.state, pending)?;
        return Ok(PendingAuthorization {
            session,
            client,
            ..opened
        });
    }
    world.sealing.open_pending(&world.state, pending)
}
