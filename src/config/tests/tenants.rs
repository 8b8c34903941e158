//! The tables of tenants.

use std::time::Duration;

use crate::config::{Config, Problem, Settings};

fn resolved(text: &str) -> Result<Config, Vec<String>> {
    let told = |problems: Vec<Problem>| problems.iter().map(ToString::to_string).collect();
    Settings::from_toml(text, "file").resolve().map_err(told)
}

const TWO: &str = r#"
tenant = "acme:prod"
refresh-lifetime = "10days"
max-providers = 8

[tenants."acme:prod"]
max-providers = 4

[tenants."acme:prod".providers.idp]
issuer = "https://idp.example"
client-id = "prod"
client-authentication = "none"

[tenants."acme:test"]
refresh-lifetime = "1days"

[tenants."acme:test".providers.idp]
issuer = "https://idp.example"
client-id = "test"
client-authentication = "none"
"#;

#[test]
fn a_table_has_what_is_a_tenants_own_and_the_top_has_the_rest() {
    let config = resolved(TWO).unwrap();
    let [prod, test] = &config.tenants[..] else {
        panic!("{:?}", config.tenants);
    };
    let days = |days: u64| Duration::from_secs(days * 86_400);
    assert_eq!(prod.rules.tenant.to_string(), "acme:prod");
    assert_eq!(prod.rules.limits.providers, 4);
    assert_eq!(prod.rules.refresh_lifetime, days(10));
    assert_eq!(test.rules.limits.providers, 8);
    assert_eq!(test.rules.refresh_lifetime, days(1));
    for (tenant, client) in [(prod, "prod"), (test, "test")] {
        let provider = tenant.rules.providers.iter().next().unwrap();
        assert_eq!(provider.provider.options().client_id, client);
        assert_eq!(tenant.rules.providers.iter().count(), 1);
    }
    assert_eq!(
        config.tenant().unwrap().rules.tenant.to_string(),
        "acme:prod"
    );
}

#[test]
fn without_a_table_everything_is_of_the_one_tenant() {
    let config = resolved("tenant = \"a:b\"\nmax-providers = 3").unwrap();
    let [only] = &config.tenants[..] else {
        panic!("{:?}", config.tenants);
    };
    assert_eq!(only.rules.tenant.to_string(), "a:b");
    assert_eq!(only.rules.limits.providers, 3);
}

#[test]
fn a_mapping_of_older_data_is_that_of_one_tenant() {
    let text = "backend = \"redis\"\npolicy = \"/nowhere\"\n[legacy-provider]\noidc = \"okta\"\n[tenants.\"a:b\"]\n";
    let told = resolved(text).unwrap_err();
    assert!(
        told.iter()
            .any(|told| told.starts_with("legacy-provider: ")),
        "{told:?}"
    );
    let text = "backend = \"redis\"\n[tenants.\"a:b\".legacy-provider]\noidc = \"okta\"\n";
    let config = resolved(text).unwrap();
    assert_eq!(
        config.tenants[0].migration.legacy_provider.pairs().count(),
        1
    );
}

#[test]
fn mistakes_are_told_with_the_name_of_the_table() {
    let told = resolved(
        r#"
[providers.idp]
issuer = "https://idp.example"
client-id = "c"
client-authentication = "none"

[tenants."Acme"]
max-calls = 5
max-provider = 5

[tenants."a:b"]
allow-unmigrated = "perhaps"

[tenants."a:b".providers.idp]
isuer = "https://idp.example"
"#,
    )
    .unwrap_err();
    assert_eq!(
        told,
        [
            "tenants.\"Acme\".max-calls: is not a setting of a tenant (file, line 8); it is one of the whole process: \
             write it above all tables",
            "tenants.\"Acme\".max-provider: is not a setting of a tenant (file, line 9); did you mean max-providers?",
            "tenants.\"a:b\".providers.idp.isuer: is not a setting of a provider (file, line 15); did you mean issuer?",
        ]
    );
    let told = resolved(
        r#"
tenant = "c:d"

[providers.idp]
issuer = "https://idp.example"
client-id = "c"
client-authentication = "none"

[tenants."Acme"]

[tenants."a:b"]
max-row-bytes = 1000
max-token-bytes = 2000

[tenants."a:b".providers.idp]
issuer = "https://idp.example"
margin = "soon"
"#,
    )
    .unwrap_err();
    assert_eq!(
        told,
        [
            "providers: belong to a tenant: write [tenants.\"NAMESPACE:NAME\".providers.NAME]",
            "tenant: must be one of the tenants that have a table, as in [tenants.\"acme:prod\"]",
            "tenants.\"Acme\": must be written as namespace:name",
            "tenants.\"a:b\".max-token-bytes: must not be larger than max-row-bytes, which is 1000: a token is part of a row",
            "tenants.\"a:b\".providers.idp.margin: must be a span of time from 1ms to 100 years, like 500ms, 10s or 30days",
            "tenants.\"a:b\".providers.idp.client-id: must be set",
            "tenants.\"a:b\".providers.idp.client-authentication: must be set, or one of client-secret-file, \
             client-secret-env, private-key-file and client-certificate-file; a client without any has \"none\"",
        ]
    );
    let told = resolved("tenants = 3").unwrap_err();
    assert_eq!(
        told,
        ["tenants: must be tables, as in [tenants.\"acme:prod\"]"]
    );
}

