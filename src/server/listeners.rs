//! Where the broker listens.

use std::{fmt, io, net::SocketAddr, sync::Arc};

use tokio::net::TcpListener;

use super::{ServeError, unix_socket::UnixSocket, wire::Wire};
use crate::{
    config::{Listen, ListenOptions},
    meter::Trust,
    tls::Tls,
};

/// Where the broker listens: for calls, and for machines that bring no certificate.
#[derive(Debug)]
pub struct Listeners {
    pub(super) calls: Listener,
    /// How the connections of callers are encrypted. `None`: not at all.
    pub(super) tls: Option<Arc<Tls>>,
    /// Where health alone is served, in plain text.
    pub(super) health: Option<TcpListener>,
    /// Where `/livez`, `/readyz` and `/metrics` are served, in plain text.
    pub(super) metrics: Option<TcpListener>,
    /// Where what happens to TLS is counted.
    pub(super) trust: Arc<Trust>,
}

/// A socket that listens for calls.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixSocket),
}

impl Listeners {
    /// Listens. Warns of what is insecure.
    pub(super) async fn open(options: ListenOptions) -> Result<Self, ServeError> {
        let trust = Arc::<Trust>::default();
        let tls = match options.tls {
            Some(files) => {
                let tls = Tls::load(files, Arc::clone(&trust)).map_err(|problems| {
                    let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
                    ServeError::Misconfigured(problems.join("; "))
                })?;
                Some(Arc::new(tls))
            }
            None => None,
        };
        let calls = match &options.calls {
            Listen::Tcp(address) => Listener::Tcp(tcp("listen", *address).await?),
            Listen::Unix(path) => {
                let bound = UnixSocket::bind(path, options.mode).await;
                let failed = |error| ServeError::Listen {
                    setting: "listen",
                    address: options.calls.to_string(),
                    error,
                };
                Listener::Unix(bound.map_err(failed)?)
            }
        };
        if let Some(hazard) = options.hazard {
            tracing::warn!("insecure-allow-remote: {hazard}");
        }
        let listen = async |setting, address: Option<SocketAddr>| match address {
            Some(address) => tcp(setting, address).await.map(Some),
            None => Ok(None),
        };
        Ok(Self {
            calls,
            tls,
            health: listen("health-listen", options.health).await?,
            metrics: listen("metrics-listen", options.metrics).await?,
            trust,
        })
    }
}

/// Serves calls in plain text, and nothing else.
impl From<TcpListener> for Listeners {
    fn from(listener: TcpListener) -> Self {
        Self {
            calls: Listener::Tcp(listener),
            tls: None,
            health: None,
            metrics: None,
            trust: Arc::default(),
        }
    }
}

async fn tcp(setting: &'static str, address: SocketAddr) -> Result<TcpListener, ServeError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| ServeError::Listen {
        setting,
        address: address.to_string(),
        error,
    })
}

impl Listener {
    /// Waits for a client.
    ///
    /// # Errors
    /// Returns the system's error.
    pub async fn accept(&self) -> io::Result<Wire> {
        match self {
            Self::Tcp(listener) => listener
                .accept()
                .await
                .map(|(stream, peer)| Wire::Tcp(stream, peer)),
            Self::Unix(socket) => socket.accept().await.map(Wire::Unix),
        }
    }
}

/// Prints where it listens, as the setting would name it.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(address) => address.fmt(f),
                Err(_) => f.write_str("?"),
            },
            Self::Unix(socket) => write!(f, "unix:{}", socket.path().display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three settings name ports: the message says whose is taken.
    #[tokio::test]
    async fn a_taken_port_is_told_by_its_setting() {
        let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (taken, free) = (holder.local_addr().unwrap(), "127.0.0.1:0".parse().unwrap());
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let options = ListenOptions {
            calls: Listen::Tcp(free),
            mode: 0o600,
            tls: None,
            health: Some(free),
            metrics: Some(free),
            hazard: None,
        };
        for (setting, options) in [
            (
                "listen",
                ListenOptions {
                    calls: Listen::Tcp(taken),
                    ..options.clone()
                },
            ),
            (
                "listen",
                ListenOptions {
                    calls: Listen::Unix(file),
                    ..options.clone()
                },
            ),
            (
                "health-listen",
                ListenOptions {
                    health: Some(taken),
                    ..options.clone()
                },
            ),
            (
                "metrics-listen",
                ListenOptions {
                    metrics: Some(taken),
                    ..options.clone()
                },
            ),
        ] {
            let told = Listeners::open(options).await.unwrap_err().to_string();
            assert!(
                told.starts_with(&format!("{setting}: can't serve on ")),
                "{told}"
            );
        }
        Listeners::open(options).await.unwrap();
    }
}
