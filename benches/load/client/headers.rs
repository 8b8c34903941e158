//! The headers of a call, compressed as most clients do it (RFC 7541): the first call of a connection spells them, and
//! the server keeps them in its table; further calls only name their places there.

/// `:method: POST` and `:scheme: http` are in the table that each server has.
const METHOD_AND_SCHEME: [u8; 2] = [0x83, 0x86];

/// Returns the headers of a connection's first call.
pub(super) fn first(path: &str, authority: &str) -> Vec<u8> {
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
    block
}

/// The headers of all further calls with the same path: what [`first`] had kept, the newest of it at place 62.
pub(super) const FURTHER: [u8; 6] = [0x83, 0x86, 0xc1, 0xc0, 0xbf, 0xbe];

fn push(block: &mut Vec<u8>, text: &str) {
    let length = u8::try_from(text.len()).unwrap();
    assert!(length < 127, "{text} is too long");
    block.push(length);
    block.extend(text.as_bytes());
}
