//! A URL of Redis is refused without a quote of it, or names servers that can be connected to. Its password is shown nowhere.

use token_broker::{
    config::{Config, Problem, Settings},
    store::redis::{Address, Deployment, Password},
};

use crate::input::{CANARY, planted, prints_nothing, quotes_nothing};

pub fn run(bytes: &[u8]) -> Option<()> {
    let url = str::from_utf8(bytes).ok()?;
    let settings =
        Settings::from_pairs([("backend", "redis"), ("redis-url", url)]).expect("known names");
    let config = match resolve(&settings, url) {
        Ok(config) => config,
        Err(problems) => {
            for problem in problems {
                quotes_nothing("a problem", &problem.to_string());
            }
            return Some(());
        }
    };
    let addresses = match &config.redis.deployment {
        Deployment::Standalone(address) => std::slice::from_ref(address),
        Deployment::Sentinel {
            sentinels, master, ..
        } => {
            assert!(!master.is_empty());
            sentinels
        }
        Deployment::Cluster { seeds } => seeds,
    };
    assert!(!addresses.is_empty());
    for address in addresses {
        match address {
            Address::Tcp(host, port) => {
                assert!(!host.is_empty() && *port > 0);
                assert!(!host.contains('@'), "a part of a login is taken for a host");
            }
            Address::Unix(path) => assert!(path.is_absolute()),
        }
    }
    // Elsewhere than in the password it may be shown.
    let is_password = matches!(&config.redis.access.password, Password::Fixed(password) if password.expose().contains(CANARY));
    if is_password && url.matches(CANARY).count() == 1 {
        quotes_nothing("the list of settings", &settings.listed(&config));
        prints_nothing("the configuration", &config.redis);
    }
    Some(())
}

fn resolve(settings: &Settings, url: &str) -> Result<Config, Vec<Problem>> {
    let mut resolved = settings.clone().resolve();
    // A message that quotes what stands before the @ if there is no host behind it.
    if let (true, Err(problems), Some((login, ""))) =
        (planted(), &mut resolved, url.rsplit_once('@'))
    {
        problems[0].message += login;
    }
    resolved
}
