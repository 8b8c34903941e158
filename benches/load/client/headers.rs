//! The headers of a call, compressed as most clients do it (RFC 7541): the first call of a connection spells them, and
//! the server keeps them in its table; further calls only name their places there.

/// `:method: POST` and `:scheme: http` are in the table that each server has.
const METHOD_AND_SCHEME: [u8; 2] = [0x83, 0x86];

/// Returns the headers of a connection's first call. With a bearer token, `authorization` is the last of them.
pub(super) fn first(path: &str, authority: &str, bearer: Option<&str>) -> Vec<u8> {
    let mut block = METHOD_AND_SCHEME.to_vec();
    // "Keep this in the table", and the name's place in it: `:path`, `:authority`, `content-type`, and a new name.
    for (name, text) in [
        (0x44, path),
        (0x41, authority),
        (0x5f, "application/grpc"),
        (0x40, "te"),
    ] {
        block.push(name);
        push(&mut block, text);
    }
    push(&mut block, "trailers");
    if let Some(bearer) = bearer {
        // `authorization` is at place 23.
        block.push(0x57);
        push(&mut block, &format!("Bearer {bearer}"));
    }
    block
}

/// Returns the headers of all further calls with the same path: what [`first`] had kept, the newest of it at place 62.
pub(super) fn further(with_bearer: bool) -> Vec<u8> {
    let oldest = 0xc1 + u8::from(with_bearer);
    let kept = (0xbe..=oldest).rev();
    METHOD_AND_SCHEME.into_iter().chain(kept).collect()
}

fn push(block: &mut Vec<u8>, text: &str) {
    let length = u8::try_from(text.len()).unwrap();
    assert!(length < 127, "{text} is too long");
    block.push(length);
    block.extend(text.as_bytes());
}
