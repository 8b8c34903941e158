//! The settings that tell how Redis is reached.

use std::path::PathBuf;

use super::{Settings, Text, parse::Problems, redis_url::RedisUrl};
use crate::{
    store::redis::{Deployment, Durability, Password, RedisOptions, Tls},
    types::Secret,
};

/// The settings of a peer to a server, by their values and their names.
struct PeerSettings {
    password: Option<Text>,
    password_file: Option<Text>,
    ca: Option<Text>,
    cert: Option<Text>,
    key: Option<Text>,
    server_name: Option<Text>,
    /// What the names begin with.
    names: &'static str,
}

impl Problems {
    /// What the settings of Redis say; leaves nothing of them.
    pub(super) fn redis(&mut self, settings: &mut Settings) -> RedisOptions {
        let url = self.redis_url("redis-url", settings.redis_url.take());
        let peer = PeerSettings {
            password: settings.redis_password.take(),
            password_file: settings.redis_password_file.take(),
            ca: settings.redis_tls_ca.take(),
            cert: settings.redis_tls_cert.take(),
            key: settings.redis_tls_key.take(),
            server_name: settings.redis_tls_server_name.take(),
            names: "redis",
        };
        let RedisUrl {
            mut deployment,
            mut access,
            password,
        } = url;
        access.password = self.password(&peer, password);
        access.tls = self.tls(&peer, access.tls, "a URL that begins with rediss");
        self.sentinels(settings, &mut deployment, access.tls.as_ref());
        RedisOptions {
            deployment,
            access,
            connections: self.number(
                "redis-connections",
                settings.redis_connections.take(),
                "2",
                1..=64,
            ),
            connect_timeout: self.span(
                "redis-connect-timeout",
                settings.redis_connect_timeout.take(),
                "1s",
            ),
            timeout: self.span("redis-timeout", settings.redis_timeout.take(), "1s"),
            failover_wait: self.span(
                "redis-failover-wait",
                settings.redis_failover_wait.take(),
                "3s",
            ),
            durability: self.durability(settings),
        }
    }

    /// The peer to the sentinels, whose TLS is that of the servers as far as nothing else is said.
    fn sentinels(
        &mut self,
        settings: &mut Settings,
        deployment: &mut Deployment,
        servers: Option<&Tls>,
    ) {
        let peer = PeerSettings {
            password: settings.redis_sentinel_password.take(),
            password_file: settings.redis_sentinel_password_file.take(),
            ca: settings.redis_sentinel_tls_ca.take(),
            cert: settings.redis_sentinel_tls_cert.take(),
            key: settings.redis_sentinel_tls_key.take(),
            server_name: settings.redis_sentinel_tls_server_name.take(),
            names: "redis-sentinel",
        };
        let username = settings.redis_sentinel_username.take();
        let tls = settings.redis_sentinel_tls.take();
        let Deployment::Sentinel { access, .. } = deployment else {
            let first = [
                ("username", &username),
                ("tls", &tls),
                ("password", &peer.password),
                ("password-file", &peer.password_file),
                ("tls-ca", &peer.ca),
                ("tls-cert", &peer.cert),
                ("tls-key", &peer.key),
                ("tls-server-name", &peer.server_name),
            ];
            if let Some((name, _)) = first.iter().find(|(_, value)| value.is_some()) {
                self.add(
                    &format!("redis-sentinel-{name}"),
                    "is of no use: redis-url names no sentinels, as redis+sentinel://... does",
                );
            }
            return;
        };
        let over_tls = match tls {
            Some(tls) => self.boolean("redis-sentinel-tls", Some(tls)),
            None => servers.is_some(),
        };
        let inherited = Tls {
            server_name: None,
            ..servers.cloned().unwrap_or_default()
        };
        access.username = username.map(|Text(name)| name);
        access.password = self.password(&peer, None);
        access.tls = self.tls(&peer, over_tls.then_some(inherited), "redis-sentinel-tls");
    }

    fn password(&mut self, peer: &PeerSettings, in_url: Option<Secret>) -> Password {
        let file_setting = format!("{}-password-file", peer.names);
        let fixed = match (&peer.password, in_url) {
            (Some(_), Some(_)) => {
                let setting = format!("{}-password", peer.names);
                self.add(&setting, "the URL holds a password too: only one may");
                None
            }
            (Some(Text(password)), None) => Secret::new(password.clone()),
            (None, password) => password,
        };
        let Some(Text(path)) = &peer.password_file else {
            return fixed.map_or(Password::None, Password::Fixed);
        };
        if fixed.is_some() {
            self.add(
                &file_setting,
                "there is another password beside it: only one may",
            );
        }
        if let Err(error) = std::fs::read(path) {
            self.add(&file_setting, format!("can't be read: {error}"));
        }
        Password::File(PathBuf::from(path))
    }

    /// `base` is what holds where nothing is set; `None`: there is no TLS, and `needs` would have to
    /// say otherwise.
    fn tls(&mut self, peer: &PeerSettings, base: Option<Tls>, needs: &str) -> Option<Tls> {
        let setting = |name: &str| format!("{}-tls-{name}", peer.names);
        let Some(base) = base else {
            let set = [
                ("ca", &peer.ca),
                ("cert", &peer.cert),
                ("key", &peer.key),
                ("server-name", &peer.server_name),
            ];
            if let Some((name, _)) = set.iter().find(|(_, value)| value.is_some()) {
                self.add(
                    &setting(name),
                    format!("is of no use without TLS: needs {needs}"),
                );
            }
            return None;
        };
        let path = |text: &Option<Text>| text.as_ref().map(|Text(path)| PathBuf::from(path));
        let identity = match (path(&peer.cert), path(&peer.key)) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => base.identity,
            (Some(_), None) => {
                self.add(&setting("cert"), format!("needs {} too", setting("key")));
                None
            }
            (None, Some(_)) => {
                self.add(&setting("key"), format!("needs {} too", setting("cert")));
                None
            }
        };
        let tls = Tls {
            ca: path(&peer.ca).or(base.ca),
            identity,
            server_name: peer
                .server_name
                .as_ref()
                .map(|Text(name)| name.clone())
                .or(base.server_name),
        };
        if let Err(problem) = tls.load() {
            self.add(&setting(problem.part), problem.found);
        }
        Some(tls)
    }

    fn durability(&mut self, settings: &mut Settings) -> Durability {
        let replicas = self.number(
            "durability-replicas",
            settings.durability_replicas.take(),
            "1",
            1..=100,
        );
        let timeout = self.span(
            "durability-timeout",
            settings.durability_timeout.take(),
            "1s",
        );
        let connections = self.number(
            "durability-connections",
            settings.durability_connections.take(),
            "16",
            1..=1024,
        );
        let replicated = Durability::Replicated {
            replicas,
            timeout,
            connections,
        };
        self.choice(
            "durability",
            settings.durability.take(),
            "primary",
            &[("primary", Durability::Primary), ("replicated", replicated)],
        )
    }
}
