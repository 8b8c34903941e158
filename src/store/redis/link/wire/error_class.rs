//! What an error means: whether the request was applied, and what helps. The table is in `docs/redis.md`.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::store::redis::Address;

/// What an error means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// Nothing was done: the server is a replica, and another server is the primary.
    Demoted,
    /// Nothing was done: the slot belongs to another node, for good. An empty host is that of the server that
    /// answered.
    Moved(Option<Address>),
    /// Nothing was done: the slot is moving to another node, and the keys are already there.
    Ask(Option<Address>),
    /// Nothing was done. A little later the request may succeed.
    Passing,
    /// Nothing was done: the primary has too few replicas (`min-replicas-to-write`).
    TooFewReplicas,
    /// Nothing was done. The request fails until an operator helps.
    Refused,
    /// Nothing was done. Every request over this connection fails.
    Unauthenticated,
    /// Nothing was done: a key holds a value of another type.
    WrongType,
    /// It is unknown whether anything was done: no answer came in time.
    Silent,
    /// It is unknown whether anything was done: the connection ended.
    Ended,
}

/// Texts of older servers, which answer `ERR` to a script whose command failed. The command's own answer is
/// somewhere in the text. All of these are answers to a script's first write, or to a read before it.
const IN_SCRIPT: [(&str, &str); 8] = [
    ("non local key", "TRYAGAIN"),
    ("READONLY", "READONLY"),
    ("OOM", "OOM"),
    ("MISCONF", "MISCONF"),
    ("NOREPLICAS", "NOREPLICAS"),
    ("MASTERDOWN", "MASTERDOWN"),
    ("CLUSTERDOWN", "CLUSTERDOWN"),
    ("WRONGTYPE", "WRONGTYPE"),
];

impl ErrorClass {
    /// Returns the class of `error`.
    pub fn of(error: &RedisError) -> Self {
        if error.is_timeout() {
            return Self::Silent;
        }
        let Some(code) = code(error) else {
            return match error.kind() {
                ErrorKind::AuthenticationFailed => Self::Unauthenticated,
                _ => Self::Ended,
            };
        };
        match code {
            "READONLY" | "MASTERDOWN" => Self::Demoted,
            "MOVED" => Self::Moved(redirection(error)),
            "ASK" => Self::Ask(redirection(error)),
            // `LATE` is the answer of a script of the broker's that arrived too late.
            "TRYAGAIN" | "CLUSTERDOWN" | "LOADING" | "BUSY" | "LATE" => Self::Passing,
            "NOREPLICAS" => Self::TooFewReplicas,
            "NOAUTH" | "WRONGPASS" => Self::Unauthenticated,
            "WRONGTYPE" => Self::WrongType,
            _ => Self::Refused,
        }
    }

    /// Whether the request surely changed nothing, so that any request may be sent again.
    pub fn is_not_applied(&self) -> bool {
        !matches!(self, Self::Silent | Self::Ended)
    }
}

/// Whether a command that failed in a script with this error fails in any state of the server: it is forbidden, or
/// doesn't exist.
pub fn is_impossible(text: &str) -> bool {
    !IN_SCRIPT.iter().any(|(mark, _)| text.contains(mark))
}

/// Returns the error code that Redis answered. Returns `None` if the error isn't an answer.
pub fn code(error: &RedisError) -> Option<&str> {
    let code = error.code()?;
    if error.kind() != ErrorKind::Server(ServerErrorKind::ResponseError) {
        return Some(code);
    }
    let text = error.detail().unwrap_or_default();
    let inner = IN_SCRIPT.iter().find(|(mark, _)| text.contains(mark));
    Some(inner.map_or(code, |(_, code)| code))
}

