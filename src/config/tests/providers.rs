//! The tables of providers.

use std::{fs, time::Duration};

use testkit::private_file::write_private;

use crate::{
    config::{
        Config, Problem, Settings, listed_presets, providers::presets, settings::of_a_provider,
    },
    refresh::provider::{Authentication, FileSetting, NOT_REDEEMED, ProviderOptions, Rotation},
};

fn resolved(text: &str) -> Result<Config, Vec<String>> {
    let told = |problems: Vec<Problem>| problems.iter().map(ToString::to_string).collect();
    Settings::from_toml(text, "file").resolve().map_err(told)
}

fn provider(lines: &str) -> ProviderOptions {
    let config = resolved(&format!("[providers.a]\n{lines}")).unwrap();
    let found = config
        .tenant()
        .unwrap()
        .rules
        .providers
        .iter()
        .next()
        .unwrap();
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
    assert_eq!(
        resolved("")
            .unwrap()
            .tenant()
            .unwrap()
            .rules
            .providers
            .iter()
            .count(),
        0
    );
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
            "providers.a.margin: must be a span of time from 1ms to 100 years, like 500ms, 10s or 30days",
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

/// One mistake hides no other one, and begets none.
#[test]
fn mistakes_in_several_places_are_told_at_once() {
    let text = "listen = \"nowhere\"\nredis-ulr = \"redis://a\"\n[providers.a]\nclient-ide = \"c\"\n\
                [providers.b]\nissuer = \"https://b.example\"\nclient-authentication = \"none\"\n\
                [providers.c]\npreset = \"githup\"\nclient-id = \"c\"\n\
                [providers.d]\nissuer = \"https://d.example\"\nclient-id = \"d\"\nmargin = \"soon\"\n\
                client-secret-file = \"/no/such\"\n";
    let found = resolved(text).unwrap_err();
    let mut names: Vec<_> = found
        .iter()
        .map(|told| told.split(':').next().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "config",
            "listen",
            "providers.a.client-ide",
            "providers.b.client-id",
            "providers.c.preset",
            "providers.d.client-secret-file",
            "providers.d.margin",
        ],
        "{found:#?}"
    );
}

#[test]
fn hints_that_help() {
    for (lines, told) in [
        (
            "client-secret = { file = \"x\" }\n",
            "settings are not grouped in tables: write client-secret-file = ...",
        ),
        (
            "rotation = \"grace\"\ngrace = \"500ms\"\n",
            "must be a span of time from 1s to 100 years, like 10s, 5m or 30days",
        ),
        (
            "ca-file = \"no-such-file\"\n",
            "no such file; a path that doesn't begin with / counts from the directory",
        ),
    ] {
        let found = wrong(&format!("{LEAST}{lines}"));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].contains(told), "{found:#?}");
    }
}

#[test]
fn a_secret_in_quotation_marks_is_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    let base = "[providers.a]\nissuer = \"https://idp.example\"\nclient-id = \"c\"\n";
    for (secret, count) in [("\"s3cr3t\"\n", 1), ("'s3cr3t'", 1), ("s3\"cr3t\"", 0)] {
        fs::write(&file, secret).unwrap();
        let config = resolved(&format!("{base}client-secret-file = {file:?}\n")).unwrap();
        let told: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
        let about = told.iter().filter(|told| {
            told.starts_with("providers.a.client-secret-file: is in quotation marks")
        });
        assert_eq!(about.count(), count, "{told:#?}");
        assert!(!told.concat().contains("s3cr3t"), "{told:#?}");
    }
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
            "providers.a.ca-file: no such file",
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
            "providers.a.client-secret-env: no variable of this name is set",
        ),
    ] {
        let found = wrong(&format!("{secret}{lines}"));
        assert_eq!(found.len(), 1, "{lines}: {found:#?}");
        assert!(found[0].contains(told), "{found:#?}");
    }
}

