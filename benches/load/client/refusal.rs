//! What a server says when it refuses a call.
//!
//! An answer that is refused ends the run, so that this is read at most once. It reads the strings that the last
//! headers of the answer spell (RFC 7541), and not what they name by its place in a table: the code and the message of a
//! connection's first refusal are spelled.

/// Returns the strings in a block of headers, with spaces between them.
pub(super) fn words(block: &[u8]) -> String {
    let (mut rest, mut words) = (block, Vec::new());
    while take_field(&mut rest, &mut words).is_some() {}
    words.join(" ")
}

/// Takes the first field off `rest`, and adds its strings. Returns `None` at the end, and at what can't be read.
fn take_field(rest: &mut &[u8], words: &mut Vec<String>) -> Option<()> {
    let kind = *rest.first()?;
    // In this order: a field of the table, one to be kept in the table, the size of the table, one that isn't kept.
    let (prefix, is_spelled) = match kind {
        0x80.. => (7, false),
        0x40.. => (6, true),
        0x20.. => (5, false),
        _ => (4, true),
    };
    let name = take_number(rest, prefix)?;
    if is_spelled {
        if name == 0 {
            words.push(take_string(rest)?);
        }
        words.push(take_string(rest)?);
    }
    Some(())
}

/// Takes a number off whose first byte has so many bits for it.
fn take_number(rest: &mut &[u8], prefix: u32) -> Option<usize> {
    let most = (1 << prefix) - 1;
    let mut number = usize::from(take(rest)?) & most;
    if number == most {
        for shift in (0..28).step_by(7) {
            let byte = usize::from(take(rest)?);
            number += (byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
    }
    Some(number)
}

fn take_string(rest: &mut &[u8]) -> Option<String> {
    let is_compressed = *rest.first()? >= 0x80;
    let length = take_number(rest, 7)?;
    let (string, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(if is_compressed {
        unpacked(string)
    } else {
        String::from_utf8_lossy(string).into_owned()
    })
}

fn take(rest: &mut &[u8]) -> Option<u8> {
    let (first, after) = rest.split_first()?;
    *rest = after;
    Some(*first)
}

/// The printable characters of each length of code, in bits. A code is the one before it plus one, and the first of a
/// length is the last of the length before, plus one, with zeros appended.
const CODES: [(u32, &str); 10] = [
    (5, "012aceiost"),
    (6, " %-./3456789=A_bdfghlmnpru"),
    (7, ":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, "&*,;XZ"),
    (10, "!\"()?"),
    (11, "'+|"),
    (12, "#>"),
    (13, "\0$@[]~"),
    (14, "^}"),
    (15, "<`{"),
];

/// Returns what Huffman's code says, up to the first character that isn't printable.
fn unpacked(string: &[u8]) -> String {
    let bits = string
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| u32::from(byte >> bit & 1)));
    let (mut unpacked, mut code, mut length) = (String::new(), 0, 0);
    for bit in bits {
        code = code << 1 | bit;
        length += 1;
        if let Some(character) = character(code, length) {
            unpacked.push(character);
            (code, length) = (0, 0);
        }
    }
    unpacked
}

fn character(code: u32, length: u32) -> Option<char> {
    let (mut first, mut before) = (0, 0);
    for (bits, characters) in CODES {
        first <<= bits - before;
        before = bits;
        if bits == length {
            let nth = code.checked_sub(first)?;
            return characters.chars().nth(nth as usize);
        }
        first += characters.len() as u32;
    }
    None
}
