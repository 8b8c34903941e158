//! Certificates and private keys in PEM (RFC 7468). Every file that holds some is read here, by the same rules.
//!
//! Parsers of PEM pass over what they don't know. In a file that says who is trusted, that would take somebody's trust away
//! without a word. So here everything that looks like a certificate has to be one.

mod sections;

use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use sections::sections;

/// The byte order mark that some editors begin a text with.
const MARK: &str = "\u{feff}";

/// Returns a text without the byte order mark at its beginning.
pub(crate) fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(MARK.as_bytes()).unwrap_or(text)
}

/// Returns all certificates in a file, of which there is at least one.
///
/// # Errors
/// Returns what is wrong with the file, also if only one of them can't be read. Quotes nothing of it.
pub(crate) fn certificates_in(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = without_mark(pem);
    let mut found = Vec::new();
    for section in sections(pem, "CERTIFICATE", &["CERTIFICATE"])? {
        let certificate = CertificateDer::from_pem_slice(section.text);
        found.push(certificate.map_err(|_| {
            let line = section.line;
            format!("the file holds a damaged certificate: the one that begins in line {line}")
        })?);
    }
    match found.is_empty() {
        true => {
            let instead = instead(pem, &[ENCRYPTED, KEY]);
            Err(format!("the file holds no certificate in PEM{instead}"))
        }
        false => Ok(found),
    }
}

/// Returns the first private key in a file.
///
/// # Errors
/// Returns what is wrong with the file. Quotes nothing of it.
pub(crate) fn private_key_in(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    let pem = without_mark(pem);
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
        let other_form = instead(pem, &[ENCRYPTED, OPENSSH]);
        if other_form.is_empty() {
            let labels = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];
            if let Err(what) = sections(pem, "PRIVATE KEY", &labels) {
                return what;
            }
        }
        let instead = instead(pem, &[ENCRYPTED, OPENSSH, DAMAGED_KEY, CERTIFICATE]);
        format!("the file holds no private key in PEM{instead}")
    })
}

/// What stands in a file that holds something else, and the end of a message that says so.
type Instead = (&'static str, &'static str);

const ENCRYPTED: Instead = (
    "ENCRYPTED",
    ": its key is encrypted, and the broker has no passphrase: write it without one, as `openssl pkey` does",
);
const OPENSSH: Instead = (
    "BEGIN OPENSSH",
    ": its key is in the form of OpenSSH: write it in PKCS #8, as `ssh-keygen -p -m PKCS8` does",
);
const KEY: Instead = ("PRIVATE KEY-----", ": it holds a private key");
const DAMAGED_KEY: Instead = ("PRIVATE KEY-----", ": the key in it is damaged");
const CERTIFICATE: Instead = ("BEGIN CERTIFICATE-----", ": it holds a certificate");

/// Returns the end of a message that says what a file holds instead, if it can be told.
fn instead(pem: &[u8], known: &[Instead]) -> &'static str {
    let holds = |text: &str| memchr::memmem::find(pem, text.as_bytes()).is_some();
    if let Some((_, told)) = known.iter().find(|(text, _)| holds(text)) {
        told
    } else if pem.starts_with(b"\xff\xfe") || pem.starts_with(b"\xfe\xff") {
        ": it seems to be in UTF-16: save it in UTF-8"
    } else if pem.starts_with(b"\x30") && str::from_utf8(pem).is_err() {
        ": it seems to be in DER"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests;