/// Somebody may write the secret itself where its file or variable belongs.
#[test]
fn what_is_wrong_with_a_file_names_its_setting_and_never_quotes_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        write_private(&dir.path().join(name), text);
        format!("{:?}", dir.path().join(name))
    };
    let (blank, twice) = (
        file("blank", " s3cr3t\n"),
        file("twice", "s3cr3t\ns3cr3t\n"),
    );
    let proxy = "client-authentication = \"none\"\nproxy = \"http://a:1\"\n";
    for (lines, setting) in [
        (
            "client-secret-file = \"s3cr3t\"\n".to_owned(),
            "client-secret-file",
        ),
        (
            format!("client-secret-file = {blank}\n"),
            "client-secret-file",
        ),
        (
            format!("client-secret-file = {twice}\n"),
            "client-secret-file",
        ),
        (
            "client-secret-env = \"s3cr3t\"\n".to_owned(),
            "client-secret-env",
        ),
        (
            "private-key-file = \"s3cr3t\"\n".to_owned(),
            "private-key-file",
        ),
        (format!("private-key-file = {twice}\n"), "private-key-file"),
        (
            format!("client-certificate-file = {twice}\nclient-certificate-key-file = {twice}\n"),
            "client-certificate-file",
        ),
        (
            "client-authentication = \"none\"\nca-file = \"s3cr3t\"\n".to_owned(),
            "ca-file",
        ),
        (
            format!("{proxy}proxy-credentials-file = \"s3cr3t\"\n"),
            "proxy-credentials-file",
        ),
        (
            format!("{proxy}proxy-credentials-file = {twice}\n"),
            "proxy-credentials-file",
        ),
    ] {
        let base = "issuer = \"https://idp.example\"\nclient-id = \"c\"\n";
        let found = wrong(&format!("{base}{lines}"));
        assert_eq!(found.len(), 1, "{lines}: {found:#?}");
        let begins = format!("providers.a.{setting}: ");
        assert!(found[0].starts_with(&begins), "{found:#?}");
        assert!(!found[0].contains("s3cr3t"), "{found:#?}");
    }
    let both = "client-certificate-file = \"s3cr3t\"\nclient-certificate-key-file = \"s3cr3t\"\n\
                ca-file = \"s3cr3t\"\n";
    let found = wrong(&format!("{LEAST}{both}").replace("\"none\"", "\"tls_client_auth\""));
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(
        found.iter().all(|told| told.contains(": no such file")),
        "{found:#?}"
    );
}

#[test]
fn what_is_written_in_the_wrong_place_is_told_with_the_right_one() {
    for (text, told) in [
        (
            "[provider.acme]\nissuer = \"https://a\"\n",
            "written [providers.acme]",
        ),
        ("[acme]\nclient-id = \"c\"\n", "written [providers.acme]"),
        (
            "[\"a.b\"]\nclient-id = \"c\"\n",
            "written [providers.\"a.b\"]",
        ),
        (
            "[providers.corp.okta]\nissuer = \"https://a\"\n",
            "providers.corp.okta: is not a setting of a provider (file, line 1); the name of a provider that has a dot is \
             in quotes, as in [providers.\"corp.okta\"]",
        ),
        (
            "[providers.\"a\\u0007b\"]\nissuer = \"https://a\"\n",
            "providers.\"a\\u{7}b\": is not the name of a provider: it must have 1 to 512 bytes, and no control character",
        ),
        (
            "[providers.\"a\\u0007b\"]\nx = 1\n",
            "providers.\"a\\u{7}b\".x: is not a setting",
        ),
    ] {
        let found = resolved(text).unwrap_err();
        assert!(found[0].contains(told), "{text}: {found:#?}");
        assert!(!found.concat().contains('\u{7}'), "{found:?}");
    }
}

#[test]
fn values_that_are_nearly_right_are_told_with_the_right_ones() {
    let grace = "rotation = \"grace\"\ntimeout = \"10s\"\n";
    for (lines, told) in [
        (
            "replay = \"always\"\n".to_owned(),
            "providers.a.replay: must be never, or unset",
        ),
        (
            "refused-codes = [\"X\"]\nmisconfigured-codes = [\"x\"]\n".to_owned(),
            "providers.a.refused-codes: names a code that is in misconfigured-codes too",
        ),
        (
            "misconfigured-codes = [\"x\"]\nnot-redeemed-codes = [\"x\"]\n".to_owned(),
            "providers.a.misconfigured-codes: names a code that is in not-redeemed-codes too",
        ),
        (
            format!("{grace}grace = \"9s\"\n"),
            "providers.a.grace: is shorter than timeout",
        ),
    ] {
        let found = wrong(&format!("{LEAST}{lines}"));
        assert_eq!(found.len(), 1, "{lines}: {found:#?}");
        assert!(found[0].starts_with(told), "{found:#?}");
    }
    provider(&format!("{LEAST}{grace}grace = \"10s\"\n"));
    for path in ["openid-configuration", "oauth-authorization-server/x"] {
        let lines = LEAST.replace(".example", &format!(".example/.well-known/{path}"));
        let found = wrong(&lines);
        let told = "providers.a.issuer: must be the issuer alone: leave out /.well-known/";
        assert!(found.len() == 1 && found[0].starts_with(told), "{found:#?}");
    }
}

