use proptest::prelude::*;

use super::*;

/// A certificate, as far as PEM is concerned.
const ONE: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----";
const OTHER: &str = "-----BEGIN CERTIFICATE-----\nAAAB\n-----END CERTIFICATE-----\n";

fn told(pem: impl AsRef<[u8]>) -> String {
    certificates_in(pem.as_ref()).unwrap_err()
}

/// Returns how many certificates a parser finds that passes over what it doesn't know.
fn passing_over(pem: &str) -> usize {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .filter_map(Result::ok)
        .count()
}

#[test]
fn what_looks_like_a_certificate_is_read_or_named() {
    for (what, text, expected) in [
        (
            "joined without a line break",
            format!("{ONE}{OTHER}"),
            "line 3 of the file has an END and a BEGIN: put a line break between them",
        ),
        (
            "behind a blank",
            format!("{ONE}\n {OTHER}"),
            "line 4 of the file must be -----BEGIN CERTIFICATE----- and nothing else",
        ),
        (
            "behind a byte order mark that isn't at the beginning",
            format!("{ONE}\n{MARK}{OTHER}"),
            "line 4 of the file must be -----BEGIN CERTIFICATE----- and nothing else",
        ),
        (
            "a dash is lost",
            format!("{ONE}\n{}", &OTHER[1..]),
            "line 4 of the file must be -----BEGIN CERTIFICATE----- and nothing else",
        ),
        (
            "with OpenSSL's trust",
            format!("{ONE}\n{}", OTHER.replace("CERT", "TRUSTED CERT")),
            "line 4 of the file names another form of a certificate than CERTIFICATE: the broker reads no other",
        ),
        (
            "of an old label",
            format!("{ONE}\r\n{}", OTHER.replace("CERT", "X509 CERT")),
            "line 4 of the file names another form of a certificate than CERTIFICATE: the broker reads no other",
        ),
        (
            "without an end",
            format!("{ONE}\n{}", &OTHER[..40]),
            "the file holds a damaged certificate: the one that begins in line 4 has no end",
        ),
        (
            "without an end, before another one",
            format!("{}\n{OTHER}", &ONE[..40]),
            "the file holds a damaged certificate: the one that begins in line 1 has no end",
        ),
        (
            "without a beginning",
            format!("{ONE}\n{}", &OTHER[28..]),
            "the file holds a damaged certificate: the one that ends in line 5 has no beginning",
        ),
        (
            "damaged",
            format!(
                "{ONE}\n{}",
                OTHER.replace('B', "%").replace("%EGIN", "BEGIN")
            ),
            "the file holds a damaged certificate: the one that begins in line 4",
        ),
    ] {
        assert_eq!(told(&text), expected, "{what}: {text}");
        let stays = passing_over(&text);
        assert!(stays < 2, "{what}: others leave nothing out, either");
    }
}

#[test]
fn files_that_people_write_are_read_whole() {
    let both = format!("{ONE}\n{OTHER}");
    for (what, text) in [
        ("plain", both.clone()),
        ("with a byte order mark", format!("{MARK}{both}")),
        ("of Windows", both.replace('\n', "\r\n")),
        ("of an old Mac", both.replace('\n', "\r")),
        ("with blanks at the ends", both.replace('\n', " \n")),
        ("without the last line break", both.trim_end().to_owned()),
        (
            "with text",
            format!("Bag Attributes: END CERTIFICATE\n{both}# BEGIN CERTIFICATE\n"),
        ),
        (
            "with a key and a request",
            format!(
                "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n{both}\
                 -----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"
            ),
        ),
    ] {
        let found =
            certificates_in(text.as_bytes()).unwrap_or_else(|told| panic!("{what}: {told}"));
        let found: Vec<_> = found.iter().map(|one| one.to_vec()).collect();
        assert_eq!(found, [[0, 0, 0], [0, 0, 1]], "{what}");
    }
}

#[test]
fn a_file_that_holds_something_else_is_called_by_its_name() {
    let utf16: Vec<u8> = format!("{MARK}{ONE}")
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let key = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
    let none = "the file holds no certificate in PEM";
    for (file, expected) in [
        (&b""[..], ""),
        (b"hunter2", ""),
        (b"\x30\x82\x01\x0a\x00\xff", ": it seems to be in DER"),
        (&utf16, ": it seems to be in UTF-16: save it in UTF-8"),
        (key("PRIVATE KEY").as_bytes(), ": it holds a private key"),
        (key("ENCRYPTED PRIVATE KEY").as_bytes(), ENCRYPTED.1),
    ] {
        assert_eq!(told(file), format!("{none}{expected}"));
    }
}

#[test]
fn a_private_key_is_found_or_it_is_said_why_not() {
    let section = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
    for label in ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"] {
        for text in [
            section(label),
            format!("{MARK}{}", section(label)),
            format!("{OTHER}{}", section("EC PARAMETERS") + &section(label)),
        ] {
            assert_eq!(
                private_key_in(text.as_bytes()).unwrap().secret_der(),
                [0; 3],
                "{text}"
            );
        }
    }
    let none = |instead: &str| format!("the file holds no private key in PEM{instead}");
    let old = section("RSA PRIVATE KEY").replace("AAAA", "Proc-Type: 4,ENCRYPTED\n\nAAAA");
    for (text, expected) in [
        (String::new(), none("")),
        (ONE.to_owned(), none(": it holds a certificate")),
        (section("ENCRYPTED PRIVATE KEY"), none(ENCRYPTED.1)),
        (old, none(ENCRYPTED.1)),
        (section("OPENSSH PRIVATE KEY"), none(OPENSSH.1)),
        (section("PRIVATE KEY").replace("AAAA", "%"), none(": the key in it is damaged")),
        (
            format!("{ONE}{}", section("PRIVATE KEY")),
            "line 3 of the file has an END and a BEGIN: put a line break between them".to_owned(),
        ),
        (
            section("DSA PRIVATE KEY"),
            "line 1 of the file names another form of a private key than PRIVATE KEY or RSA PRIVATE KEY or EC PRIVATE \
             KEY: the broker reads no other"
                .to_owned(),
        ),
    ] {
        assert_eq!(private_key_in(text.as_bytes()).unwrap_err(), expected, "{text}");
    }
}

proptest! {
    /// However certificates are put together: all are read, or the file is refused.
    #[test]
    fn no_certificate_is_passed_over(
        joints in prop::collection::vec(r"[ -]{0,2}(\n|\r|\r\n|\x{feff}|x)?[ -]{0,2}", 1..5),
        labels in prop::collection::vec("(|X509 |TRUSTED )CERTIFICATE", 5),
    ) {
        let of = |label: &String| ONE.replace("CERTIFICATE", label);
        let parts = joints.iter().zip(&labels).map(|(joint, label)| of(label) + joint);
        let text: String = parts.collect();
        if let Ok(found) = certificates_in(text.as_bytes()) {
            prop_assert_eq!(found.len(), joints.len(), "{}", text);
        }
    }
}
