//! A text is taken for a workload's SPIFFE id if SPIFFE-ID, section 2, says that it is one, and it has a path. It comes back as it is.

use token_broker::types::SpiffeId;

use crate::input::planted;

pub fn run(bytes: &[u8]) -> Option<()> {
    let text = str::from_utf8(bytes).ok()?;
    let parsed = text.parse::<SpiffeId>();
    assert_eq!(parsed.is_ok(), is_one(text));
    let id = parsed.ok()?;
    assert_eq!(id.as_str(), text);
    assert!(SpiffeId::is_trust_domain(id.trust_domain()));
    assert_eq!(format!("spiffe://{}{}", id.trust_domain(), id.path()), text);
    Some(())
}

/// The same rules, written down once more from the standard.
fn is_one(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("spiffe://") else {
        return false;
    };
    let mut parts = rest.split('/');
    let domain = parts.next().unwrap_or_default();
    let in_domain = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '.' | '-' | '_');
    let in_path = |c: char| matches!(c, 'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' | '_');
    // Without the rule about dots, if that flaw is planted.
    let is_dots = |part: &str| !planted() && matches!(part, "." | "..");
    let is_part = |part: &str| !part.is_empty() && !is_dots(part) && part.chars().all(in_path);
    rest.contains('/')
        && text.len() <= 2048
        && (1..=255).contains(&domain.len())
        && domain.chars().all(in_domain)
        && parts.all(is_part)
}
