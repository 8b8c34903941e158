//! Which clients servers accept: any client, or the broker with the rights that `deploy/redis/`
//! gives it. Connections are plain TCP, or TLS with certificates on both sides.

use crate::{
    certificates::Certificates, deployment::Setting, launch::Launch, redis_server::RedisServer,
    sentinel::MASTER,
};

/// Which clients servers accept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// Whether users have passwords and only the rights that they need.
    pub acl: bool,
    /// Whether the broker and the servers use TLS. The test's own connections don't.
    pub tls: bool,
}

/// The users' passwords. They contain characters that a URL would have to escape.
pub const BROKER_PASSWORD: &str = "br0ker:p@ss/w%rd";
const ADMIN_PASSWORD: &str = "t3st:p@ss";
const REPLICA_PASSWORD: &str = "r3plica";
const SENTINEL_PASSWORD: &str = "s3ntinel";

/// The broker's user, as the documentation gives it to operators.
pub const BROKER_ACL: &str = include_str!("../../deploy/redis/broker.acl");
/// The broker's user at the sentinels, as the documentation gives it to operators.
pub const SENTINEL_ACL: &str = include_str!("../../deploy/redis/sentinel.acl");

/// The rights that Redis' own documentation gives to replicas and sentinels.
const REPLICA_RIGHTS: &str = "+psync +replconf +ping";
const SENTINEL_RIGHTS: &str = "allchannels +multi +slaveof +ping +exec +subscribe +config|rewrite \
    +role +publish +info +client|setname +client|kill +script|kill";

impl Security {
    /// Any client may do anything.
    pub const NONE: Self = Self {
        acl: false,
        tls: false,
    };
    /// Users with the least rights, over plain TCP.
    pub const ACL: Self = Self {
        acl: true,
        tls: false,
    };
    /// Users with the least rights, over TLS.
    pub const ALL: Self = Self {
        acl: true,
        tls: true,
    };

    /// Configures a server that holds data to accept only the right clients.
    pub fn of_server(self, mut launch: Launch) -> Launch {
        if self.acl {
            let users = [
                broker(BROKER_ACL),
                admin(),
                format!("user replica on >{REPLICA_PASSWORD} {REPLICA_RIGHTS}"),
                format!("user sentinel on >{SENTINEL_PASSWORD} {SENTINEL_RIGHTS}"),
            ];
            launch = with_users(launch, &users).lines([
                "masteruser replica".to_owned(),
                format!("masterauth {REPLICA_PASSWORD}"),
            ]);
        }
        self.tls(launch)
    }

    /// Configures a sentinel to accept only the right clients.
    pub fn of_sentinel(self, mut launch: Launch) -> Launch {
        if self.acl {
            launch = with_users(launch, &[broker(SENTINEL_ACL), admin()]).lines([
                format!("sentinel auth-user {MASTER} sentinel"),
                format!("sentinel auth-pass {MASTER} {SENTINEL_PASSWORD}"),
                "sentinel sentinel-user default".to_owned(),
                format!("sentinel sentinel-pass {ADMIN_PASSWORD}"),
            ]);
        }
        self.tls(launch)
    }

    /// Returns the port that brokers and servers use, which may differ from the test's.
    pub fn port(self, server: &RedisServer) -> u16 {
        if self.tls {
            server.second_port()
        } else {
            server.port()
        }
    }

    /// Returns the start of a URL, such as `rediss+cluster://broker@`.
    pub fn url_start(self, topology: &str) -> String {
        let s = if self.tls { "s" } else { "" };
        let user = if self.acl { "broker@" } else { "" };
        format!("redis{s}{topology}://{user}")
    }

    /// Returns the settings, besides the URL, by which a broker reaches these servers.
    pub fn settings(self, server: &RedisServer) -> Vec<Setting> {
        let mut settings = Vec::new();
        if self.acl {
            settings.push(("redis-password", BROKER_PASSWORD.to_owned()));
        }
        if self.tls {
            let file = |name| server.dir().join(name).to_str().unwrap().to_owned();
            settings.extend([
                ("redis-tls-ca", file("ca.pem")),
                ("redis-tls-cert", file("client.pem")),
                ("redis-tls-key", file("client.key")),
            ]);
        }
        settings
    }

    fn tls(self, launch: Launch) -> Launch {
        if !self.tls {
            return launch;
        }
        Certificates::shared()
            .files()
            .into_iter()
            .fold(launch, |launch, (name, text)| launch.file(name, text))
            .lines([
                "tls-port {second}",
                "tls-cert-file {dir}/server.pem",
                "tls-key-file {dir}/server.key",
                "tls-ca-cert-file {dir}/ca.pem",
                "tls-auth-clients yes",
                "tls-replication yes",
            ])
    }
}

/// Returns the broker's user, with rights on the tenants of the tests.
fn broker(acl: &str) -> String {
    let acl = acl.trim_end().replace("{prod:auth}", "{t-*:conf}");
    acl.replace(">CHANGE-ME", &format!(">{BROKER_PASSWORD}"))
}

fn admin() -> String {
    format!("user default on >{ADMIN_PASSWORD} ~* &* +@all")
}

fn with_users(launch: Launch, users: &[String]) -> Launch {
    launch
        .file("users.acl", users.join("\n") + "\n")
        .lines(["aclfile {dir}/users.acl"])
        .login("default", ADMIN_PASSWORD)
}
