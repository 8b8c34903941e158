//! What a text of a row may be. The same rule holds for what callers and providers hand in, and for what is read from a store,
//! which others may have written.
//!
//! A sidecar sends tokens and their type in an HTTP header, where a line break begins another header. So no text has a control
//! character. Apart from that tokens are opaque: RFC 6749, appendix A, has them of printable ASCII, and what else a provider
//! gives out harms nobody.

use super::{IdError, Row, Secret};

/// The longest type of an access token, in bytes.
pub const MAX_TOKEN_TYPE_BYTES: usize = 64;

/// What is wrong with a text. The message goes on after the name of a field, and never quotes the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// A token has a control character (Unicode category Cc).
    #[error("must not contain control characters")]
    Token,
    /// The type of an access token is too long, or has a control character.
    #[error("must be at most 64 bytes, without control characters")]
    TokenType,
    /// A scope is empty, or has white space or a control character.
    #[error("must be one scope: not empty, without white space")]
    Scope,
    /// An id breaks a rule.
    #[error(transparent)]
    Id(#[from] IdError),
}

/// Whether a text has a control character.
pub(super) fn has_control(text: &str) -> bool {
    // Without a way out of the loop the compiler looks at many bytes at once. Beyond ASCII a character tells.
    let plain = b' '..0x7f;
    let may_have_one = text
        .bytes()
        .fold(false, |may, byte| may | !plain.contains(&byte));
    may_have_one && text.chars().any(char::is_control)
}

/// Whether a token may be stored and served.
#[must_use]
pub fn is_token(token: &Secret) -> bool {
    !has_control(token.expose())
}

fn is_token_type(text: &str) -> bool {
    text.len() <= MAX_TOKEN_TYPE_BYTES && !has_control(text)
}

fn is_scope(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_whitespace) && !has_control(text)
}

impl Row {
    /// Returns what is wrong with the tokens: the fields, as requests name them, and their faults.
    #[must_use]
    pub fn faulty_tokens(&self) -> Vec<(&'static str, TextError)> {
        let tokens = [
            ("access_token", &self.access_token),
            ("refresh_token", &self.refresh_token),
            ("id_token", &self.id_token),
        ];
        let wrong = |token: &Option<Secret>| token.as_ref().is_some_and(|token| !is_token(token));
        let faulty = tokens.into_iter().filter(|(_, token)| wrong(token));
        faulty.map(|(field, _)| (field, TextError::Token)).collect()
    }

    /// Returns what is wrong with the texts of the row: the fields, as requests name them, and their faults.
    #[must_use]
    pub fn faults(&self) -> Vec<(String, TextError)> {
        // Without `..`: a new field doesn't compile until its texts are looked at here. An origin and an envelope are the broker's
        // own.
        let Self {
            access_token: _,
            refresh_token: _,
            id_token: _,
            token_type,
            scopes,
            expires_at: _,
            session_expires_at: _,
            refresh_expires_at: _,
            user_id,
            upstream_subject,
            client_id,
            updated_at: _,
            reauth: _,
            origin: _,
            sealed: _,
        } = self;
        let tokens = self.faulty_tokens().into_iter();
        let mut faults: Vec<_> = tokens
            .map(|(field, fault)| (field.to_owned(), fault))
            .collect();
        if !is_token_type(token_type) {
            faults.push(("token_type".to_owned(), TextError::TokenType));
        }
        for (at, _) in scopes
            .iter()
            .enumerate()
            .filter(|(_, scope)| !is_scope(scope))
        {
            faults.push((format!("scopes[{at}]"), TextError::Scope));
        }
        let ids = [
            ("user_id", user_id.as_ref().map(|id| id.check())),
            (
                "upstream_subject",
                upstream_subject.as_ref().map(|id| id.check()),
            ),
            ("client_id", client_id.as_ref().map(|id| id.check())),
        ];
        for (field, checked) in ids {
            if let Some(Err(fault)) = checked {
                faults.push((field.to_owned(), fault.into()));
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ClientId, Subject, UserId};

    /// Texts with a control character each, wherever they have it.
    const CONTROLS: [&str; 7] = [
        "a\r\nX-Admin: 1",
        "\u{0}",
        "a\u{1f}",
        "\u{7f}",
        "ü\u{85}",
        "a\u{9f}b",
        "\tlong enough that the compiler looks at many bytes of it at once",
    ];

    fn named(row: &Row) -> Vec<String> {
        row.faults().into_iter().map(|(field, _)| field).collect()
    }

    #[test]
    fn no_text_of_a_row_has_a_control_character() {
        for text in CONTROLS {
            let owned = || text.to_owned();
            let row = Row {
                access_token: Secret::new(owned()),
                refresh_token: Secret::new(owned()),
                id_token: Secret::new(owned()),
                token_type: owned(),
                scopes: vec!["s".to_owned(), owned()],
                user_id: UserId::from_stored(owned()),
                upstream_subject: Subject::from_stored(owned()),
                client_id: ClientId::from_stored(owned()),
                ..Row::default()
            };
            let all = [
                "access_token",
                "refresh_token",
                "id_token",
                "token_type",
                "scopes[1]",
                "user_id",
                "upstream_subject",
                "client_id",
            ];
            assert_eq!(named(&row), all, "{text:?}");
            for (_, fault) in row.faults() {
                assert!(!fault.to_string().contains("Admin"), "it is quoted");
            }
        }
    }

    #[test]
    fn what_is_too_long_or_no_scope_is_named() {
        let row = Row {
            token_type: "t".repeat(65),
            scopes: vec![
                String::new(),
                "a b".to_owned(),
                "a\u{a0}b".to_owned(),
                "s".to_owned(),
            ],
            client_id: ClientId::from_stored("c".repeat(513)),
            ..Row::default()
        };
        let all = [
            "token_type",
            "scopes[0]",
            "scopes[1]",
            "scopes[2]",
            "client_id",
        ];
        assert_eq!(named(&row), all);
    }

    #[test]
    fn everything_else_is_opaque() {
        let odd = "a b~\"\\%41{:}ü\u{a0}\u{2028}пользователь";
        let row = Row {
            access_token: Secret::new(odd.to_owned()),
            refresh_token: Secret::new("r".repeat(100_000)),
            id_token: Secret::new("e30.e30.".to_owned()),
            token_type: odd.to_owned(),
            scopes: vec!["https://www.googleapis.com/auth/drive".to_owned()],
            user_id: UserId::new(odd).ok(),
            ..Row::default()
        };
        assert_eq!(named(&row), Vec::<String>::new());
        assert_eq!(named(&Row::default()), Vec::<String>::new());
    }
}
