use super::*;
use crate::{
    access::{Certificates, Credential, Role, Rpc, TokenSha256},
    types::{ProviderName, ProviderSet},
};

fn parse(text: &str) -> Result<Policy, Vec<String>> {
    let file = PolicyFile::new(
        "policy.toml".into(),
        ["a:b".parse().unwrap()].into(),
        Ways::all(),
    );
    let parsed = file.parse(&PolicyText::new(text.to_owned()));
    parsed.map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

/// SHA-256 of `abc`.
const HASH: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

#[test]
fn a_policy_with_everything() {
    let policy = parse(&format!(
        r#"
        [callers.auth]
        tenant = "a:b"
        roles = ["auth-server", "sidecar"]
        providers = "*"
        spiffe-ids = ["spiffe://prod.example/auth"]
        bearer-sha256 = ["{HASH}"]

        [callers."ns/web-proxy"]
        rpcs = ["AccessTokens/GetAccessToken"]
        providers = ["github", "corp-okta"]
        client-id = "web"
        require-client-binding = true
        dns-names = ["Web.Prod.Example"]
        uris = ["urn:web"]
        "#
    ))
    .unwrap();
    let (auth, credentials) = policy.caller("auth").unwrap();
    assert_eq!(auth.tenant.to_string(), "a:b");
    assert_eq!(auth.roles, [Role::AuthServer, Role::Sidecar]);
    assert_eq!(auth.reach.providers, ProviderSet::All);
    assert_eq!(auth.reach.client, None);
    assert!(credentials.contains(&Credential::Bearer(TokenSha256::of(b"abc"))));
    let (web, credentials) = policy.caller("ns/web-proxy").unwrap();
    let allowed: Vec<_> = web.allowed.iter().collect();
    assert_eq!(allowed, [Rpc::GetAccessToken]);
    let names = ["corp-okta", "github"].map(|name| ProviderName::new(name).unwrap());
    assert_eq!(web.reach.providers, ProviderSet::Named(names.into()));
    assert_eq!(web.reach.client, web.client_id);
    assert!(web.client_id.is_some());
    assert_eq!(
        credentials,
        [
            Credential::Uri("urn:web".to_owned()),
            Credential::Dns("web.prod.example".to_owned())
        ]
    );
}

/// All mistakes of a file are told, in the order of its lines, and none quotes a value.
#[test]
fn all_mistakes_are_told_together() {
    let text = r#"version = 1
[callers.one]
role = ["sidecar"]
roles = ["sidecars", "hunter2"]
rpcs = ["GetAccessToken", "TokenBroker/Gett", "hunter2"]
providers = "hunter2"
tenant = "c:d"
spiffe-ids = ["hunter2", "spiffe://prod.example", "spiffe://prod.example/a"]
uris = ["spiffe://prod.example/b", "hunter2"]
dns-names = ["*.example", "hunter2.", "a..b", "10.0.0.1"]
bearer-sha256 = ["hunter2"]
require-client-binding = true
[callers.two]
providers = ["*", ""]
client-id = 7
require-client-binding = "yes"
spiffe-ids = ["spiffe://prod.example/a", "spiffe://prod.example/c", "spiffe://prod.example/c"]
[callers.three]
roles = []
bearer-sha256 = ["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]
[callers."a b"]
roles = ["admin"]
providers = "*"
[two]
roles = ["admin"]
"#;
    let mistakes = parse(text).unwrap_err();
    assert!(
        mistakes.iter().all(|told| !told.contains("hunter2")),
        "{mistakes:#?}"
    );
    let expected = [
        "line 1: version is no key of a policy",
        "line 3: callers.one.role: is no key of a caller; did you mean roles?",
        "line 4: callers.one.roles: entry 1 must be one of auth-server, sidecar, admin; did you mean sidecar?",
        "line 4: callers.one.roles: entry 2 must be one of auth-server, sidecar, admin",
        "line 5: callers.one.rpcs: entry 1 must be an RPC, as in \"TokenBroker/Get\"; did you mean AccessTokens/GetAccessToken?",
        "line 5: callers.one.rpcs: entry 2 must be an RPC, as in \"TokenBroker/Get\"; did you mean TokenBroker/Get?",
        "line 5: callers.one.rpcs: entry 3 must be an RPC, as in \"TokenBroker/Get\"",
        "line 6: callers.one.providers: must be a list of names, or \"*\" for all providers",
        "line 7: callers.one.tenant: is not a tenant that this broker serves",
        "line 8: callers.one.spiffe-ids: entry 1 isn't a SPIFFE id: spiffe://<trust domain>/<path>, in the characters that SPIFFE allows",
        "line 8: callers.one.spiffe-ids: entry 2 names a trust domain and no workload: spiffe://<trust domain>/<path>",
        "line 9: callers.one.uris: entry 1 is a SPIFFE id: write it into spiffe-ids",
        "line 9: callers.one.uris: entry 2 must be a URI with its scheme, as it is written in the certificate",
        "line 10: callers.one.dns-names: entry 1 must be a whole name: a name matches itself alone, and no wildcard",
        "line 10: callers.one.dns-names: entry 2 must be a DNS name, without a dot at its end",
        "line 10: callers.one.dns-names: entry 3 must be a DNS name, without a dot at its end",
        "line 10: callers.one.dns-names: entry 4 is an IP address, and those of certificates don't count",
        "line 11: callers.one.bearer-sha256: must be the SHA-256 of a token, in 64 hexadecimal digits, and never the token itself",
        "line 12: callers.one.require-client-binding: needs client-id",
        "line 13: callers.two: must be allowed something: set roles or rpcs",
        "line 14: callers.two.providers: entry 1 is no name: for all providers write providers = \"*\"",
        "line 14: callers.two.providers: entry 2 must not be empty",
        "line 15: callers.two.client-id: must be a text",
        "line 16: callers.two.require-client-binding: must be true or false",
        "line 17: callers.two.spiffe-ids: has a value of callers.one too: a call with it would be that of two callers",
        "line 17: callers.two.spiffe-ids: has a value twice",
        "line 18: callers.three.providers: must be set: a list of names, or \"*\" for all providers",
        "line 19: callers.three.roles: must be a list of one or more texts",
        "line 20: callers.three.bearer-sha256: is the SHA-256 of no token, but of nothing or of a line break",
        "line 21: callers.\"a b\": the name must have 1 to 128 letters, digits and characters of . _ - / @ :",
        "line 24: two is no key of a policy; the table of a caller is written [callers.two]",
    ];
    let expected = expected.map(|told| format!("policy: {told}"));
    assert_eq!(mistakes, expected);
}

#[test]
fn a_file_without_callers_is_a_mistake() {
    for text in ["", "# nothing yet", "[callers]", "callers = {}"] {
        let told = parse(text).unwrap_err().concat();
        assert!(told.contains("there is no caller in it"), "{told}");
    }
    let told = parse("callers = 1").unwrap_err().concat();
    assert!(told.contains("callers must be tables"), "{told}");
    let told = parse("[callers.one\nhunter2").unwrap_err().concat();
    assert!(
        told.starts_with("policy: line 1: ") && !told.contains("hunter2"),
        "{told}"
    );
    let told = parse("[callers]\none = 1").unwrap_err().concat();
    assert!(told.contains("callers.one must be a table"), "{told}");
}

/// What nothing is known by is no caller.
#[test]
fn a_caller_must_be_known_by_something() {
    let text = "[callers.one]\nroles = [\"admin\"]\nproviders = \"*\"";
    let told = parse(text).unwrap_err().concat();
    assert!(told.contains("must be known by something"), "{told}");
}

/// A file that was cut off anywhere is no other policy, unless a whole line is missing.
#[test]
fn a_file_that_was_cut_off_within_a_line_gives_no_rights_that_it_does_not_give() {
    let whole = format!(
        "[callers.one]\nroles = [\"sidecar\"]\nproviders = [\"github\", \"okta\"]\nclient-id = \"web\"\n\
         require-client-binding = true\nbearer-sha256 = [\"{HASH}\"]\n"
    );
    let full = parse(&whole).unwrap();
    let (full, _) = full.caller("one").unwrap();
    for end in 0..whole.len() {
        if let Ok(policy) = parse(&whole[..end]) {
            let (cut, _) = policy.caller("one").unwrap();
            assert_eq!(cut, full, "{end}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("policy.toml");
    let file = PolicyFile::new(path.clone(), ["a:b".parse().unwrap()].into(), Ways::all());
    assert!(
        file.read()
            .unwrap_err()
            .to_string()
            .contains("can't be read")
    );
    std::fs::write(&path, b"\xff").unwrap();
    assert!(
        file.read()
            .unwrap_err()
            .to_string()
            .contains("is not UTF-8")
    );
    std::fs::write(&path, "[callers]").unwrap();
    let text = file.read().unwrap();
    assert_eq!(text.digest(), file.read().unwrap().digest());
    assert_eq!(format!("{text:?}"), "PolicyText(***)");
    let at = |path| PolicyFile::new(path, ["a:b".parse().unwrap()].into(), Ways::all());
    let device = at("/dev/zero".into()).read().unwrap_err().to_string();
    assert!(device.contains("must be a file"), "{device}");
    let large = std::fs::File::create(&path).unwrap();
    large.set_len((16 << 20) + 1).unwrap();
    let large = at(path).read().unwrap_err().to_string();
    assert!(large.contains("larger than"), "{large}");
}

/// The example of the page is a policy, and says what the page says.
#[test]
fn the_example_of_the_page_is_a_policy() {
    let page = include_str!("../../../docs/access.md");
    let (_, rest) = page.split_once("```toml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let policy = parse(example).unwrap();
    let names: Vec<_> = policy.callers().map(|caller| &*caller.name).collect();
    assert_eq!(names, ["auth", "web-proxy"]);
}

/// What of a policy has no effect here is told by caller and key, and no more of it than somebody would read.
#[test]
fn what_nobody_can_show_is_warned_of() {
    let text = format!(
        r#"
        [callers.auth]
        roles = ["auth-server"]
        providers = "*"
        spiffe-ids = ["spiffe://a.test/x", "spiffe://prod.test/x", "spiffe://b.test/x"]
        bearer-sha256 = ["{HASH}"]

        [callers.web]
        roles = ["sidecar"]
        providers = "*"
        uris = ["urn:web"]
        dns-names = ["web.test"]
        "#
    );
    let warned = |ways: Ways, text: &str| -> Vec<String> {
        let file = PolicyFile::new("policy.toml".into(), ["a:b".parse().unwrap()].into(), ways);
        let policy = file.parse(&PolicyText::new(text.to_owned())).unwrap();
        let warnings = file.warnings(&policy);
        warnings.iter().map(ToString::to_string).collect()
    };
    assert_eq!(warned(Ways::all(), &text), [""; 0]);
    let ways = Ways {
        certificates: Certificates::Vouched {
            client_ca: false,
            trust_domains: Some(["prod.test".to_owned()].into()),
            are_required: true,
        },
        bearer: true,
    };
    let found = warned(ways, &text);
    for (found, begins) in found.iter().zip([
        "policy: callers.auth.spiffe-ids: entries 1, 3 can't be used here: nobody vouches",
        "policy: callers.web.uris: entry 1 can't be used here: nobody vouches",
        "policy: callers.web.dns-names: entry 1 can't be used here: nobody vouches",
        "policy: callers.web: no call can be this caller's here",
    ]) {
        assert!(found.starts_with(begins), "{found}");
    }
    assert_eq!(found.len(), 4, "{found:?}");

    let nothing = Ways {
        certificates: Certificates::WithoutTls,
        bearer: false,
    };
    let many: String = (0..40)
        .map(|n| {
            format!(
                "[callers.c{n}]\nroles = [\"admin\"]\nproviders = \"*\"\nuris = [\"urn:{n}\"]\n"
            )
        })
        .collect();
    let found = warned(nothing, &many);
    assert_eq!(found.len(), 22);
    assert!(found[20].contains("60 further"), "{}", found[20]);
    assert!(
        found[21].contains("no caller can be known"),
        "{}",
        found[21]
    );
}
