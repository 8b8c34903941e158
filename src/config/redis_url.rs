//! The URL of Redis. Its scheme selects the topology.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use super::value::HIDDEN;
use crate::{
    store::redis::{Access, Address, Deployment, Tls},
    types::Secret,
};

/// The end of each message about an invalid URL.
const FORMS: &str = "it must be redis://[USER[:PASSWORD]@]HOST[:PORT][/DB], unix:///PATH, \
     redis+sentinel://[USER[:PASSWORD]@]HOST[:PORT][,HOST[:PORT]...]/MASTER[/DB] or \
     redis+cluster://[USER[:PASSWORD]@]HOST[:PORT][,HOST[:PORT]...]; rediss instead of redis for TLS";

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// The parts of a URL.
#[derive(Clone, Debug)]
pub(super) struct RedisUrl {
    /// The servers. The access of sentinels is left empty.
    pub deployment: Deployment,
    /// The user, the database, and whether the scheme asks for TLS.
    pub access: Access,
    /// The password, if the URL has one.
    pub password: Option<Secret>,
}

/// Returns whether a URL has a password, or `false` if the URL can't be parsed.
pub(super) fn has_password(url: &str) -> bool {
    RedisUrl::parse(url.trim()).is_ok_and(|url| url.password.is_some())
}

/// Returns a valid URL with its password hidden.
pub(super) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.trim().split_once("://") else {
        return HIDDEN.to_owned();
    };
    if let Some((path, query)) = rest.split_once('?') {
        let shown = query.split('&').map(|part| match part.split_once('=') {
            Some(("password", _)) => format!("password={HIDDEN}"),
            _ => part.to_owned(),
        });
        let shown: Vec<_> = shown.collect();
        return format!("{scheme}://{path}?{}", shown.join("&"));
    }
    let authority = rest.split('/').next().unwrap_or_default();
    let shown = authority.rsplit_once('@').and_then(|(login, hosts)| {
        let (user, _) = login.split_once(':')?;
        let path = &rest[authority.len()..];
        Some(format!("{scheme}://{user}:{HIDDEN}@{hosts}{path}"))
    });
    shown.unwrap_or_else(|| url.to_owned())
}

/// The parts of a URL after its scheme.
struct Authority<'a> {
    user: Option<String>,
    password: Option<String>,
    hosts: Vec<&'a str>,
    path: &'a str,
}

impl RedisUrl {
    /// Parses a URL.
    ///
    /// # Errors
    /// Returns what is wrong with the URL. The text quotes no part of it, because it may contain a
    /// password.
    pub fn parse(url: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("{what}; {FORMS}");
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("is not a URL"))?;
        if scheme == "unix" {
            return unix(rest).map_err(wrong);
        }
        let authority = Authority::parse(rest).map_err(wrong)?;
        let tls = scheme.starts_with("rediss").then(Tls::default);
        let (deployment, database) = match scheme {
            "redis" | "rediss" => authority.standalone(),
            "redis+sentinel" | "rediss+sentinel" => authority.sentinel(),
            "redis+cluster" | "rediss+cluster" => authority.cluster(),
            _ => Err("has an unknown scheme"),
        }
        .map_err(wrong)?;
        Ok(Self {
            deployment,
            access: Access {
                username: authority.user,
                database,
                tls,
                ..Access::default()
            },
            password: authority.password.and_then(Secret::new),
        })
    }
}

impl<'a> Authority<'a> {
    fn parse(rest: &'a str) -> Result<Self, &'static str> {
        // Without encoding, these characters of a password end it.
        if let Some((before, _)) = rest.rsplit_once('@')
            && before.contains(['/', '?', '#'])
        {
            return Err(
                "has a / or ? or # before the @: in a user or a password write %2F, %3F or %23, or set \
                 redis-password-file instead",
            );
        }
        if rest.contains("://") {
            return Err("has two schemes");
        }
        if rest.contains(['?', '#']) {
            return Err("has a query or a fragment");
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, "")))
        {
            Some((user, password)) => (decoded(user)?, decoded(password)?),
            None => (None, None),
        };
        Ok(Self {
            user,
            password,
            hosts: hosts.split(',').collect(),
            path,
        })
    }

    fn standalone(&self) -> Result<(Deployment, u16), &'static str> {
        let [host] = self.hosts[..] else {
            return Err("names several hosts of one server");
        };
        let deployment = Deployment::Standalone(address(host, REDIS_PORT)?);
        Ok((deployment, database(self.path)?))
    }

    fn sentinel(&self) -> Result<(Deployment, u16), &'static str> {
        let (master, database_part) = self.path.split_once('/').unwrap_or((self.path, ""));
        let master = decoded(master)?.ok_or("names no master, as in /mymaster")?;
        let sentinels = self.addresses(SENTINEL_PORT)?;
        let access = Access::default();
        let deployment = Deployment::Sentinel {
            sentinels,
            master,
            access,
        };
        Ok((deployment, database(database_part)?))
    }

    fn cluster(&self) -> Result<(Deployment, u16), &'static str> {
        if database(self.path)? != 0 {
            return Err("names a database, and a cluster has none but 0");
        }
        let seeds = self.addresses(REDIS_PORT)?;
        Ok((Deployment::Cluster { seeds }, 0))
    }

    fn addresses(&self, port: u16) -> Result<Vec<Address>, &'static str> {
        let addresses = self.hosts.iter().map(|host| address(host, port));
        let addresses: Vec<_> = addresses.collect::<Result<_, _>>()?;
        // The sentinels' votes are counted, so none may be named twice.
        let mut once = addresses.clone();
        once.sort_unstable();
        once.dedup();
        if once.len() < addresses.len() {
            return Err("names a host twice");
        }
        Ok(addresses)
    }
}

