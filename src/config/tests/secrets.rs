//! No message quotes a value, and no list shows a password.

use super::from_toml;
use crate::config::settings::all;

/// Texts that an operator may have meant for another setting.
const SECRETS: [&str; 6] = [
    "S3cr3t/S3cr3t",
    "redis://user:S3cr3t@host:1/0/1",
    "redis://user:S3/cr3t@S3cr3t",
    "S3cr3t:50051",
    "S3cr3t=S3cr3t",
    "-----BEGIN PRIVATE KEY-----\nS3cr3t\n",
];

#[test]
fn no_message_quotes_a_value() {
    for setting in all() {
        for secret in SECRETS {
            for base in ["backend = \"redis\"\n", ""] {
                let base = if setting.name == "backend" { "" } else { base };
                let written = from_toml(&format!("{base}{} = {secret:?}", setting.name));
                let told = match written.clone().resolve() {
                    Ok(config) => format!("{:?}", config.warnings),
                    Err(problems) => format!("{problems:?}"),
                };
                assert!(
                    !told.contains("S3c") && !told.contains("cr3t"),
                    "{secret}: {told}"
                );
                assert!(!format!("{written:?}").contains("S3c"));
            }
        }
    }
}

#[test]
fn the_list_of_settings_hides_passwords() {
    for (line, shown) in [
        (
            "redis-url = \"redis://u:S3cr3t@a/0\"",
            "redis-url = \"redis://u:(hidden)@a/0\"  # file",
        ),
        (
            "redis-url = \"redis+sentinel://:S3@cr3t@a,b/m\"",
            "redis-url = \"redis+sentinel://:(hidden)@a,b/m\"  # file",
        ),
        (
            "redis-url = \"unix:///a?db=1&password=S3cr3t\"",
            "redis-url = \"unix:///a?db=1&password=(hidden)\"  # file",
        ),
        (
            "redis-url = \"redis://u@a\"",
            "redis-url = \"redis://u@a\"  # file",
        ),
        (
            "redis-url = \"redis://u@a\"",
            "backend = \"redis\"  # because redis-url is set",
        ),
        (
            "backend = \"redis\"\nredis-password = \"S3cr3t\"",
            "redis-password = \"(hidden)\"  # file",
        ),
        ("", "# call-timeout = \"10s\"  # default"),
        (
            "backend = \"redis\"\nlegacy-provider = \"oidc=b,oauth2=d\"",
            "legacy-provider = [\"oidc=b\", \"oauth2=d\"]  # file",
        ),
    ] {
        let written = from_toml(line);
        let list = written.listed(&written.clone().resolve().unwrap());
        assert!(list.lines().any(|line| line == shown), "{list}");
        assert!(!list.contains("S3") && !list.contains("cr3t"), "{list}");
    }
}
