//! The ways to read what may be an encoding of something.

/// How many encodings of texts may be one inside the other, and then of bytes.
const DEEPEST: usize = 2;
/// What is shorter than this in an encoding isn't looked at.
const SHORTEST: usize = super::WINDOW;

/// Calls `with` with the bytes themselves, and with each way to read them, and its name.
pub fn each_reading(bytes: &[u8], with: &mut dyn FnMut(&str, &[u8])) {
    read("plain", bytes, (DEEPEST, DEEPEST), with);
}

fn read(
    name: &str,
    bytes: &[u8],
    (texts, encodings): (usize, usize),
    with: &mut dyn FnMut(&str, &[u8]),
) {
    with(name, bytes);
    if let Some(texts) = texts.checked_sub(1) {
        for (how, decoded) in [("escaped", unescaped(bytes)), ("percent", percent(bytes))] {
            if let Some(decoded) = decoded {
                read(&named(name, how), &decoded, (texts, encodings), with);
            }
        }
    }
    let Some(encodings) = encodings.checked_sub(1) else {
        return;
    };
    for run in runs(bytes, |byte| byte.is_ascii_hexdigit(), 2 * SHORTEST) {
        for shift in 0..2 {
            let decoded = hex(&run[shift..]);
            read(&named(name, "hex"), &decoded, (0, encodings), with);
        }
    }
    for run in runs(bytes, |byte| sextet(byte).is_some(), SHORTEST * 4 / 3) {
        for shift in 0..4 {
            let decoded = base64(&run[shift..]);
            read(&named(name, "base64"), &decoded, (0, encodings), with);
        }
    }
    for list in lists(bytes) {
        with(&named(name, "numbers"), &list);
    }
}

fn named(outer: &str, inner: &str) -> String {
    match outer {
        "plain" => inner.to_owned(),
        _ => format!("{inner} in {outer}"),
    }
}

/// Returns the text without the escapes of JSON, Rust, C and Redis' `MONITOR`, if it has any.
fn unescaped(bytes: &[u8]) -> Option<Vec<u8>> {
    if !bytes.contains(&b'\\') {
        return None;
    }
    let (mut plain, mut rest) = (Vec::with_capacity(bytes.len()), bytes);
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'\\' {
            plain.push(*first);
            continue;
        }
        let Some((escape, after)) = rest.split_first() else {
            break;
        };
        rest = after;
        match escape {
            b'n' => plain.push(b'\n'),
            b'r' => plain.push(b'\r'),
            b't' => plain.push(b'\t'),
            b'x' if let Some((code, after)) = code(rest, 2) => {
                plain.push(u8::try_from(code).unwrap_or_default());
                rest = after;
            }
            b'u' => {
                let braced = rest.strip_prefix(b"{").and_then(|inner| {
                    let end = inner.iter().position(|byte| *byte == b'}')?;
                    let (code, _) = code(inner, end)?;
                    Some((code, &inner[end + 1..]))
                });
                if let Some((code, after)) = braced.or_else(|| code(rest, 4)) {
                    let letter = char::from_u32(code).unwrap_or('\u{fffd}');
                    plain.extend(letter.encode_utf8(&mut [0; 4]).bytes());
                    rest = after;
                }
            }
            other => plain.push(*other),
        }
    }
    (plain.len() < bytes.len()).then_some(plain)
}

/// Reads so many hexadecimal digits.
fn code(bytes: &[u8], digits: usize) -> Option<(u32, &[u8])> {
    let (code, rest) = bytes.split_at_checked(digits)?;
    let code = u32::from_str_radix(str::from_utf8(code).ok()?, 16).ok()?;
    Some((code, rest))
}

/// Returns the text without percent-encoding, if it has any.
fn percent(bytes: &[u8]) -> Option<Vec<u8>> {
    if !bytes.contains(&b'%') {
        return None;
    }
    let (mut plain, mut rest) = (Vec::with_capacity(bytes.len()), bytes);
    while let [first, after @ ..] = rest {
        rest = after;
        if *first == b'%'
            && let Some((code, after)) = code(rest, 2)
        {
            plain.push(u8::try_from(code).unwrap_or_default());
            rest = after;
        } else {
            plain.push(*first);
        }
    }
    (plain.len() < bytes.len()).then_some(plain)
}

/// Returns the longest runs of bytes that an encoding may be made of. Line breaks don't end one.
fn runs(bytes: &[u8], is_part: fn(u8) -> bool, shortest: usize) -> Vec<Vec<u8>> {
    let (mut all, mut run) = (Vec::new(), Vec::new());
    for &byte in bytes.iter().chain(b"\0") {
        if is_part(byte) {
            run.push(byte);
        } else if !matches!(byte, b'\n' | b'\r') {
            if run.len() >= shortest + 3 {
                all.push(std::mem::take(&mut run));
            }
            run.clear();
        }
    }
    all
}

fn hex(run: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default();
    let pairs = run.chunks_exact(2);
    pairs
        .map(|pair| u8::try_from(digit(pair[0]) * 16 + digit(pair[1])).unwrap_or_default())
        .collect()
}

/// The six bits of a letter, in the usual alphabet and that for URLs.
fn sextet(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    })
}

/// What is left over at the end has a byte or two.
fn base64(run: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(run.len() * 3 / 4);
    let (mut bits, mut word) = (0, 0_u32);
    for six in run.iter().filter_map(|byte| sextet(*byte)) {
        word = word << 6 | u32::from(six);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            plain.push(u8::try_from(word >> bits & 0xff).unwrap_or_default());
        }
    }
    plain
}

/// Returns the lists of numbers, as Rust and JSON print bytes.
fn lists(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for inner in bytes.split(|byte| *byte == b'[').skip(1) {
        let inner = inner.split(|byte| *byte == b']').next().unwrap_or_default();
        let numbers = inner.split(|byte| *byte == b',');
        let numbers: Option<Vec<u8>> = numbers
            .map(|number| str::from_utf8(number.trim_ascii()).ok()?.parse().ok())
            .collect();
        all.extend(numbers.filter(|numbers| numbers.len() >= SHORTEST));
    }
    all
}