/// Parses `/PATH[?db=N][&user=NAME]`, what follows `unix://`.
fn unix(rest: &str) -> Result<RedisUrl, &'static str> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = decoded(path)?.filter(|path| path.starts_with('/'));
    let path = path.ok_or("names no socket by its absolute path")?;
    let (mut access, mut password) = (Access::default(), None);
    for part in query.split('&').filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            Some(("db", number)) => access.database = database(number)?,
            Some(("user", name)) => access.username = decoded(name)?,
            Some(("password", text)) => password = decoded(text)?,
            _ => return Err("has an unknown parameter"),
        }
    }
    Ok(RedisUrl {
        deployment: Deployment::Standalone(Address::Unix(PathBuf::from(path))),
        access,
        password: password.and_then(Secret::new),
    })
}

fn address(host: &str, default: u16) -> Result<Address, &'static str> {
    const WRONG: &str = "has an invalid host";
    let (name, port) = match host.strip_prefix('[') {
        Some(v6) => {
            let (name, port) = v6.split_once(']').ok_or(WRONG)?;
            (
                name,
                port.strip_prefix(':').or(port.is_empty().then_some("")),
            )
        }
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, Some("")),
        },
    };
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(WRONG);
    }
    let port = match port.ok_or(WRONG)? {
        "" if !host.ends_with(':') => default,
        port => port
            .parse()
            .ok()
            .filter(|&port| port > 0)
            .ok_or("has an invalid port")?,
    };
    Ok(Address::Tcp(name.to_owned(), port))
}

fn database(text: &str) -> Result<u16, &'static str> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse()
        .map_err(|_| "has a database that is not a number")
}

/// Decodes percent-encoding. Returns `None` if the text is empty.
fn decoded(text: &str) -> Result<Option<String>, &'static str> {
    let text = percent_decode_str(text).decode_utf8();
    let text = text.map_err(|_| "has percent-encoded bytes that are not UTF-8")?;
    Ok((!text.is_empty()).then(|| text.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp(host.to_owned(), port)
    }

    #[test]
    fn one_server() {
        let url = RedisUrl::parse("redis://broker:p%40ss@redis.internal:6380/3").unwrap();
        assert_eq!(
            url.deployment,
            Deployment::Standalone(tcp("redis.internal", 6380))
        );
        assert_eq!(url.access.username.as_deref(), Some("broker"));
        assert_eq!(url.password.as_ref().map(Secret::expose), Some("p@ss"));
        assert_eq!((url.access.database, url.access.tls), (3, None));
        let url = RedisUrl::parse("rediss://:p@[::1]").unwrap();
        assert_eq!(url.deployment, Deployment::Standalone(tcp("::1", 6379)));
        assert_eq!(
            (url.access.username, url.access.tls),
            (None, Some(Tls::default()))
        );
        let url = RedisUrl::parse("unix:///run/redis.sock?db=2&user=broker").unwrap();
        let socket = Address::Unix("/run/redis.sock".into());
        assert_eq!(url.deployment, Deployment::Standalone(socket));
        assert_eq!(url.access.database, 2);
    }

    #[test]
    fn sentinels() {
        let url = RedisUrl::parse("rediss+sentinel://u@a,b:1,[::1]:2/mymaster/4").unwrap();
        let Deployment::Sentinel {
            sentinels, master, ..
        } = url.deployment
        else {
            panic!("{:?}", url.deployment)
        };
        assert_eq!(sentinels, [tcp("a", 26379), tcp("b", 1), tcp("::1", 2)]);
        assert_eq!((master.as_str(), url.access.database), ("mymaster", 4));
        assert!(url.access.tls.is_some());
    }

    #[test]
    fn a_cluster() {
        let url = RedisUrl::parse("redis+cluster://a:7000,b").unwrap();
        let seeds = vec![tcp("a", 7000), tcp("b", 6379)];
        assert_eq!(url.deployment, Deployment::Cluster { seeds });
    }

    #[test]
    fn what_is_wrong_is_told_without_the_url() {
        for (url, told) in [
            ("localhost:6379", "not a URL"),
            ("http://:hunter2@redis", "scheme"),
            ("redis://", "host"),
            ("redis+cluster://redis://h:1", "two schemes"),
            ("redis://redis://h:1", "two schemes"),
            ("redis://a,b", "several"),
            ("redis://a:", "port"),
            ("redis://a:0", "port"),
            ("redis://a:66000", "port"),
            ("redis://[::1", "host"),
            ("redis://a/x", "database"),
            ("redis://a/0?x=hunter2", "query"),
            ("redis+sentinel://a", "master"),
            ("redis+sentinel://a/m/x", "database"),
            ("redis+cluster://a,,b", "host"),
            ("redis+sentinel://a,b,a:26379/m", "twice"),
            ("redis+cluster://a/1", "cluster"),
            ("unix://relative", "absolute"),
            ("unix:///a?hunter2=1", "parameter"),
        ] {
            let message = RedisUrl::parse(url).unwrap_err();
            assert!(message.contains(told), "{url}: {message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
}
