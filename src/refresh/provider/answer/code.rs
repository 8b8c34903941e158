//! Codes of errors.

use std::fmt;

/// The longest code that is shown.
const LONGEST: usize = 40;
/// The longest word of a code that is shown. A token is longer, and has no words.
const LONGEST_WORD: usize = 16;
/// So many digits a code of several words has at most. A token has more.
const DIGITS: usize = 2;

/// The code of an error, in small letters, safe to log: one that looks like a code or is configured. A provider can write
/// anything there, even a token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Code(Option<String>);

impl Code {
    /// Returns the code that a provider wrote.
    pub(in super::super) fn of(written: &str) -> Self {
        Self(looks_like_a_code(written).then(|| written.to_ascii_lowercase()))
    }

    /// Returns a code that the configuration names.
    pub(super) fn configured(written: &str) -> Self {
        Self(Some(written.to_owned()))
    }

    /// Returns the code, or `other` if it isn't shown.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or("other")
    }

    /// Returns the words for an error with this code.
    #[must_use]
    pub fn in_words(&self) -> String {
        match &self.0 {
            Some(code) => format!("the error {code}"),
            None => "an error whose code isn't shown, because it doesn't look like one".to_owned(),
        }
    }
}

/// Whether a text is made of words as codes are, in letters of one size or with a capital at each beginning.
fn looks_like_a_code(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let most = if text.contains('_') { DIGITS } else { 0 };
    let is_word = |word: &str| {
        let rest = word.get(1..).unwrap_or_default();
        (1..=LONGEST_WORD).contains(&word.len())
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric())
            && (!word.bytes().any(|byte| byte.is_ascii_uppercase())
                || !word.bytes().any(|byte| byte.is_ascii_lowercase())
                || !rest.bytes().any(|byte| byte.is_ascii_uppercase()))
    };
    text.len() <= LONGEST
        && digits <= most
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.split('_').all(is_word)
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