#[test]
fn the_settings_of_files_are_settings() {
    for setting in [
        FileSetting::SECRET,
        FileSetting::SECRET_VARIABLE,
        FileSetting::KEY,
        FileSetting::CERTIFICATE,
        FileSetting::CERTIFICATE_KEY,
        FileSetting::AUTHORITIES,
        FileSetting::PROXY,
    ] {
        let name = setting.name();
        assert!(
            of_a_provider().iter().any(|known| known.name == name),
            "{name}"
        );
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
fn atlassian_refuses_a_token_as_others_refuse_a_client() {
    let lines = "preset = \"atlassian\"\nclient-id = \"c\"\nclient-authentication = \"none\"\n";
    assert_eq!(
        provider(lines).codes.refused,
        ["unauthorized_client".to_owned()].into()
    );
}

#[test]
fn the_table_counts_before_the_preset() {
    let base = "preset = \"github\"\nclient-id = \"c\"\nclient-authentication = \"none\"\n";
    let github = provider(base);
    assert!(github.kills_access_token);
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
fn statuses_of_the_operators_count_instead_of_the_usual_ones() {
    let statuses = |lines: &str| {
        let options = provider(&format!("{LEAST}{lines}"));
        options.codes.not_redeemed_statuses
    };
    assert_eq!(statuses(""), NOT_REDEEMED.into());
    assert_eq!(
        statuses("not-redeemed-statuses = [403, 502]\n"),
        [403, 502].into()
    );
    assert_eq!(statuses("not-redeemed-statuses = []\n"), [].into());
}

#[test]
fn what_came_out_says_where_it_comes_from() {
    let text = "[providers.hub]\npreset = \"github\"\nclient-id = \"c\"\nclient-authentication = \"none\"\n";
    let listed = Settings::from_toml(text, "file").listed_tables();
    for line in [
        "[providers.hub]\n",
        "client-id = \"c\"  # file\n",
        "client-authentication = \"none\"  # file\n",
        "kills-access-token = \"true\"  # preset\n",
        "# timeout = \"10s\"  # default\n",
    ] {
        assert!(listed.contains(line), "{listed}");
    }
    let implied = text.replace(
        "client-authentication = \"none\"",
        "private-key-file = \"k\"",
    );
    let listed = Settings::from_toml(&implied.replace("github", "gitlab"), "file").listed_tables();
    let line = "client-authentication = \"private_key_jwt\"  # because private-key-file is set\n";
    assert!(listed.contains(line), "{listed}");
    let warnings = resolved(&format!(
        "{}revoke-on-delete = true\n",
        text.replace("github", "google")
    ));
    let warnings = warnings.unwrap().warnings;
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].setting, "providers.hub.revoke-on-delete");
}

/// Nothing would be stored for such a provider, unless the tenant says that the older data of that name is the provider's own.
#[test]
fn no_provider_is_called_like_a_protocol() {
    for name in ["oidc", "oauth2"] {
        let table = format!("[providers.{name}]\n{LEAST}");
        for other in [
            "",
            "backend = \"redis\"\nlegacy-provider = [\"oidc=okta\"]\n",
        ] {
            let told = resolved(&format!("{other}{table}")).unwrap_err();
            let [told] = &told[..] else {
                panic!("{told:?}")
            };
            let expected = format!("providers.{name}: is called like a protocol");
            assert!(told.starts_with(&expected), "{told}");
        }
        let own = format!("backend = \"redis\"\nlegacy-provider = [\"{name}={name}\"]\n");
        resolved(&format!("{own}{table}")).unwrap();
    }
}
