//! Comments in key files, and which of them may hold a plain key.

use super::{MasterKey, WrappedKey};
use crate::types::{KeyId, KeyName};

/// What a key of 32 bytes has in base64, without padding.
const WHOLE: usize = (MasterKey::BYTES * 8).div_ceil(6);

/// What a wrapped key has behind its last colon, at least: Vault adds a nonce of 12 bytes and a tag of 16 to the 32 of the key. A
/// plain key has fewer, also in hexadecimal.
const WRAPPED: usize = ((12 + MasterKey::BYTES + 16) * 8).div_ceil(6);
/// How many characters that look drawn at random a comment may have. Whoever finds fewer knows 72 of the 256 bits of a key
/// at most. A date, a version or the name of a host has fewer.
const MOST_RANDOM: usize = 12;

/// What a comment may name without being taken for one that holds a key.
pub(super) struct Known<'a> {
    /// What wrapped keys begin with, up to the first colon.
    pub scheme: &'a str,
    /// The names of the file's own keys.
    pub names: Vec<&'a KeyName>,
}

impl Known<'_> {
    /// Whether some text may hold a plain key or a large part of one: in base64 or in hexadecimal, whole, or broken by blanks or by
    /// anything else.
    pub fn may_hold_a_key(&self, text: &str) -> bool {
        let words = text.split_whitespace().map(|word| self.without_names(word));
        let mut random = 0;
        for word in words {
            let mut runs =
                word.split(|c: char| !(c.is_ascii_alphanumeric() || "+/-_=".contains(c)));
            if runs.any(|run| run.len() >= WHOLE) {
                return true;
            }
            let parts = word.split(|c: char| !c.is_ascii_alphanumeric());
            random += parts
                .filter(|part| looks_random(part))
                .map(str::len)
                .sum::<usize>();
        }
        random >= MOST_RANDOM
    }

    /// Returns what of a word may be a key. A wrapped key is none, and neither is the name or the fingerprint of a key.
    fn without_names<'w>(&self, word: &'w str) -> &'w str {
        let bare = word
            .trim_start_matches('#')
            .trim_end_matches([',', ';', ':', '.', ')']);
        let bare = bare.trim_start_matches('(');
        if let Some(key) = WrappedKey::new(bare)
            && key.scheme() == self.scheme
            && bare
                .rsplit(':')
                .next()
                .is_some_and(|text| text.len() >= WRAPPED)
        {
            return "";
        }
        let name = match bare.split_once('.') {
            Some((name, _)) if KeyId::parse(bare).is_some() => name,
            _ => bare,
        };
        let is_own = self.names.iter().any(|own| own.as_str() == name);
        match is_own || KeyName::new(name).is_some_and(|name| name.is_of_a_time()) {
            true => "",
            false => name,
        }
    }
}

/// Whether a word looks drawn at random: it has digits among letters, or goes from small letters to capitals more than once.
fn looks_random(word: &str) -> bool {
    let has = |is: fn(&u8) -> bool| word.as_bytes().iter().any(is);
    let pairs = word.as_bytes().windows(2);
    let rises = pairs.filter(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase());
    has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic) || rises.count() > 1
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};

    use super::*;

    fn may_hold_a_key(text: &str) -> bool {
        let own = KeyName::new("eu-2026b7-primary9a").unwrap();
        let known = Known {
            scheme: "vault",
            names: vec![&own],
        };
        known.may_hold_a_key(text)
    }

    #[test]
    fn a_comment_that_may_hold_a_key_is_told_from_others() {
        let key = STANDARD.encode([7; MasterKey::BYTES]);
        let bare = key.trim_end_matches('=');
        for text in [
            format!("# k1 {key}"),
            format!("#k1 {key}"),
            format!("#{key}"),
            // A colon makes no wrapped key of it.
            format!("#old:{key}"),
            format!("# sha:{key}"),
            format!("#\told: \"{bare}\", of May"),
            format!("# {}", bare.replace('B', "_")),
            format!("# {}", "0f".repeat(32)),
            format!("# {bare}.0f3a5c7e9b1d2f46"),
            format!("# vault:v1:{key}"),
            format!("#vault:{key}"),
            format!("# vault:v1:{}", "9f86d081884c7d65".repeat(4)),
        ] {
            assert!(may_hold_a_key(&text), "{text}");
        }
        for text in [
            "# The first key seals, all keys open.".to_owned(),
            format!("# k1 vault:v1:{key}{key}"),
            format!("#vault:v1:{key}{key}"),
            "# k1795564800.0f3a5c7e9b1d2f46".to_owned(),
            "# k1795564800-0f3a5c7e (k1795564801-0f3a5c7e, too), 0f3a5c7e9b is of eu-2026b7-primary9a".to_owned(),
            "# 2026-11-27T10:15:00Z, OPS-12345: from https://vault.example:8200/v1, by HashiCorp's GitHub".to_owned(),
            "# Thisisoneverylongwordwithoutanything".to_owned(),
        ] {
            assert!(!may_hold_a_key(&text), "{text}");
        }
    }

    /// Whoever breaks a key leaves it in the comment all the same.
    #[test]
    fn a_key_that_is_broken_is_one() {
        const KEYS: [&str; 2] = [
            "kVYpWZ0fGJxWqCk7gUqTQeR0cYF1oQbWk2w9z3m6c1A=",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        ];
        for key in KEYS {
            for length in 3..key.len() {
                for between in [" ", ", ", " . ", ":", "\u{a0}"] {
                    let parts: Vec<_> = key.as_bytes().chunks(length).collect();
                    let parts: Vec<_> = parts
                        .into_iter()
                        .map(|part| str::from_utf8(part).unwrap())
                        .collect();
                    let text = format!("#k9={}", parts.join(between));
                    assert!(may_hold_a_key(&text), "{text}");
                }
            }
            // Each line of a comment is judged alone: halves are parts enough.
            let (first, second) = key.split_at(key.len() / 2);
            for half in [first, second] {
                assert!(may_hold_a_key(&format!("# {half}")), "{half}");
            }
        }
    }
}
