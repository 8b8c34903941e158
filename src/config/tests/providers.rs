//! The tables of providers.

use std::time::Duration;

use crate::{
    config::{Config, Problem, Settings, listed_presets, providers::presets},
    refresh::provider::{Authentication, ProviderOptions, Rotation},
};

fn resolved(text: &str) -> Result<Config, Vec<String>> {
    let told = |problems: Vec<Problem>| problems.iter().map(ToString::to_string).collect();
    Settings::from_toml(text, "file").resolve().map_err(told)
}

fn provider(lines: &str) -> ProviderOptions {
    let config = resolved(&format!("[providers.a]\n{lines}")).unwrap();
    let found = config.rules.providers.iter().next().unwrap();
    found.provider.options().clone()
}

/// Returns what is wrong with these lines.
fn wrong(lines: &str) -> Vec<String> {
    resolved(&format!("[providers.a]\n{lines}")).unwrap_err()
}

const LEAST: &str =
    "issuer = \"https://idp.example\"\nclient-id = \"c\"\nclient-authentication = \"none\"\n";

#[test]
fn the_least_that_a_provider_needs() {
    let least = provider(LEAST);
    assert_eq!(least.name.as_str(), "a");
    assert_eq!(least.rotation, Rotation::Strict);
    assert_eq!(least.rejected_interval, Duration::from_secs(60));
    assert!(matches!(least.authentication, Authentication::None));
    assert_eq!(resolved("").unwrap().rules.providers.iter().count(), 0);
}

#[test]
fn all_mistakes_are_told_with_their_names() {
    let found = wrong(
        "isuer = \"https://a\"\nmargin = \"soon\"\nclient-secret = \"hunter2\"\nlisten = \"a\"\n",
    );
    assert_eq!(
        found,
        [
            "providers.a.client-secret: is not a setting of a provider (file, line 4); a secret is never in the \
             table: set client-secret-file or client-secret-env",
            "providers.a.isuer: is not a setting of a provider (file, line 2); did you mean issuer?",
            "providers.a.listen: is not a setting of a provider (file, line 5); a key below the head of a table \
             belongs to the table: write listen above it",
        ]
    );
    let found =
        wrong("margin = \"soon\"\ntoken-endpoint = \"http://idp.example\"\nrotation = \"often\"\n");
    let names: Vec<_> = found
        .iter()
        .map(|told| told.split(':').next().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "providers.a.token-endpoint",
            "providers.a.rotation",
            "providers.a.margin",
            "providers.a.client-id",
            "providers.a.client-authentication"
        ],
        "{found:#?}"
    );
    assert!(resolved("providers = 3").unwrap_err()[0].starts_with("providers: must be tables"));
    let found = resolved("[providers]\nissuer = \"https://a\"\n").unwrap_err();
    assert!(
        found[0].starts_with("providers.issuer: must be a table"),
        "{found:?}"
    );
}

#[test]
fn what_has_no_effect_or_is_missing_is_told() {
    for (lines, told) in [
        ("grace = \"10s\"\n", "providers.a.grace: has no effect"),
        ("rotation = \"grace\"\n", "providers.a.grace: must be set"),
        (
            "tokens-within = \"user\"\n",
            "providers.a.tokens-within: must be a JSON pointer",
        ),
        (
            "private-key-id = \"k\"\n",
            "providers.a.private-key-id: has no effect",
        ),
        (
            "proxy-credentials-file = \"/f\"\n",
            "providers.a.proxy-credentials-file: has no effect",
        ),
        (
            "preset = \"githup\"\n",
            "providers.a.preset: must be one of ",
        ),
        (
            "not-redeemed-statuses = [200]\n",
            "providers.a.not-redeemed-statuses: must be an HTTP status",
        ),
        (
            "formerly = [\"https://old.example\"]\n",
            "providers.a.formerly: must be an issuer",
        ),
        (
            "ca-file = \"/no/such/file\"\n",
            "providers.a: /no/such/file can't be read",
        ),
    ] {
        let found = wrong(&format!("{LEAST}{lines}"));
        assert_eq!(found.len(), 1, "{lines}: {found:#?}");
        assert!(found[0].starts_with(told), "{found:#?}");
    }
    let secret = "issuer = \"https://idp.example\"\nclient-id = \"c\"\n";
    for (lines, told) in [
        (
            "client-authentication = \"client_secret_post\"\n",
            "client-secret-file: must be set",
        ),
        (
            "client-secret-file = \"/f\"\nclient-secret-env = \"V\"\n",
            "client-secret-file: client-secret-env is set too",
        ),
        (
            "client-authentication = \"private_key_jwt\"\n",
            "private-key-file: must be set",
        ),
        (
            "client-certificate-file = \"/f\"\n",
            "client-certificate-key-file: must be set",
        ),
        ("", "client-authentication: must be set"),
        (
            "client-secret-env = \"NO_SUCH_VARIABLE\"\n",
            "the variable NO_SUCH_VARIABLE is not set",
        ),
    ] {
        let found = wrong(&format!("{secret}{lines}"));
        assert_eq!(found.len(), 1, "{lines}: {found:#?}");
        assert!(found[0].contains(told), "{found:#?}");
    }
}

