//! What becomes of a row when its provider answered with tokens (guarantees, section 6, R5).

use std::time::Duration;

use super::provider::TokenAnswer;
use crate::types::{Row, Secret, UnixTime};

/// Returns the row with the tokens of an answer to a request that was sent at `sent_at`. What the answer doesn't have stays
/// as it is.
///
/// `assumed_life` is how long the access token lives if neither the answer nor the row tells.
pub(super) fn merge(
    row: &Row,
    answer: &TokenAnswer,
    sent_at: UnixTime,
    assumed_life: Option<Duration>,
) -> Row {
    let mut merged = row.clone();
    merged.access_token = Some(answer.access_token.clone());
    let life = answer.expires_in.or_else(|| life(row)).or(assumed_life);
    merged.expires_at = life.map(|life| sent_at.plus(life));
    // Both stay readable where rows are sealed, and go to callers that get no refresh token.
    let is_no_token = |text: &String| tokens(row, answer).all(|token| !text.contains(token));
    if let Some(kind) = answer.token_type.as_ref().filter(|kind| is_no_token(kind)) {
        kind.clone_into(&mut merged.token_type);
    }
    if let Some(scopes) = &answer.scopes
        && scopes.iter().all(is_no_token)
    {
        scopes.clone_into(&mut merged.scopes);
    }
    if let Some(id_token) = &answer.id_token {
        merged.id_token = Some(id_token.clone());
    }
    let is_new = |new| row.refresh_token.as_ref() != Some(new);
    if let Some(new) = answer.refresh_token.as_ref().filter(|new| is_new(new)) {
        merged.refresh_token = Some(new.clone());
        merged.refresh_expires_at = None;
    }
    if let Some(life) = answer.refresh_expires_in {
        merged.refresh_expires_at = Some(sent_at.plus(life));
    }
    merged.updated_at = Some(sent_at);
    merged.reauth = None;
    merged
}

/// Returns the tokens that were sent, and those of the answer. One that is as short as a word isn't told apart from one.
fn tokens<'a>(row: &'a Row, answer: &'a TokenAnswer) -> impl Iterator<Item = &'a str> {
    let sent = row.refresh_token.iter().chain([&answer.access_token]);
    let all = sent.chain(&answer.refresh_token).chain(&answer.id_token);
    all.map(Secret::expose).filter(|token| token.len() >= 12)
}

/// Returns how long the access token of a row lives from the time at which it was obtained, as far as the row tells.
pub(super) fn life(row: &Row) -> Option<Duration> {
    let life = row.expires_at?.seconds() - row.updated_at?.seconds();
    let life = u64::try_from(life).ok().filter(|&life| life > 0)?;
    Some(Duration::from_secs(life))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ReauthReason, Secret, Subject, UserId};

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned()).unwrap()
    }

    fn at(seconds: i64) -> Option<UnixTime> {
        UnixTime::from_seconds(seconds)
    }

    fn row() -> Row {
        Row {
            access_token: Some(secret("a0")),
            refresh_token: Some(secret("r0")),
            id_token: Some(secret("i0")),
            token_type: "Bearer".to_owned(),
            scopes: vec!["s".to_owned()],
            expires_at: at(1_600),
            session_expires_at: at(9_000),
            refresh_expires_at: at(5_000),
            user_id: UserId::new("u").ok(),
            upstream_subject: Subject::new("x").ok(),
            updated_at: at(1_000),
            reauth: Some(ReauthReason::InDoubt),
            ..Row::default()
        }
    }

    fn answer() -> TokenAnswer {
        TokenAnswer {
            access_token: secret("a1"),
            refresh_token: None,
            id_token: None,
            token_type: None,
            scopes: None,
            expires_in: None,
            refresh_expires_in: None,
        }
    }

    fn merged(row: &Row, answer: &TokenAnswer) -> Row {
        merge(row, answer, at(2_000).unwrap(), None)
    }

    #[test]
    fn what_the_answer_does_not_have_stays() {
        let expected = Row {
            access_token: Some(secret("a1")),
            expires_at: at(2_600),
            updated_at: at(2_000),
            reauth: None,
            ..row()
        };
        assert_eq!(merged(&row(), &answer()), expected);
    }

    #[test]
    fn what_the_answer_has_counts() {
        let answer = TokenAnswer {
            refresh_token: Some(secret("r1")),
            id_token: Some(secret("i1")),
            token_type: Some("DPoP".to_owned()),
            scopes: Some(Vec::new()),
            expires_in: Some(Duration::from_secs(60)),
            refresh_expires_in: Some(Duration::from_secs(70)),
            ..answer()
        };
        let expected = Row {
            access_token: Some(secret("a1")),
            refresh_token: Some(secret("r1")),
            id_token: Some(secret("i1")),
            token_type: "DPoP".to_owned(),
            scopes: Vec::new(),
            expires_at: at(2_060),
            refresh_expires_at: at(2_070),
            updated_at: at(2_000),
            reauth: None,
            ..row()
        };
        assert_eq!(merged(&row(), &answer), expected);
    }

    #[test]
    fn a_token_in_the_wrong_place_stays_in_no_readable_field() {
        let token = "a-refresh-token";
        let sent = Row {
            refresh_token: Some(secret(token)),
            ..row()
        };
        let answer = TokenAnswer {
            token_type: Some(format!("Bearer {token}")),
            scopes: Some(vec!["s".to_owned(), token.to_owned()]),
            ..answer()
        };
        let merged = merged(&sent, &answer);
        assert_eq!(
            (merged.token_type, merged.scopes),
            (row().token_type, row().scopes)
        );
    }

    #[test]
    fn the_end_of_a_refresh_token_goes_with_it() {
        let with = |token: &str| TokenAnswer {
            refresh_token: Some(secret(token)),
            ..answer()
        };
        assert_eq!(merged(&row(), &with("r1")).refresh_expires_at, None);
        assert_eq!(merged(&row(), &with("r0")).refresh_expires_at, at(5_000));
    }

    #[test]
    fn a_life_that_no_answer_tells() {
        let assumed = Some(Duration::from_secs(7));
        let expiry =
            |row: &Row, assumed| merge(row, &answer(), at(2_000).unwrap(), assumed).expires_at;
        assert_eq!(expiry(&row(), assumed), at(2_600), "that of the row");
        let never = Row {
            expires_at: None,
            ..row()
        };
        assert_eq!(expiry(&never, assumed), at(2_007));
        assert_eq!(expiry(&never, None), None);
        let unknown = Row {
            updated_at: None,
            ..row()
        };
        assert_eq!(expiry(&unknown, assumed), at(2_007));
    }
}
