//! A caller's span is what the header `traceparent` says by W3C Trace Context, section 2.2. There is none if the header isn't as it
//! has to be, or if there are several. Each line is a header.

use http::{HeaderMap, HeaderValue};
use token_broker::traces::Parent;

use crate::input::planted;

pub fn run(bytes: &[u8]) -> Option<()> {
    let mut headers = HeaderMap::new();
    let lines: Vec<_> = bytes.split(|byte| *byte == b'\n').collect();
    for line in &lines {
        headers.append("traceparent", HeaderValue::from_bytes(line).ok()?);
    }
    let expected = match lines[..] {
        // What a later version adds may be any text.
        [only] => said(&String::from_utf8_lossy(only)),
        _ => None,
    };
    let parent = Parent::of(&headers).map(|parent| parent.parts());
    assert_eq!(parent, expected);
    Some(())
}

/// The same rules, written down once more from the standard.
fn said(text: &str) -> Option<(u128, u64, bool)> {
    let parts: Vec<_> = text.split('-').collect();
    let (&[version, trace, span, flags], later) = parts.split_first_chunk()?;
    // With capital letters, if that flaw is planted.
    let in_digits =
        |c: char| matches!(c, '0'..='9' | 'a'..='f') || planted() && c.is_ascii_hexdigit();
    let has = |part: &str, length| part.len() == length && part.chars().all(in_digits);
    let is_whole = has(version, 2) && has(trace, 32) && has(span, 16) && has(flags, 2);
    let is_known = version != "ff" && (version != "00" || later.is_empty());
    if !is_whole || !is_known {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok()?;
    let span = u64::from_str_radix(span, 16).ok()?;
    let flags = u8::from_str_radix(flags, 16).ok()?;
    (trace != 0 && span != 0).then_some((trace, span, flags & 1 == 1))
}
