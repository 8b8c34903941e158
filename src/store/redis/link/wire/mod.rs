//! Making one connection to one server: from an address to a [`Connection`] that is logged in.

mod at_fault;
mod connect_error;
mod connection;
mod diagnose;
mod dial;
mod error_class;
mod files;
mod finished;
mod life;
mod tls;

use std::{io, sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo,
    aio::MultiplexedConnection,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::AbortHandle,
    time::timeout,
};
use zeroize::Zeroizing;

pub use self::{
    at_fault::{AtFault, Peer, TlsPart},
    connect_error::ConnectError,
    connection::{Connection, ConnectionState},
    error_class::{ErrorClass, code},
    life::Life,
};
use life::Heard;

use crate::store::redis::{Access, Address, Password};

/// Connects to servers of one kind and logs in to them.
#[derive(Clone, Debug)]
pub struct Connector {
    /// The user, the password, the database and TLS.
    pub access: Access,
    /// The kind of the servers, for messages about settings.
    pub peer: Peer,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// A connection that was just made, and the task that drives it.
pub struct Opened {
    /// The handle that sends commands. It waits for answers as long as they take.
    pub handle: MultiplexedConnection,
    /// What is known about the connection apart from its answers.
    pub life: Arc<Life>,
    /// Ends the connection at once, even if callers wait for answers.
    pub driver: AbortHandle,
}

impl Connector {
    /// Connects to the server at `address` and logs in. `on_push` gets what the server sends without being
    /// asked. It is also called when the connection ends.
    ///
    /// # Errors
    /// Returns a [`ConnectError`] within the connect timeout and half a second, which a second look may take.
    pub async fn open(
        &self,
        address: &Address,
        on_push: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<Opened, ConnectError> {
        let opening = async {
            let info = self.login().await?;
            match self.dial(address).await? {
                dial::Stream::Tcp(stream) => self.log_in(address, &info, stream, on_push).await,
                dial::Stream::Tls(stream) => self.log_in(address, &info, *stream, on_push).await,
                dial::Stream::Unix(stream) => self.log_in(address, &info, stream, on_push).await,
            }
        };
        let error = match timeout(self.connect_timeout, opening).await {
            Ok(Ok(opened)) => return Ok(opened),
            Ok(Err(error)) if !error.is_silence => return Err(error),
            Ok(Err(error)) => error,
            Err(_) => ConnectError::silence(format!("{address}: no answer in time")),
        };
        Err(self.explain(address, error).await)
    }

    async fn log_in(
        &self,
        address: &Address,
        info: &RedisConnectionInfo,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        on_push: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<Opened, ConnectError> {
        let life = Arc::<Life>::default();
        let (stream, ends) = (Heard::new(stream, Arc::clone(&life)), Arc::clone(&life));
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_push_sender(move |push: PushInfo| {
                if push.kind == PushKind::Disconnection {
                    ends.end();
                }
                on_push(push);
                Ok::<(), std::convert::Infallible>(())
            });
        let (handle, driver) = MultiplexedConnection::new_with_config(info, stream, config)
            .await
            .map_err(|error| ConnectError::at_login(self, address, &error))?;
        let driver = tokio::spawn(driver).abort_handle();
        Ok(Opened {
            handle,
            life,
            driver,
        })
    }

    /// Returns the user, the password and the database.
    async fn login(&self) -> Result<RedisConnectionInfo, ConnectError> {
        // Only with RESP3 does the client report that a connection has ended.
        let mut info = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_db(i64::from(self.access.database))
            .set_skip_set_lib_name();
        if let Some(name) = &self.access.username {
            info = info.set_username(name);
        }
        match &self.access.password {
            Password::None => {}
            Password::Fixed(password) => info = info.set_password(password.expose()),
            Password::File(path) => {
                let unreadable = |error: io::Error| {
                    let found = format!("{} can't be read: {error}", path.display());
                    ConnectError::of(AtFault::PasswordFile(self.peer), found)
                };
                let file = path.clone();
                let read = files::aside(move || std::fs::read_to_string(file).map(Zeroizing::new));
                let none = || Err(io::ErrorKind::WouldBlock.into());
                let text = read.await.unwrap_or_else(none).map_err(unreadable)?;
                info = info.set_password(text.trim_end_matches(['\r', '\n']));
            }
        }
        Ok(info)
    }

    /// Returns the setting that decides whether TLS is used.
    fn tls_setting(&self) -> AtFault {
        match self.peer {
            Peer::Server => AtFault::Url,
            Peer::Sentinel => AtFault::SentinelTls,
        }
    }

    /// Returns the setting to name if the password is wrong.
    fn password_setting(&self) -> AtFault {
        match self.access.password {
            Password::None | Password::File(_) => AtFault::PasswordFile(self.peer),
            Password::Fixed(_) => AtFault::Password(self.peer),
        }
    }
}
