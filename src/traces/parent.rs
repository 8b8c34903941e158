//! The span of a caller's, as the header `traceparent` names it (W3C Trace Context, section 2.2).

use http::HeaderMap;

use super::ids::{SpanId, TraceId};

/// The header's name.
const HEADER: &str = "traceparent";
/// The length of what version 00 has: the version, two ids and the flags.
const LENGTH: usize = 55;
/// The flag that says that the caller traces.
const SAMPLED: u8 = 1;

/// The span of a caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    pub(super) is_sampled: bool,
}

impl Parent {
    /// Returns the span that the headers of a call name. `None` if they name none, or not exactly one in the form that the
    /// specification asks for. `tracestate` and `baggage` aren't looked at.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut all = headers.get_all(HEADER).iter();
        let (Some(only), None) = (all.next(), all.next()) else {
            return None;
        };
        Self::parse(only.as_bytes())
    }

    /// Returns the ids of trace and span, and whether the caller says that it traces.
    #[must_use]
    pub fn parts(&self) -> (u128, u64, bool) {
        (self.trace.0, self.span.0, self.is_sampled)
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let (known, more) = text.split_at_checked(LENGTH)?;
        let version = hex(&known[0..2])?;
        // A later version may have more, behind another hyphen. Version ff is forbidden.
        let fits = match version {
            0 => more.is_empty(),
            0xff => false,
            _ => more.first().is_none_or(|next| *next == b'-'),
        };
        let hyphens = [2, 35, 52].iter().all(|at| known[*at] == b'-');
        let trace = hex(&known[3..35])?;
        let span = u64::try_from(hex(&known[36..52])?).ok()?;
        let flags = u8::try_from(hex(&known[53..55])?).ok()?;
        (fits && hyphens && trace != 0 && span != 0).then_some(Self {
            trace: TraceId(trace),
            span: SpanId(span),
            is_sampled: flags & SAMPLED != 0,
        })
    }
}

/// Returns a number of lower-case hexadecimal digits.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    #[test]
    fn a_parent_is_read_as_the_specification_spells_it() {
        let parse = |text: String| Parent::parse(text.as_bytes());
        let parent = parse(format!("00-{TRACE}-{SPAN}-01")).unwrap();
        assert_eq!(parent.trace.0, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!(parent.span.0, 0xb7ad_6b71_6920_3331);
        assert!(parent.is_sampled);
        // The other flags mean something else.
        for (flags, is_sampled) in [("00", false), ("02", false), ("03", true), ("ff", true)] {
            let parent = parse(format!("00-{TRACE}-{SPAN}-{flags}")).unwrap();
            assert_eq!(parent.is_sampled, is_sampled, "{flags}");
        }
        for later in ["", "-", "-what comes later"] {
            assert!(parse(format!("cc-{TRACE}-{SPAN}-01{later}")).is_some());
        }
    }

    #[test]
    fn what_is_no_parent_is_none() {
        let zeros = "0".repeat(32);
        for text in [
            String::new(),
            "00".to_owned(),
            format!("00-{TRACE}-{SPAN}-0"),
            format!("00-{TRACE}-{SPAN}-01-"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("cc-{TRACE}-{SPAN}-01more"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("0g-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{zeros}-{SPAN}-01"),
            format!("00-{TRACE}-{}-01", &zeros[..16]),
            format!("00_{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}_{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}_01"),
            format!("00-{TRACE}-{SPAN}-+1"),
            format!(" 00-{TRACE}-{SPAN}-01"),
            "é".repeat(40),
        ] {
            assert_eq!(Parent::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn of_two_parents_none_counts() {
        let value = HeaderValue::from_str(&format!("00-{TRACE}-{SPAN}-01")).unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(Parent::of(&headers), None);
        headers.append(HEADER, value.clone());
        assert!(Parent::of(&headers).is_some());
        headers.append(HEADER, value);
        assert_eq!(Parent::of(&headers), None);
    }
}
