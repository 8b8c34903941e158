use std::{fs, time::Duration};

use super::{Settings, read, written::Source};

mod listed;
mod listen;
mod providers;
mod secrets;
mod tenants;
mod together;
mod traces;
mod traps;

fn from_toml(text: &str) -> Settings {
    Settings::from_toml(text, "broker.toml")
}

fn problems(text: &str) -> Vec<String> {
    let problems = from_toml(text).resolve().unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn a_file_writes_numbers_booleans_lists_and_tables() {
    let config = from_toml(
        r#"
        max-calls = 7
        insecure-allow-remote = true
        listen = "0.0.0.0:1"
        refresh-lifetime = "90days"
        redis-url = "redis://redis"
        [legacy-provider]
        oidc = "corp-okta"
        oauth2 = "github"
        "#,
    )
    .resolve()
    .unwrap();
    assert_eq!(config.server.max_calls, 7);
    assert_eq!(
        config.tenant().unwrap().rules.refresh_lifetime,
        Duration::from_secs(90 * 86_400)
    );
    assert_eq!(
        config
            .tenant()
            .unwrap()
            .migration
            .legacy_provider
            .pairs()
            .count(),
        2
    );
    for list in [
        r#"["oidc=corp-okta", "oauth2=github"]"#,
        r#""oidc=corp-okta,oauth2=github""#,
    ] {
        let list = from_toml(&format!("backend = \"redis\"\nlegacy-provider = {list}"));
        assert_eq!(
            list.resolve()
                .unwrap()
                .tenant()
                .unwrap()
                .migration
                .legacy_provider,
            config.tenant().unwrap().migration.legacy_provider
        );
    }
    let one = from_toml("backend = \"redis\"\nlegacy-provider = \"oidc=okta\"");
    let one = one.resolve().unwrap();
    let mapping = &one.tenant().unwrap().migration.legacy_provider;
    assert_eq!(mapping.pairs().count(), 1);
}

#[test]
fn a_flag_overrides_the_file() {
    let flags = Settings::from_pairs([("max-calls", "5")]).unwrap();
    let both = flags
        .or(from_toml("max-calls = 6\nmax-connections = 8"))
        .resolve()
        .unwrap();
    assert_eq!((both.server.max_calls, both.server.max_connections), (5, 8));
}

#[test]
fn every_mistake_is_reported_with_its_setting() {
    let told = problems(
        r#"
        listen = "localhost"
        backend = "etcd"
        tenant = "Default"
        redis-url = "http://:hunter2@redis"
        redis-connections = 0
        redis-timeout = "fast"
        redis-password-file = "/nonexistent"
        legacy-provider = ["oidc", "oauth2=a", "oauth2=b"]
        log-level = "loud"
        idle-timeout = "10s"
        allow-unmigrated = "maybe"
        "#,
    );
    for setting in [
        "listen",
        "backend",
        "tenant",
        "redis-url",
        "redis-connections",
        "redis-timeout",
        "redis-password-file",
        "legacy-provider",
        "log-level",
        "idle-timeout",
        "allow-unmigrated",
    ] {
        let named = told
            .iter()
            .filter(|problem| problem.starts_with(&format!("{setting}: ")));
        let expected = if setting == "legacy-provider" { 2 } else { 1 };
        assert_eq!(named.count(), expected, "{setting} in {told:#?}");
    }
    assert_eq!(told.len(), 12, "{told:#?}");
    assert!(!told.concat().contains("hunter2"));
}

#[test]
fn only_loopback_is_served_by_default() {
    for open in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1"] {
        assert_eq!(problems(&format!("listen = {open:?}")).len(), 1, "{open}");
    }
    for loopback in ["127.0.0.1:0", "127.8.8.8:1", "[::1]:1"] {
        assert!(
            from_toml(&format!("listen = {loopback:?}"))
                .resolve()
                .is_ok(),
            "{loopback}"
        );
    }
}

#[test]
fn a_mistake_in_the_file_is_reported_by_line_without_quoting_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("broker.toml");
    fs::write(&path, "listen = \"127.0.0.1:0\"\nredis-url = hunter2\n").unwrap();
    let told = read(&path).resolve().unwrap_err()[0].to_string();
    assert!(
        told.contains("line 2") && !told.contains("hunter2"),
        "{told}"
    );
}

