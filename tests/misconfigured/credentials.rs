//! Passwords and users that Redis doesn't take.

use std::fs;

use testkit::{broker_process, deployment::Deployment, launch::Launch};

use super::{ends, secured, sentinels, start};

#[test]
fn a_password_is_wrong() {
    let (server, sentinels) = (secured().settings(), sentinels().settings());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    fs::write(&file, "hunter2\n").unwrap();
    let file = file.to_str().unwrap();
    let refused = "refuses the user or the password";
    ends(
        &server,
        &[("redis-password", Some("hunter2"))],
        "redis-password",
        refused,
    );
    let in_file = [
        ("redis-password", None),
        ("redis-password-file", Some(file)),
    ];
    ends(&server, &in_file, "redis-password-file", refused);
    ends(
        &server,
        &[("redis-password", None)],
        "redis-password-file",
        "asks for a password",
    );
    ends(
        &server,
        &[("redis-password-file", Some(file))],
        "redis-password-file",
        "only one may",
    );
    let gone = [
        ("redis-password", None),
        ("redis-password-file", Some("/nonexistent")),
    ];
    ends(&server, &gone, "redis-password-file", "no such file");
    let wrong = [("redis-sentinel-password", Some("hunter2"))];
    ends(&sentinels, &wrong, "redis-sentinel-password", refused);
    let none = [
        ("redis-sentinel-password", None),
        ("redis-sentinel-username", None),
    ];
    ends(
        &sentinels,
        &none,
        "redis-sentinel-password-file",
        "asks for a password",
    );
}

/// Without a password, a user logs in all the same, and has its own rights and not those of the default user.
#[test]
fn a_user_without_a_password_is_wrong() {
    let (server, sentinels) = (secured().settings(), sentinels().settings());
    let asks = "asks for a password of this user, and none is set";
    let none = [("redis-password", None)];
    ends(&server, &none, "redis-password-file", asks);
    let none = [("redis-sentinel-password", None)];
    ends(&sentinels, &none, "redis-sentinel-password-file", asks);

    let users = [
        "user default on nopass ~* &* +@all",
        "user limited on nopass ~* +@all -eval",
        "user secret on >hunter2 ~* +@all",
    ];
    let launch = Launch::default()
        .file("users.acl", users.join("\n") + "\n")
        .lines(["aclfile {dir}/users.acl"]);
    let server = launch.start();
    let (plain, limited) = (server.url(), server.url().replace("//", "//limited@"));
    let url = [("redis-url", Some(limited.as_str()))];
    ends(&[], &url, "redis-url", "permission");
    let beside = [
        ("redis-url", Some(plain.as_str())),
        ("redis-username", Some("limited")),
    ];
    ends(&[], &beside, "redis-username", "permission");
    let both = [("redis-url", Some(limited.as_str())), beside[1]];
    ends(&[], &both, "redis-username", "only one may be set");
    let secret = [beside[0], ("redis-username", Some("secret"))];
    ends(&[], &secret, "redis-password-file", asks);
    let unknown = [beside[0], ("redis-username", Some("nobody"))];
    ends(&[], &unknown, "redis-password-file", asks);
}

/// The setting that holds the password is at fault, whichever it is.
#[test]
fn a_wrong_password_in_the_url_is_the_urls_fault() {
    let refused = "refuses the user or the password";
    let launch = Launch::default().lines(["requirepass right"]);
    let server = launch.login("default", "right").start();
    let url = format!("redis://:hunter2@127.0.0.1:{}", server.port());
    ends(&[], &[("redis-url", Some(&url))], "redis-url", refused);

    let output = broker_process::program()
        .args(["--listen", "127.0.0.1:0"])
        .args(["--redis-timeout", "5s", "--redis-connect-timeout", "5s"])
        .env("TOKEN_BROKER_REDIS_URL", &url)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("token-broker: TOKEN_BROKER_REDIS_URL: "),
        "{said}"
    );
    assert!(
        said.contains(refused) && !said.contains("hunter2"),
        "{said}"
    );
}

/// The other commands that use Redis print the same message.
#[test]
fn every_command_says_so() {
    for command in ["migrate", "check"] {
        let wrong = [("redis-password", Some("hunter2"))];
        let (code, said) = start(command, &secured().settings(), &wrong);
        assert_eq!(code, 2, "{command}: {said}");
        assert!(
            said.starts_with("token-broker: redis-password: "),
            "{command}: {said}"
        );
    }
}
