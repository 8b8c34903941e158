//! Every file of certificates is read by the same rules, whichever setting names it.

use std::fs;

use testkit::{
    authority::{Authority, Wanted},
    broker_process::program,
};

/// Returns the exit code of a look at the settings in a file, and what was said.
fn checked(dir: &std::path::Path, settings: &str) -> (Option<i32>, String) {
    let file = dir.join("broker.toml");
    fs::write(&file, settings).unwrap();
    let mut program = program();
    let done = program
        .arg("--check-config")
        .arg("--config")
        .arg(file)
        .output()
        .unwrap();
    (done.status.code(), String::from_utf8(done.stderr).unwrap())
}

/// Two certificates, joined without a line break: parsers of PEM pass over the second. With it, the same settings are good, also
/// behind a byte order mark.
#[test]
fn no_setting_passes_over_a_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let authority = Authority::new("first");
    let mut own = authority.sign(&Wanted::server());
    own.write_to(dir.path(), "own");
    own.certificate += &authority.pem;
    let (own_pem, key) = (path("own.pem"), path("own.key"));
    fs::write(path("token"), "hunter2").unwrap();
    let keys = program()
        .args(["keys", "generate"])
        .output()
        .unwrap()
        .stdout;
    fs::write(path("keys"), keys).unwrap();
    for name in ["token", "keys"] {
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(path(name), private).unwrap();
    }
    let (token, keys) = (path("token"), path("keys"));
    let tls = format!("tls-cert = {own_pem:?}\ntls-key = {key:?}\n");
    let redis = "backend = \"redis\"\nredis-url = \"rediss://127.0.0.1:1\"\n";
    let provider = "[providers.a]\ntoken-endpoint = \"https://127.0.0.1:1/\"\nclient-id = \"a\"\n";
    let vault = format!(
        "{redis}seal-keys = {keys:?}\nvault-address = \"https://127.0.0.1:1\"\nvault-key = \"k\"\nvault-token-file = {token:?}\n"
    );
    let file = path("both.pem");
    let both = format!("{}{}", own.certificate, Authority::new("second").pem);
    let authorities = format!("{}{}", authority.pem, Authority::new("second").pem);
    for (setting, settings, good) in [
        (
            "tls-cert",
            format!("tls-cert = {file:?}\ntls-key = {key:?}\n"),
            &both,
        ),
        (
            "client-ca",
            format!("{tls}client-ca = {file:?}\n"),
            &authorities,
        ),
        (
            "trust-domains",
            format!("{tls}[trust-domains]\n\"a.test\" = {file:?}\n"),
            &authorities,
        ),
        (
            "redis-tls-ca",
            format!("{redis}redis-tls-ca = {file:?}\n"),
            &authorities,
        ),
        (
            "redis-tls-cert",
            format!("{redis}redis-tls-cert = {file:?}\nredis-tls-key = {key:?}\n"),
            &both,
        ),
        (
            "vault-ca",
            format!("{vault}vault-ca = {file:?}\n"),
            &authorities,
        ),
        (
            "traces-ca",
            format!("traces-endpoint = \"https://127.0.0.1:1\"\ntraces-ca = {file:?}\n"),
            &authorities,
        ),
        (
            "ca-file",
            format!("{provider}client-authentication = \"none\"\nca-file = {file:?}\n"),
            &authorities,
        ),
        (
            "client-certificate-file",
            format!(
                "{provider}client-authentication = \"tls_client_auth\"\nclient-certificate-file = {file:?}\n\
                 client-certificate-key-file = {key:?}\n"
            ),
            &both,
        ),
    ] {
        fs::write(&file, format!("\u{feff}{good}")).unwrap();
        let (code, told) = checked(dir.path(), &settings);
        assert_eq!(code, Some(0), "{setting}: {told}");
        let joined = good.replace("-----END CERTIFICATE-----\n-", "-----END CERTIFICATE------");
        fs::write(&file, joined).unwrap();
        let (code, told) = checked(dir.path(), &settings);
        assert_eq!(code, Some(2), "{setting}: {told}");
        let has_line = told.contains("has an END and a BEGIN: put a line break between them");
        assert!(told.contains(setting) && has_line, "{setting}: {told}");
    }
}