#[test]
fn all_unknown_keys_are_told_at_once_with_the_nearest_name() {
    let told = problems(
        r#"
        lissten = 1
        redis_url = "redis://:hunter2@a"
        call-timeout = "never"
        colour = "red"
        [redis]
        url = "redis://:hunter2@a"
        [server]
        port = 1
        "#,
    );
    let config = "config: broker.toml, line";
    assert_eq!(
        told,
        [
            &*format!("{config} 2: lissten is not a setting; did you mean listen?"),
            &format!("{config} 3: redis_url is not a setting; did you mean redis-url?"),
            &format!("{config} 5: colour is not a setting"),
            &format!(
                "{config} 6: redis is not a setting; settings are not grouped in tables: write \
                 redis-url = ... above all tables"
            ),
            &format!("{config} 8: server is not a setting; settings are not grouped in tables"),
            "call-timeout: must be a span of time from 10ms to 100 years, like 500ms, 10s or 30days",
        ]
    );
}

/// A secret may stand where a name should.
#[test]
fn an_unknown_key_that_may_be_a_secret_is_not_quoted() {
    for secret in [
        "QhZFYVFm9ODMY1q0zcjqbCwNwhlMVmNk",
        "\"p@ss w0rd of the redis\"",
        "0f5b2c1de7a9b1e6a6c0d8f9e4a7b3c2",
    ] {
        for text in [
            format!("{secret} = 1"),
            format!("[{secret}]\nurl = 1"),
            format!("[providers.p]\n{secret} = 1"),
            format!("[providers.p.{secret}]\nx = 1"),
            format!("[tenants.\"a:b\"]\n{secret} = 1"),
        ] {
            let told = problems(&text).join("\n");
            assert!(told.contains("it may be a secret"), "{told}");
            assert!(!told.contains(&secret[1..14]), "{told}");
        }
    }
}

#[test]
fn a_value_of_another_type_is_told_with_its_setting() {
    for (line, told) in [
        (
            "max-calls = 1.5",
            "max-calls: must be a text, a whole number or a boolean",
        ),
        (
            "redis-url = [\"a\"]",
            "redis-url: must be a text, a whole number or a boolean",
        ),
        (
            "tenant = 1979-05-27",
            "tenant: must be a text, a whole number or a boolean",
        ),
        (
            "legacy-provider = [[\"okta\"]]",
            "legacy-provider: must be a list of texts",
        ),
        (
            "legacy-provider = { oidc = 1 }",
            "legacy-provider: must be a table of texts; a name that has a dot is in quotes, as in \"prod.example\" = ...",
        ),
    ] {
        let problems = problems(line);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with(told), "{problems:?}");
        assert!(
            problems[0].ends_with("(broker.toml, line 1)"),
            "{problems:?}"
        );
    }
    let told =
        problems("backend = \"redis\"\n[legacy-provider]\noidc = \"okta\"\nlog-level = \"debug\"");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with("legacy-provider: has an entry log-level, which is a setting"),
        "{told:?}"
    );
}

#[test]
fn a_problem_names_its_setting_by_the_way_it_was_given() {
    let mut settings = from_toml("call-timeout = 1");
    settings.set("max-calls", vec!["many".to_owned()], Source::Flag);
    settings.set("redis-url", vec!["a".to_owned()], Source::Variable);
    let problems = settings.resolve().unwrap_err();
    let mut names: Vec<_> = problems
        .iter()
        .filter_map(|problem| problem.given_as.as_deref())
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["--max-calls", "TOKEN_BROKER_REDIS_URL", "call-timeout"]
    );
}

#[test]
fn a_full_row_fits_into_a_message() {
    assert!(from_toml("max-row-bytes = 260000").resolve().is_ok());
    assert_eq!(problems("max-row-bytes = 262144").len(), 1);
}

#[test]
fn settings_are_made_of_pairs() {
    let pairs = [
        ("backend", "redis"),
        ("legacy-provider", "oidc=okta,oauth2=slack"),
        ("max-calls", "1"),
    ];
    let settings = Settings::from_pairs(pairs.into_iter().chain([("max-calls", "2")])).unwrap();
    let config = settings.resolve().unwrap();
    assert_eq!(
        config
            .tenant()
            .unwrap()
            .migration
            .legacy_provider
            .pairs()
            .count(),
        2
    );
    assert_eq!(config.server.max_calls, 2);
    let problem = Settings::from_pairs([("max-cals", "1")]).unwrap_err();
    assert_eq!(problem.to_string(), "max-cals: is not a setting");
}

#[test]
fn no_password_prints() {
    let written = Settings::from_pairs([("redis-password", "hunter2")]).unwrap();
    assert_eq!(format!("{written:?}"), r#"{"redis-password"}"#);
    let config = from_toml(r#"redis-url = "redis://broker:hunter2@redis:6379/3""#);
    assert!(!format!("{:?}", config.resolve().unwrap()).contains("hunter2"));
}
