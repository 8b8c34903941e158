//! Why there is no connection: either for a reason that may pass, or because a setting is wrong.

use std::{error::Error, io};

use redis::{ErrorKind, RedisError};
use tokio_rustls::rustls;

use super::{AtFault, Connector};
use crate::store::redis::{Address, Password, Spelling};

/// Why there is no connection. The text names servers, files and settings, but never a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found}")]
pub struct ConnectError {
    /// The setting that is wrong. `None` means that no setting is known to be wrong, and trying again may
    /// help.
    pub at_fault: Option<AtFault>,
    /// What was found.
    pub found: String,
    /// Whether the server merely didn't answer. Then a second look may find a better reason.
    pub(super) is_silence: bool,
}

impl ConnectError {
    /// Returns what was found. If a setting is wrong, its name comes first, as `spelling` has it.
    #[must_use]
    pub fn explain(&self, spelling: &Spelling) -> String {
        match self.at_fault {
            Some(at_fault) => format!("{}: {self}", spelling.name(at_fault)),
            None => self.to_string(),
        }
    }

    /// Returns an error that may pass.
    pub fn passing(found: impl Into<String>) -> Self {
        Self {
            at_fault: None,
            found: found.into(),
            is_silence: false,
        }
    }

    /// Returns an error for a server that accepts connections but doesn't answer.
    pub(super) fn silence(found: impl Into<String>) -> Self {
        Self {
            is_silence: true,
            ..Self::passing(found)
        }
    }

    /// Returns an error that passes only when the setting is changed, or the server is.
    pub fn of(at_fault: AtFault, found: impl Into<String>) -> Self {
        Self {
            at_fault: Some(at_fault),
            found: found.into(),
            is_silence: false,
        }
    }

    /// Returns the error for a failed TLS handshake.
    pub(super) fn at_handshake(
        connector: &Connector,
        address: &Address,
        error: &io::Error,
    ) -> Self {
        match rustls_error(error) {
            Some(error) => Self::of_tls(connector, address, error),
            None if error.kind() == io::ErrorKind::UnexpectedEof => Self::silence(format!(
                "{address}: the connection ended in the TLS handshake"
            )),
            None => Self::passing(format!("{address}: {error}")),
        }
    }

    /// Returns the error for an alert that the server sent after the handshake. Returns `None` if it sent
    /// none.
    pub(super) fn of_alert(
        connector: &Connector,
        address: &Address,
        error: &io::Error,
    ) -> Option<Self> {
        Some(Self::of_tls(connector, address, rustls_error(error)?))
    }

    /// Returns the error for a failed login.
    pub(super) fn at_login(connector: &Connector, address: &Address, error: &RedisError) -> Self {
        match error.code() {
            Some("WRONGPASS") => {
                let found = match (&connector.access.password, &connector.access.username) {
                    (Password::None, Some(_)) => {
                        "asks for a password of this user, and none is set, or the user is disabled"
                    }
                    _ => "refuses the user or the password, or the user is disabled",
                };
                Self::of(connector.password_setting(), format!("{address} {found}"))
            }
            Some("NOAUTH") => {
                let found = match connector.access.password {
                    Password::None => "asks for a password, and none is set",
                    _ => "accepts neither user nor password",
                };
                Self::of(connector.password_setting(), format!("{address} {found}"))
            }
            Some("NOPERM") => Self::of(
                connector.user_setting(),
                format!("{address}: the user may not log in: {}", text(error)),
            ),
            Some("ERR") if text(error).contains("DB index") => Self::of(
                AtFault::Url,
                format!("{address} has no database {}", connector.access.database),
            ),
            Some("ERR") if is_unknown(error, "SELECT") => Self::of(
                AtFault::Url,
                format!(
                    "{address} knows no SELECT: the command is renamed, and the URL names a database"
                ),
            ),
            // The client keeps the text of a refused SELECT, and not its code.
            Some("ERR") if text(error).contains("has no permissions") => Self::of(
                connector.user_setting(),
                format!("{address}: the user may not log in: {}", text(error)),
            ),
            // Redis' text continues with the command's arguments. A password is among them.
            Some("ERR") if text(error).contains("unknown command") => Self::of(
                AtFault::Url,
                format!(
                    "{address} knows no HELLO: it is older than Redis 6.2, or the command is renamed"
                ),
            ),
            Some("ERR") if text(error).contains("AUTH") => Self::of(
                connector.password_setting(),
                format!("{address} has no password, and one is set"),
            ),
            Some("NOPROTO") => Self::of(AtFault::Url, format!("{address} speaks no RESP3")),
            Some("DENIED") => Self::of(
                AtFault::Url,
                format!(
                    "{address} is in protected mode: it has no password, and accepts only connections from its \
                     own machine; set a password there (requirepass, or an ACL user) and here"
                ),
            ),
            Some("ERR") if text(error).contains("max number of clients") => Self::passing(format!(
                "{address} has as many connections as it allows (maxclients)"
            )),
            Some("LOADING") => Self::passing(format!("{address} is still loading its data")),
            Some(code) => Self::passing(format!("{address} answered {code}")),
            None if error.kind() == ErrorKind::RESP3NotSupported => {
                Self::of(AtFault::Url, format!("{address} is older than Redis 6.2"))
            }
            None if error.kind() == ErrorKind::Parse => Self::of(
                AtFault::Url,
                format!("{address} doesn't speak Redis' protocol"),
            ),
            None if error.is_timeout() => Self::silence(format!("{address}: no answer in time")),
            None => Self::silence(format!("{address}: the connection ended at the login")),
        }
    }
}

/// Returns what Redis says after the code. An answer to a login contains no keys.
fn text(error: &RedisError) -> &str {
    error.detail().unwrap_or_default()
}

/// Whether the server doesn't know `command`. Redis quotes its name.
fn is_unknown(error: &RedisError, command: &str) -> bool {
    let name = text(error).strip_prefix("unknown command ");
    name.is_some_and(|name| name.trim_start_matches(['\'', '`']).starts_with(command))
}

/// Returns the TLS error that caused `error`.
fn rustls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}
