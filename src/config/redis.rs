//! Turns the settings of Redis into the options of the store.

use std::path::PathBuf;

use super::{
    problem::Problems,
    redis_url::RedisUrl,
    settings::{
        DurabilitySettings, LinkSettings, RedisSettings, SentinelSettings, ServerOptions,
        WriteIsDone,
    },
};
use crate::{
    store::redis::{
        Access, Deployment, Durability, Largest, Password, RedisOptions, Spelling, Tls, TlsPart,
    },
    types::{Secret, read_secret},
};

/// A setting's name and its value.
type Named<T> = (&'static str, Option<T>);

/// The settings for the connections to one kind of server: to Redis itself, or to the sentinels.
struct Peer {
    password: Named<Password>,
    password_file: Named<PathBuf>,
    ca: Named<PathBuf>,
    cert: Named<PathBuf>,
    key: Named<PathBuf>,
    server_name: Named<String>,
}

/// Returns the options of the store. Adds to `problems` where settings contradict each other.
pub(super) fn options(
    redis: RedisSettings,
    sentinel: SentinelSettings,
    link: &LinkSettings,
    durability: &DurabilitySettings,
    spelling: Spelling,
    server: &ServerOptions,
    problems: &mut Problems,
) -> RedisOptions {
    let username = redis.redis_username.clone();
    let (url, peer) = redis.apart();
    let RedisUrl {
        mut deployment,
        mut access,
        password,
    } = url;
    if username.is_some() {
        if access.username.is_some() {
            let both = "the URL names a user too, and only one may be set";
            problems.add_together(
                RedisSettings::redis_username,
                &[RedisSettings::redis_url],
                both,
            );
        }
        access.username = username;
    }
    access.password = peer.password(password, problems);
    access.tls = peer.tls(access.tls, "a URL that begins with rediss", problems);
    match &mut deployment {
        Deployment::Sentinel { access: own, .. } => {
            sentinel.give(own, access.tls.as_ref(), problems);
        }
        Deployment::Standalone(_) | Deployment::Cluster { .. } => sentinel.refuse(problems),
    }
    RedisOptions {
        deployment,
        access,
        connections: link.redis_connections,
        connect_timeout: link.redis_connect_timeout,
        timeout: link.redis_timeout,
        failover_wait: link.redis_failover_wait,
        largest: Largest::for_messages(server.max_message_bytes),
        durability: durability.resolve(server.max_calls),
        spelling,
    }
}

impl RedisSettings {
    fn apart(self) -> (RedisUrl, Peer) {
        let peer = Peer {
            password: (Self::redis_password, self.redis_password),
            password_file: (Self::redis_password_file, self.redis_password_file),
            ca: (Self::redis_tls_ca, self.redis_tls_ca),
            cert: (Self::redis_tls_cert, self.redis_tls_cert),
            key: (Self::redis_tls_key, self.redis_tls_key),
            server_name: (Self::redis_tls_server_name, self.redis_tls_server_name),
        };
        (self.redis_url, peer)
    }
}

impl SentinelSettings {
    /// Fills in the sentinels' access. Whatever isn't set for their TLS is taken from `servers`.
    fn give(self, access: &mut Access, servers: Option<&Tls>, problems: &mut Problems) {
        let over_tls = self.redis_sentinel_tls.unwrap_or(servers.is_some());
        let inherited = Tls {
            server_name: None,
            ..servers.cloned().unwrap_or_default()
        };
        let base = over_tls.then_some(inherited);
        let (username, peer) = self.apart();
        access.username = username;
        access.password = peer.password(None, problems);
        access.tls = peer.tls(base, Self::redis_sentinel_tls, problems);
    }

    /// Adds a problem for each of these settings that is set although there are no sentinels.
    fn refuse(self, problems: &mut Problems) {
        let over_tls = self.redis_sentinel_tls.is_some();
        let (username, peer) = self.apart();
        let set = [
            (Self::redis_sentinel_username, username.is_some()),
            (Self::redis_sentinel_tls, over_tls),
            is_set(&peer.password),
            is_set(&peer.password_file),
            is_set(&peer.ca),
            is_set(&peer.cert),
            is_set(&peer.key),
            is_set(&peer.server_name),
        ];
        for (name, _) in set.iter().filter(|(_, is_set)| *is_set) {
            let url = RedisSettings::redis_url;
            problems.add_together(
                name,
                &[url],
                format!("has no effect: {url} names no sentinels, as redis+sentinel://... does"),
            );
        }
    }

    fn apart(self) -> (Option<String>, Peer) {
        let peer = Peer {
            password: (Self::redis_sentinel_password, self.redis_sentinel_password),
            password_file: (
                Self::redis_sentinel_password_file,
                self.redis_sentinel_password_file,
            ),
            ca: (Self::redis_sentinel_tls_ca, self.redis_sentinel_tls_ca),
            cert: (Self::redis_sentinel_tls_cert, self.redis_sentinel_tls_cert),
            key: (Self::redis_sentinel_tls_key, self.redis_sentinel_tls_key),
            server_name: (
                Self::redis_sentinel_tls_server_name,
                self.redis_sentinel_tls_server_name,
            ),
        };
        (self.redis_sentinel_username, peer)
    }
}

impl DurabilitySettings {
    fn resolve(&self, max_calls: usize) -> Durability {
        match self.durability {
            WriteIsDone::OnThePrimary => Durability::Primary,
            WriteIsDone::OnReplicas => Durability::Replicated {
                replicas: self.durability_replicas,
                timeout: self.durability_timeout,
                connections: self.durability_connections,
                // The other half of the calls is for reads.
                waiting: max_calls.div_ceil(2),
            },
        }
    }
}

impl Peer {
    fn password(&self, in_url: Option<Secret>, problems: &mut Problems) -> Password {
        let fixed = match (&self.password, in_url) {
            ((name, Some(_)), Some(_)) => {
                problems.add(name, "the URL has a password too, and only one may be set");
                Password::None
            }
            ((_, Some(password)), None) => password.clone(),
            ((_, None), in_url) => in_url.map_or(Password::None, Password::Fixed),
        };
        let (name, Some(path)) = &self.password_file else {
            return fixed;
        };
        if fixed != Password::None {
            problems.add(name, "another password is set too, and only one may be set");
        }
        if let Err(wrong) = read_secret(path) {
            let needed = "it must be the path of a file that holds the password";
            problems.add(name, format!("{wrong}; {needed}"));
        }
        Password::File(path.clone())
    }

    /// Returns how to use TLS. `base` has the value of each part that isn't set. If `base` is `None`,
    /// there is no TLS, and `needs` names the setting that would turn it on.
    fn tls(&self, base: Option<Tls>, needs: &str, problems: &mut Problems) -> Option<Tls> {
        let Some(base) = base else {
            let set = [
                is_set(&self.ca),
                is_set(&self.cert),
                is_set(&self.key),
                is_set(&self.server_name),
            ];
            for (name, _) in set.iter().filter(|(_, is_set)| *is_set) {
                let message = format!("has no effect without TLS: it needs {needs}");
                problems.add_together(name, &[RedisSettings::redis_url], message);
            }
            return None;
        };
        let identity = match (&self.cert, &self.key) {
            ((_, Some(cert)), (_, Some(key))) => Some((cert.clone(), key.clone())),
            ((_, None), (_, None)) => base.identity,
            ((set, Some(_)), (unset, None)) | ((unset, None), (set, Some(_))) => {
                problems.add(set, format!("needs {unset} too"));
                None
            }
        };
        let tls = Tls {
            ca: self.ca.1.clone().or(base.ca),
            identity,
            server_name: self.server_name.1.clone().or(base.server_name),
        };
        if let Err(problem) = tls.load() {
            problems.add(self.tls_setting(problem.part), problem.found);
        }
        Some(tls)
    }

    /// Returns the name of the setting for a part of TLS.
    fn tls_setting(&self, part: TlsPart) -> &'static str {
        match part {
            TlsPart::Authorities => self.ca.0,
            TlsPart::Certificate => self.cert.0,
            TlsPart::Key => self.key.0,
            TlsPart::ServerName => self.server_name.0,
        }
    }
}

fn is_set<T>((name, value): &Named<T>) -> (&'static str, bool) {
    (name, value.is_some())
}