/// Returns the node that the answer names. Returns `None` if the node has no name yet (`?`): the nodes know its
/// address.
fn redirection(error: &RedisError) -> Option<Address> {
    let (node, _slot) = error.redirect_node()?;
    let (host, port) = node.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host == "?" {
        return None;
    }
    Some(Address::Tcp(host.to_owned(), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use redis::{RedisError, Value, parse_redis_value};

    use super::*;

    fn error(text: &str) -> RedisError {
        let bytes = format!("-{text}\r\n");
        match parse_redis_value(bytes.as_bytes()) {
            Ok(Value::ServerError(error)) => error.into(),
            other => panic!("{other:?}"),
        }
    }

    /// Tests each text as a server sends it: alone, in a script of Redis 7, and in a script of Redis 6.2.
    #[test]
    fn what_servers_write() {
        for (text, expected) in [
            (
                "READONLY You can't write against a read only replica.",
                ErrorClass::Demoted,
            ),
            (
                "READONLY You can't write against a read only replica. script: 5f2, on @user_script:1.",
                ErrorClass::Demoted,
            ),
            (
                "ERR Error running script (call to f_5f2): @user_script:1: @user_script: 1: -READONLY You \
                 can't write against a read only replica. ",
                ErrorClass::Demoted,
            ),
            (
                "ERR Error running script (call to f_5f2): @user_script:1: -OOM command not allowed when \
                 used memory > 'maxmemory'.",
                ErrorClass::Refused,
            ),
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                ErrorClass::Refused,
            ),
            (
                "MISCONF Redis is configured to save RDB snapshots",
                ErrorClass::Refused,
            ),
            (
                "NOREPLICAS Not enough good replicas to write. script: 5f2, on @user_script:1.",
                ErrorClass::TooFewReplicas,
            ),
            (
                "ERR Script attempted to access a non local key in a cluster node script: 5f2, on \
                 @user_script:9.",
                ErrorClass::Passing,
            ),
            (
                "TRYAGAIN Multiple keys request during rehashing of slot",
                ErrorClass::Passing,
            ),
            ("CLUSTERDOWN Hash slot not served", ErrorClass::Passing),
            ("LATE 1795712203000000", ErrorClass::Passing),
            (
                "LOADING Redis is loading the dataset in memory",
                ErrorClass::Passing,
            ),
            ("BUSY Redis is busy running a script.", ErrorClass::Passing),
            ("MASTERDOWN Link with MASTER is down", ErrorClass::Demoted),
            (
                "NOAUTH Authentication required.",
                ErrorClass::Unauthenticated,
            ),
            (
                "WRONGPASS invalid username-password pair",
                ErrorClass::Unauthenticated,
            ),
            (
                "NOPERM this user has no permissions to run the 'get' command",
                ErrorClass::Refused,
            ),
            ("ERR unknown command", ErrorClass::Refused),
            (
                "WRONGTYPE Operation against a key holding the wrong kind of value",
                ErrorClass::WrongType,
            ),
            (
                "MOVED 3999 127.0.0.1:6381",
                ErrorClass::Moved(Some(Address::Tcp("127.0.0.1".to_owned(), 6381))),
            ),
            (
                "ASK 3999 ::1:6381",
                ErrorClass::Ask(Some(Address::Tcp("::1".to_owned(), 6381))),
            ),
            (
                "MOVED 3999 redis-1.internal:6381",
                ErrorClass::Moved(Some(Address::Tcp("redis-1.internal".to_owned(), 6381))),
            ),
            (
                "MOVED 3999 :6381",
                ErrorClass::Moved(Some(Address::Tcp(String::new(), 6381))),
            ),
            ("MOVED 3999 ?:6381", ErrorClass::Moved(None)),
            ("MOVED 3999 nowhere", ErrorClass::Moved(None)),
        ] {
            let class = ErrorClass::of(&error(text));
            assert_eq!(class, expected, "{text}");
            assert!(class.is_not_applied(), "{text}: it is an answer");
        }
    }

    #[test]
    fn what_no_server_wrote() {
        let timeout = std::io::Error::from(std::io::ErrorKind::TimedOut);
        let ended = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        for (error, expected) in [(timeout, ErrorClass::Silent), (ended, ErrorClass::Ended)] {
            let class = ErrorClass::of(&RedisError::from(error));
            assert_eq!(class, expected);
            assert!(!class.is_not_applied());
        }
    }
}