#[test]
fn without_a_policy_the_tenant_of_all_calls_must_be_named() {
    let text = "[tenants.\"a:b\"]\n[tenants.\"c:d\"]\n";
    let told = resolved(text).unwrap_err();
    assert_eq!(
        told,
        ["tenant: must be set, or policy: without a policy all calls are about one tenant"]
    );
    let config = resolved(&format!("tenant = \"c:d\"\n{text}")).unwrap();
    assert_eq!(config.tenants.len(), 2);
    assert_eq!(config.tenant().unwrap().rules.tenant.to_string(), "c:d");
}

#[test]
fn what_came_out_is_listed_by_table() {
    let settings = Settings::from_toml(TWO, "file");
    let listed = settings.listed(&settings.clone().resolve().unwrap());
    let heads: Vec<_> = listed
        .lines()
        .filter(|line| line.starts_with('['))
        .collect();
    assert_eq!(
        heads,
        [
            "[tenants.\"acme:prod\"]",
            "[tenants.\"acme:prod\".providers.idp]",
            "[tenants.\"acme:test\"]",
            "[tenants.\"acme:test\".providers.idp]",
        ]
    );
    assert!(listed.contains("max-providers = \"4\"  # file"), "{listed}");
}

/// A problem has the name that the operator wrote, and is told once however many tenants have it from the top.
#[test]
fn what_stands_at_the_top_is_told_as_of_the_top() {
    const TWO: &str = "[tenants.\"a:b\"]\n[tenants.\"c:d\"]\n";
    let at_top = |text: &str| resolved(&format!("tenant = \"a:b\"\n{text}\n{TWO}")).unwrap_err();
    for (text, told) in [
        ("seal-keys = \"/no/such\"", "seal-keys: "),
        ("require-sealed = true", "require-sealed: needs seal-keys"),
        (
            "max-token-bytes = 2000\nmax-row-bytes = 1000",
            "max-token-bytes: must not be larger",
        ),
        (
            "vault-key = \"k\"",
            "vault-key: has no effect without vault-address",
        ),
        (
            "refresh-lifetime = \"soon\"",
            "refresh-lifetime: must be a span",
        ),
        (
            "idle-timeout = \"1s\"",
            "idle-timeout: must be longer than keepalive-interval",
        ),
    ] {
        let found = at_top(text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(told), "{found:?}");
    }
    let found = at_top("vault-address = \"https://vault.example\"");
    assert!(
        found
            .iter()
            .any(|told| told.starts_with("vault-key: must be set")),
        "{found:?}"
    );
    assert!(
        found.iter().all(|told| !told.contains("tenants.")),
        "{found:?}"
    );

    // What is wrong only together with a tenant's own value names both.
    let mixed = |top: &str, own: &str| {
        let text =
            format!("tenant = \"a:b\"\n{top}\n[tenants.\"a:b\"]\n{own}\n[tenants.\"c:d\"]\n");
        resolved(&text).unwrap_err()
    };
    for (top, own, told) in [
        (
            "",
            "seal-keys = \"/no/such\"",
            "tenants.\"a:b\".seal-keys: ",
        ),
        (
            "max-token-bytes = 2000",
            "max-row-bytes = 1000",
            "max-token-bytes: for tenants.\"a:b\": must not be",
        ),
        (
            "",
            "vault-address = \"https://v.example\"\nvault-token-file = \"/x\"",
            "tenants.\"a:b\".vault-key: must be set",
        ),
        (
            "max-message-bytes = 2048",
            "max-row-bytes = 1000000",
            "max-message-bytes: for tenants.\"a:b\": must be at least",
        ),
    ] {
        let found = mixed(top, own);
        assert!(
            found.iter().any(|found| found.starts_with(told)),
            "{told}: {found:?}"
        );
    }
}
