//! The JSON of a row (guarantees, section 3): its version and its user, then toolhive's other fields, then the
//! broker's own. Toolhive ignores the broker's fields, and drops them when it rewrites a row.
//!
//! `write` encodes a row, and `read` decodes one, with the help of `plain` if a broker wrote it. `label` tells what writes have to know of a row that they
//! replace or remove. [`rewrite`] changes single fields of a row and leaves all others as they are, including
//! those that this version doesn't know.

mod label;
mod plain;
mod read;
pub mod rewrite;
mod write;

pub use self::{label::Label, read::decode, write::encode};

/// The value of a row's key that holds no tokens. Every reader treats it as a missing row.
pub(super) const NULL: &[u8] = b"null";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        store::Decoded,
        types::{
            ClientId, Envelope, Origin, ProviderName, ReauthReason, Row, Secret, StoredRow,
            Subject, UnixTime, UserId, Version,
        },
    };

    fn provider() -> ProviderName {
        ProviderName::new("github").unwrap()
    }

    fn decoded(json: &str) -> Decoded {
        decode(json.as_bytes(), &provider()).unwrap()
    }

    #[test]
    fn toolhive_reads_what_is_written() {
        let row = Row {
            access_token: Secret::new("at".to_owned()),
            expires_at: UnixTime::from_seconds(1_700_000_000),
            user_id: UserId::new("u").ok(),
            ..Row::default()
        };
        let json = encode(&row, &provider(), Version::from_number(7).unwrap()).unwrap();
        assert_eq!(
            std::str::from_utf8(&json).unwrap(),
            r#"{"version":7,"user_id":"u","provider_id":"github","access_token":"at","#.to_owned()
                + r#""refresh_token":"","id_token":"","expires_at":1700000000,"#
                + r#""session_expires_at":0,"upstream_subject":"","client_id":""}"#
        );
        assert_eq!(
            decoded(std::str::from_utf8(&json).unwrap()).unwrap().row,
            row
        );
    }

    #[test]
    fn a_row_comes_back_whole() {
        let row = Row {
            access_token: Secret::new("a\"\\ü".to_owned()),
            refresh_token: Secret::new("r".to_owned()),
            id_token: Secret::new("i".to_owned()),
            token_type: "DPoP".to_owned(),
            scopes: vec!["repo".to_owned(), "user:email".to_owned()],
            expires_at: UnixTime::from_seconds(1),
            session_expires_at: UnixTime::from_seconds(2),
            refresh_expires_at: UnixTime::from_seconds(3),
            user_id: UserId::new("u").ok(),
            upstream_subject: Subject::new("s").ok(),
            client_id: ClientId::new("c").ok(),
            updated_at: UnixTime::from_seconds(4),
            reauth: Some(ReauthReason::Refused),
            origin: Origin::from_stored("https://idp".to_owned(), "broker".to_owned()),
            sealed: Some(Envelope::from_stored("1.k.x".to_owned())),
        };
        let version = Version::random();
        let json = encode(&row, &provider(), version).unwrap();
        assert!(json.ends_with(
            br#","origin_server":"https://idp","origin_client":"broker","sealed":"1.k.x"}"#
        ));
        let back = decode(&json, &provider()).unwrap().unwrap();
        assert_eq!(back, StoredRow { row, version });
    }

    #[test]
    fn what_other_software_writes() {
        let row = decoded(r#"{"access_token":null,"scopes":null,"new":{"x":[1.0]}}"#).unwrap();
        assert_eq!(row.row, Row::default());
        let json = r#"{"provider_id":"github","version":"x"}"#;
        assert_eq!(
            decoded(json).unwrap().version,
            Version::derived_from(json.as_bytes())
        );
        assert_eq!(decoded(r#"{"version":5.0}"#).unwrap().version.number(), 5);
        assert!(decode(NULL, &provider()).is_none());
    }

    #[test]
    fn half_an_origin_is_that_of_no_provider() {
        let origin = |json: &str| decoded(json).unwrap().row.origin;
        let half = origin(r#"{"origin_server":"https://idp","origin_client":null}"#).unwrap();
        assert_eq!((&*half.server, &*half.client_id), ("https://idp", ""));
        assert!(origin(r#"{"origin_client":"c"}"#).is_some());
        assert!(origin(r#"{"origin_server":"","origin_client":null}"#).is_none());
    }

    /// What `Store` refuses is served to nobody, whoever wrote it. Toolhive's own texts have none of it.
    #[test]
    fn what_no_caller_may_store_is_not_read() {
        for bad in [
            r#"{"access_token":"gho_x\r\nX-Admin: 1"}"#,
            r#"{"refresh_token":"gho_x\u0000"}"#,
            "{\"id_token\":\"gho_x\u{7f}\"}",
            r#"{"token_type":"gho_x\r\nX-Admin: 1"}"#,
            r#"{"scopes":["s","gho_x\n"]}"#,
            r#"{"scopes":["gho_x gho_y"]}"#,
            r#"{"user_id":"gho_x\n"}"#,
            r#"{"upstream_subject":"gho_x\u0085"}"#,
            &format!(r#"{{"client_id":"gho_x{}"}}"#, "c".repeat(508)),
        ] {
            let error = decoded(bad).unwrap_err().to_string();
            assert!(
                error.contains("must") && !error.contains("gho_x"),
                "{error}"
            );
        }
        // The same in the spelling of a broker, which another reader reads.
        let row = Row {
            client_id: ClientId::from_stored("c".repeat(513)),
            ..Row::default()
        };
        let json = encode(&row, &provider(), Version::random()).unwrap();
        assert!(decode(&json, &provider()).unwrap().is_err());
    }

    #[test]
    fn what_cannot_be_read_is_not_quoted() {
        for bad in [
            "",
            "{",
            "[]",
            r#"["gho_x","at"]"#,
            r#"{"expires_at":"gho_x"}"#,
            r#"{"provider_id":"gho_x"}"#,
        ] {
            let error = decoded(bad).unwrap_err();
            assert!(!error.to_string().contains("gho_x"), "{error}");
        }
    }
}
