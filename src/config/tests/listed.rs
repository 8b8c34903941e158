//! What `--check-config` prints is a file that says the same.

use super::from_toml;

const NO_SECRET: &str = "client-id = \"c\"\nclient-authentication = \"none\"\n";

/// Returns the settings, without where they come from.
fn values(list: &str) -> Vec<&str> {
    let lines = list.lines();
    let values = lines.map(|line| line.split_once("  # ").map_or(line, |(value, _)| value));
    // A default says where it comes from by being a comment.
    values.filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn what_came_out_can_be_fed_back() {
    let of_a_tenant = "tenant = \"a:b\"\n[tenants.\"a:b\"]\nmax-providers = 4\n";
    for text in [
        "",
        "backend = \"redis\"\nlegacy-provider = \"oidc=b,oauth2=d\"\n",
        "redis-url = \"redis://u@a\"\nlisten = \"unix:/run/a.sock\"\ncall-timeout = \"7s\"\n",
        &format!("[providers.hub]\npreset = \"github\"\n{NO_SECRET}"),
        &format!("{of_a_tenant}[tenants.\"a:b\".providers.hub]\npreset = \"google\"\n{NO_SECRET}"),
    ] {
        let listed = |text: &str| {
            let written = from_toml(text);
            let config = written.clone().resolve();
            written.listed(&config.unwrap_or_else(|problems| panic!("{text}: {problems:?}")))
        };
        let list = listed(text);
        assert_eq!(values(&listed(&list)), values(&list), "{text}");
    }
}