#[test]
fn each_preset_makes_a_provider() {
    for name in presets().keys() {
        let github = |issuer: &str| {
            format!(
                "preset = \"{name}\"\nclient-id = \"c\"\nclient-authentication = \"none\"\n{issuer}"
            )
        };
        let lines = github("");
        let found = resolved(&format!("[providers.a]\n{lines}"));
        if let Err(told) = found {
            assert_eq!(
                told,
                ["providers.a.issuer: must be set, or token-endpoint"],
                "{name}"
            );
            provider(&github("issuer = \"https://idp.example\"\n"));
        }
        assert!(listed_presets().contains(&format!("[{name}]\n")));
    }
    assert!(presets().len() >= 15);
}

#[test]
fn the_table_counts_before_the_preset() {
    let base = "preset = \"github\"\nclient-id = \"c\"\nclient-authentication = \"none\"\n";
    let github = provider(base);
    assert!(github.kills_access_token && github.codes.refused.contains("bad_refresh_token"));
    let own = provider(&format!(
        "{base}kills-access-token = false\nissuer = \"https://github.example\"\nrotation = \"none\"\n"
    ));
    assert!(!own.kills_access_token);
    assert_eq!(own.rotation, Rotation::None);
    // The preset's endpoint belongs to another server.
    assert!(own.endpoints.token.is_none(), "{:?}", own.endpoints);
    let xero = base.replace("github", "xero");
    assert_eq!(
        provider(&xero).rotation,
        Rotation::Grace(Duration::from_secs(1800))
    );
    assert_eq!(
        provider(&format!("{xero}rotation = \"strict\"\n")).rotation,
        Rotation::Strict
    );
}

#[test]
fn lists_and_pairs_are_read() {
    let options = provider(&format!(
        "{LEAST}scopes = [\"openid\", \"email\"]\nnot-redeemed-statuses = [502, \"504\"]\n\
         formerly = {{ \"https://old.example/?a=b\" = \"old\" }}\n"
    ));
    assert_eq!(options.scopes, ["openid", "email"]);
    assert!(options.codes.not_redeemed_statuses.contains(&502));
    assert_eq!(options.formerly[0].server, "https://old.example/?a=b");
    assert_eq!(options.formerly[0].client_id, "old");
}

#[test]
fn what_came_out_says_where_it_comes_from() {
    let text = "[providers.hub]\npreset = \"github\"\nclient-id = \"c\"\nclient-authentication = \"none\"\n";
    let listed = Settings::from_toml(text, "file").listed_providers();
    for line in [
        "[providers.hub]\n",
        "client-id = \"c\"  # file\n",
        "client-authentication = \"none\"  # file\n",
        "kills-access-token = \"true\"  # preset\n",
        "timeout = \"10s\"  # default\n",
    ] {
        assert!(listed.contains(line), "{listed}");
    }
    let warnings = resolved(&format!(
        "{}revoke-on-delete = true\n",
        text.replace("github", "google")
    ));
    let warnings = warnings.unwrap().warnings;
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].setting, "providers.hub.revoke-on-delete");
}
