//! The search for planted secrets finds each spelling, and nothing else.

use testkit::canary::{Canary, Search, Sink, WINDOW};

/// With characters that JSON, URLs and regular expressions take for their own.
const SECRET: &str = r#"c4n4ry/"q\uote"+and=more%of~it"#;

fn search() -> Search {
    Search::new(&[Canary::new("token", SECRET)])
}

/// Returns how the secret is said to be spelled in a text.
fn spellings(text: impl Into<Vec<u8>>) -> Vec<String> {
    let leaks = search().leaks(&[Sink::new("log", text)]);
    leaks.into_iter().map(|leak| leak.spelling).collect()
}

fn assert_found(text: impl Into<Vec<u8>>, as_what: &str) {
    let text = text.into();
    let shown = String::from_utf8_lossy(&text).into_owned();
    let found = spellings(text);
    assert!(found.iter().any(|one| one == as_what), "{shown}: {found:?}");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn base64(bytes: &[u8], alphabet: &[u8; 64]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut word = [0; 3];
        word[..chunk.len()].copy_from_slice(chunk);
        let word = u32::from_be_bytes([0, word[0], word[1], word[2]]);
        for at in 0..=chunk.len() {
            text.push(char::from(alphabet[(word >> (18 - 6 * at) & 63) as usize]));
        }
    }
    text
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const FOR_URLS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

#[test]
fn each_spelling_is_found() {
    assert_found(format!("the token is {SECRET}."), "plain");
    assert_found(format!("{:?}", format!("a {SECRET}")), "escaped");
    assert_found(format!("0x{}!", hex(SECRET.as_bytes())), "hex");
    assert_found(hex(SECRET.as_bytes()).to_uppercase(), "hex");
    // A digit before it shifts the pairs.
    assert_found(format!("f{}", hex(SECRET.as_bytes())), "hex");
    for alphabet in [STANDARD, FOR_URLS] {
        for before in ["", "a", "ab", "abc"] {
            let text = base64(format!("{before}{SECRET}").as_bytes(), alphabet);
            assert_found(format!("\"{text}=\""), "base64");
            for letters in ["x", "xy", "xyz"] {
                assert_found(format!(" {letters}{text}"), "base64");
            }
        }
    }
    let all: String = SECRET.bytes().map(|byte| format!("%{byte:02X}")).collect();
    assert_found(all.clone(), "percent");
    assert_found(all.to_lowercase(), "percent");
    let some = SECRET
        .replace('%', "%25")
        .replace('/', "%2F")
        .replace('"', "%22");
    assert_found(some, "percent");
    assert_found(format!("{:?}", SECRET.as_bytes()), "numbers");
}

#[test]
fn a_secret_that_escapes_split_is_found() {
    let escaped: String = SECRET
        .bytes()
        .map(|byte| format!("\\u{byte:04X}"))
        .collect();
    assert_found(escaped, "escaped");
    let every_third = SECRET.bytes().enumerate().map(|(at, byte)| match at % 3 {
        0 => format!("\\u{byte:04x}"),
        _ => char::from(byte)
            .to_string()
            .replace('\\', "\\\\")
            .replace('"', "\\\""),
    });
    assert_found(every_third.collect::<String>(), "escaped");
    let of_redis: String = SECRET
        .bytes()
        .map(|byte| format!("\\x{byte:02x}"))
        .collect();
    assert_found(of_redis, "escaped");
    let of_rust: String = SECRET
        .bytes()
        .map(|byte| format!("\\u{{{byte:x}}}"))
        .collect();
    assert_found(of_rust, "escaped");
    assert_found(
        SECRET.replace('/', "\\/").replace("\\u", "\\\\u"),
        "escaped",
    );
}

#[test]
fn one_encoding_inside_another_is_found() {
    let inner = base64(SECRET.as_bytes(), STANDARD);
    let in_json = inner.bytes().enumerate().map(|(at, byte)| match at % 8 {
        0 => format!("\\u{byte:04x}"),
        _ => char::from(byte).to_string(),
    });
    let in_json: String = in_json.collect();
    assert_found(format!("{{\"a\":\"{in_json}\"}}"), "base64 in escaped");
    let in_url: String = inner.bytes().map(|byte| format!("%{byte:02x}")).collect();
    assert_found(in_url, "base64 in percent");
    let twice = format!("{:?}", format!("{:?}", format!("a {SECRET}")));
    assert_found(twice, "escaped in escaped");
    assert_found(base64(inner.as_bytes(), STANDARD), "base64 in base64");
    let lines: Vec<_> = inner
        .as_bytes()
        .chunks(8)
        .map(String::from_utf8_lossy)
        .collect();
    assert_found(lines.join("\n"), "base64");
    assert_found(lines.join("\\n"), "base64 in escaped");
}

#[test]
fn a_part_is_found_and_what_is_shorter_is_not() {
    for at in 0..=SECRET.len() - WINDOW {
        assert_found(format!("x{}x", &SECRET[at..at + WINDOW]), "plain");
        assert_eq!(
            spellings(format!("x{}x", &SECRET[at..at + WINDOW - 1])),
            [""; 0]
        );
    }
}

#[test]
fn what_is_allowed_is_found_and_is_no_leak() {
    let search = search();
    let sink = || Sink::new("keys", SECRET);
    assert!(!search.leaks(&[sink()]).is_empty());
    assert_eq!(search.leaks(&[sink().allowing(&["token"])]), []);
    assert!(!search.leaks(&[sink().allowing(&["session"])]).is_empty());
    assert_eq!(search.kinds_in(&sink().bytes), ["token"].into());
    assert!(search.kinds_in(b"nothing of it").is_empty());
}

/// The secret itself is nothing that random bytes have, however they are read.
#[test]
fn nothing_is_found_in_other_bytes() {
    let bytes: Vec<u8> = (0..100_000).map(|_| rand::random()).collect();
    assert_eq!(spellings(bytes.clone()), [""; 0]);
    assert_eq!(spellings(hex(&bytes)), [""; 0]);
}
