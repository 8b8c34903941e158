//! Reading the JSON of a row in the plain spelling in which a broker writes it: the fields in their order, without white
//! space, and texts without escapes. Nearly all rows are so.

use std::str::FromStr;

use memchr::memchr2;

use super::read::Read;
use crate::types::Secret;

/// Reads a row. Returns `None` if it is spelled in any other way, also if it isn't JSON.
pub(super) fn read(row: &[u8]) -> Option<Read> {
    let mut rest = Rest(row);
    let read = Read {
        version: Some(rest.field(br#"{"version":"#)?.number::<u64>()?.into()),
        user_id: Some(rest.field(br#","user_id":"#)?.owned()?),
        provider_id: Some(rest.field(br#","provider_id":"#)?.owned()?),
        access_token: rest.field(br#","access_token":"#)?.secret()?,
        refresh_token: rest.field(br#","refresh_token":"#)?.secret()?,
        id_token: rest.field(br#","id_token":"#)?.secret()?,
        expires_at: Some(rest.field(br#","expires_at":"#)?.number()?),
        session_expires_at: Some(rest.field(br#","session_expires_at":"#)?.number()?),
        upstream_subject: Some(rest.field(br#","upstream_subject":"#)?.owned()?),
        client_id: Some(rest.field(br#","client_id":"#)?.owned()?),
        updated_at: rest.optional(br#","updated_at":"#, Rest::number)?,
        token_type: rest.optional(br#","token_type":"#, Rest::owned)?,
        scopes: rest.optional(br#","scopes":["#, Rest::texts)?,
        refresh_expires_at: rest.optional(br#","refresh_expires_at":"#, Rest::number)?,
        reauth: rest.optional(br#","reauth":"#, Rest::owned)?,
        origin_server: rest.optional(br#","origin_server":"#, Rest::owned)?,
        origin_client: rest.optional(br#","origin_client":"#, Rest::owned)?,
        sealed: rest.optional(br#","sealed":"#, Rest::owned)?,
    };
    (rest.0 == b"}").then_some(read)
}

/// What hasn't been read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    /// Reads the name of a field, with what stands around it.
    fn field(&mut self, name: &[u8]) -> Option<&mut Self> {
        self.0 = self.0.strip_prefix(name)?;
        Some(self)
    }

    /// Reads a field that may be missing.
    fn optional<T>(
        &mut self,
        name: &[u8],
        value: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.field(name) {
            Some(rest) => value(rest).map(Some),
            None => Some(None),
        }
    }

    fn number<T: FromStr>(&mut self) -> Option<T> {
        let is_part = |byte: &u8| byte.is_ascii_digit() || *byte == b'-';
        let length = self.0.iter().take_while(|byte| is_part(byte)).count();
        let (number, rest) = self.0.split_at(length);
        // JSON knows no leading zeros. A minus elsewhere than in front is no number either.
        if length > 1 && matches!(number, [b'0', ..] | [b'-', b'0', ..]) {
            return None;
        }
        self.0 = rest;
        std::str::from_utf8(number).ok()?.parse().ok()
    }

    fn text(&mut self) -> Option<&'a str> {
        let from = self.0.strip_prefix(b"\"")?;
        let (text, rest) = from.split_at(memchr2(b'"', b'\\', from)?);
        self.0 = rest.strip_prefix(b"\"")?;
        // Without a way out of the loop the compiler looks at many bytes at once.
        let has_control = text.iter().fold(false, |has, &byte| has | (byte < b' '));
        if has_control {
            return None;
        }
        std::str::from_utf8(text).ok()
    }

    fn owned(&mut self) -> Option<String> {
        self.text().map(str::to_owned)
    }

    fn secret(&mut self) -> Option<Option<Secret>> {
        self.owned().map(Secret::new)
    }

    /// Reads a list of at least one text.
    fn texts(&mut self) -> Option<Vec<String>> {
        let mut texts = vec![self.owned()?];
        while self.field(b",").is_some() {
            texts.push(self.owned()?);
        }
        self.field(b"]")?;
        Some(texts)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::encode, super::read::by_serde, *};
    use crate::types::{
        ClientId, Envelope, Origin, ProviderName, ReauthReason, Row, Subject, UnixTime, UserId,
        Version,
    };

    /// Rows of which most texts are plain.
    fn rows() -> impl Strategy<Value = (Row, Version)> {
        let text = || prop_oneof![4 => "[a-zA-Z0-9 .:/_-]{0,40}", 1 => ".{0,8}"];
        let time = || proptest::option::of(1_i64..300_000_000_000);
        let texts = [
            text(),
            text(),
            text(),
            text(),
            text(),
            text(),
            text(),
            text(),
            text(),
        ];
        (
            texts,
            [time(), time(), time(), time()],
            proptest::collection::vec("[a-z:]{1,9}", 0..3),
            0_u8..3,
            1_u64..1 << 53,
            proptest::option::of(text()),
        )
            .prop_map(|(texts, times, scopes, reauth, version, sealed)| {
                let [
                    access,
                    refresh,
                    id,
                    token_type,
                    user,
                    subject,
                    client,
                    server,
                    at_server,
                ] = texts;
                let [
                    expires_at,
                    session_expires_at,
                    updated_at,
                    refresh_expires_at,
                ] = times.map(|time| time.and_then(UnixTime::from_stored));
                let row = Row {
                    access_token: Secret::new(access),
                    refresh_token: Secret::new(refresh),
                    id_token: Secret::new(id),
                    token_type,
                    scopes,
                    expires_at,
                    session_expires_at,
                    refresh_expires_at,
                    user_id: UserId::from_stored(user),
                    upstream_subject: Subject::from_stored(subject),
                    client_id: ClientId::from_stored(client),
                    updated_at,
                    reauth: [
                        None,
                        Some(ReauthReason::Refused),
                        Some(ReauthReason::InDoubt),
                    ][usize::from(reauth)],
                    origin: Origin::from_stored(server, at_server),
                    sealed: sealed.map(Envelope::from_stored),
                };
                (row, Version::from_number(version).unwrap())
            })
    }

    fn written(row: &Row, version: Version) -> Vec<u8> {
        let provider = ProviderName::new("p").unwrap();
        encode(row, &provider, version).unwrap().to_vec()
    }

    /// Whatever is read here, serde reads the same.
    fn agrees(row: &[u8]) -> bool {
        read(row).is_none_or(|plain| by_serde(row).is_ok_and(|read| read == plain))
    }

    #[test]
    fn a_row_without_odd_texts_is_plain() {
        let row = Row {
            access_token: Secret::new("ya29.a0Af/_-ü".to_owned()),
            scopes: vec!["openid".to_owned(), "repo:read".to_owned()],
            updated_at: UnixTime::from_stored(7),
            ..Row::default()
        };
        let json = written(&row, Version::random());
        assert!(read(&json).is_some() && agrees(&json));
        for odd in ["\\n", "\u{1}", " "] {
            let at = json.windows(4).position(|four| four == b"ya29").unwrap();
            let mut changed = json.clone();
            changed.splice(at..at, odd.bytes());
            assert_eq!(read(&changed).is_some(), odd == " ", "{odd:?}");
        }
    }

    #[test]
    fn what_is_no_json_is_not_plain() {
        let json = written(&Row::default(), Version::from_number(7).unwrap());
        let json = String::from_utf8(json).unwrap();
        for (plain, odd) in [
            ("\"version\":7", "\"version\":07"),
            ("\"version\":7", "\"version\":"),
            ("\"expires_at\":0", "\"expires_at\":-0"),
            ("\"expires_at\":0", "\"expires_at\":1-1"),
            ("\"expires_at\":0", "\"expires_at\":99999999999999999999"),
            ("\"client_id\":\"\"", "\"client_id\":\"\",\"scopes\":[]"),
            ("}", "} "),
            ("}", ""),
        ] {
            let odd = json.replace(plain, odd);
            assert_ne!(odd, json);
            assert!(read(odd.as_bytes()).is_none(), "{odd}");
        }
    }

    proptest! {
        #[test]
        fn a_written_row_is_read_as_serde_reads_it((row, version) in rows()) {
            prop_assert!(agrees(&written(&row, version)));
        }

        #[test]
        fn so_is_a_row_in_which_a_byte_was_changed(
            (row, version) in rows(),
            at in any::<prop::sample::Index>(),
            byte in prop_oneof![any::<u8>(), Just(b'"'), Just(b'\\'), Just(b','), Just(b'0'), Just(b'-')],
        ) {
            let mut json = written(&row, version);
            let at = at.index(json.len());
            json[at] = byte;
            prop_assert!(agrees(&json), "{:?}", String::from_utf8_lossy(&json));
        }
    }
}
