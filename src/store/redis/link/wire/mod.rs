//! Making one connection to one server: from an address to a [`Connection`] that is logged in.

mod at_fault;
mod bounded;
mod clock;
mod connect_error;
mod connection;
mod diagnose;
mod dial;
mod error_class;
mod finished;
mod life;
mod tls;
mod tls_error;

use std::{
    net::SocketAddr,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo,
    aio::MultiplexedConnection,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::AbortHandle,
    time::{Instant, timeout_at},
};
use tokio_util::io::InspectReader;

use self::bounded::Bounded;
pub use self::{
    at_fault::{AtFault, Peer, TlsPart},
    connect_error::ConnectError,
    connection::{Connection, ConnectionState},
    error_class::{ErrorClass, code, is_impossible},
    life::Life,
};
use crate::{
    reading::Reading,
    store::redis::{Access, Address, Password, largest::Largest},
    types::read_secret,
};

/// Reads passwords and files of TLS, for all connections of the process.
static READING: LazyLock<Reading> = LazyLock::new(Reading::default);

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
    /// How large a value may be.
    pub largest: Largest,
}

/// A connection that was just made, and the task that drives it.
pub struct Opened {
    /// The handle that sends commands. It waits for answers as long as they take.
    pub handle: MultiplexedConnection,
    /// What is known about the connection apart from its answers.
    pub life: Arc<Life>,
    /// Ends the connection at once, even if callers wait for answers.
    pub driver: AbortHandle,
    /// The place where the server is, if it isn't a Unix socket.
    pub place: Option<SocketAddr>,
}

/// Ends the life of a connection when this is dropped.
struct Ends(Arc<Life>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.end();
    }
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
        let end = Instant::now() + self.connect_timeout;
        let places = self.places(address).await?;
        self.open_at(address, &places, end, on_push).await
    }

    /// Returns the places where the server at `address` may be: the addresses of its host. A Unix socket has none.
    ///
    /// # Errors
    /// Returns a [`ConnectError`] within the connect timeout and half a second.
    pub async fn places(&self, address: &Address) -> Result<Vec<SocketAddr>, ConnectError> {
        let Address::Tcp(host, port) = address else {
            return Ok(Vec::new());
        };
        let resolving = dial::resolve(address, host, *port);
        let end = Instant::now() + self.connect_timeout;
        self.told(address, end, resolving).await
    }

    /// Connects to the server at `address` and logs in, at the first of `places` that answers. For `on_push` see
    /// [`Connector::open`].
    ///
    /// # Errors
    /// Returns a [`ConnectError`] at `end`, or half a second later.
    pub async fn open_at(
        &self,
        address: &Address,
        places: &[SocketAddr],
        end: Instant,
        on_push: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<Opened, ConnectError> {
        let opening = async {
            let info = self.login().await?;
            match address {
                Address::Unix(path) => {
                    let stream = dial::unix(address, path).await?;
                    self.log_in(address, &info, stream, on_push).await
                }
                Address::Tcp(..) => {
                    let (places, on_push) = (places.to_vec(), Arc::new(on_push));
                    self.open_one(address, &info, places, on_push).await
                }
            }
        };
        // Its state is large, and calls that wait for it are nested deeply.
        self.told(address, end, Box::pin(opening)).await
    }

    /// Waits for what is `done` until `end`. If there is no answer, a second look may find a better reason.
    async fn told<T>(
        &self,
        address: &Address,
        end: Instant,
        done: impl Future<Output = Result<T, ConnectError>>,
    ) -> Result<T, ConnectError> {
        let error = match timeout_at(end, done).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) if !error.is_silence => return Err(error),
            Ok(Err(error)) => error,
            Err(_) => ConnectError::silence(format!("{address}: no answer in time")),
        };
        Err(self.explain(address, error).await)
    }

    /// Connects to the first of these addresses that answers, and logs in.
    async fn open_one(
        &self,
        address: &Address,
        info: &RedisConnectionInfo,
        addresses: Vec<SocketAddr>,
        on_push: Arc<impl Fn(PushInfo) + Send + Sync + 'static>,
    ) -> Result<Opened, ConnectError> {
        let host = match address {
            Address::Tcp(host, _) => host.as_str(),
            Address::Unix(_) => "",
        };
        let attempt = async |at| {
            // What an attempt that lost the race has to say is nobody's affair.
            let won = Arc::<AtomicBool>::default();
            let (is_won, on_push) = (Arc::clone(&won), Arc::clone(&on_push));
            let on_push = move |push| {
                if is_won.load(Ordering::Relaxed) {
                    on_push(push);
                }
            };
            let opened = match self.dial(address, host, at).await? {
                dial::Stream::Plain(stream) => self.log_in(address, info, stream, on_push).await?,
                dial::Stream::Tls(stream) => self.log_in(address, info, *stream, on_push).await?,
            };
            won.store(true, Ordering::Relaxed);
            Ok(Opened {
                place: Some(at),
                ..opened
            })
        };
        let raced = dial::race(addresses, self.connect_timeout, attempt).await;
        raced.map_err(|errors: Vec<ConnectError>| {
            let telling = errors.iter().find(|error| error.at_fault.is_some());
            let error = telling.or(errors.first()).cloned();
            error.unwrap_or_else(|| {
                ConnectError::passing(format!("{address}: the host has no address"))
            })
        })
    }

    async fn log_in(
        &self,
        address: &Address,
        info: &RedisConnectionInfo,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        on_push: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<Opened, ConnectError> {
        let life = Arc::<Life>::default();
        let (hears, ends) = (Arc::clone(&life), Arc::clone(&life));
        let stream = InspectReader::new(stream, move |bytes| {
            if !bytes.is_empty() {
                hears.hear();
            }
        });
        let stream = Bounded::new(stream, self.largest.clone());
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
        // The client reports that a connection has ended, but not that its driver panicked.
        let ends = Ends(Arc::clone(&life));
        let driver = async move {
            let _ends = ends;
            driver.await;
        };
        let driver = tokio::spawn(driver).abort_handle();
        Ok(Opened {
            handle,
            life,
            driver,
            place: None,
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
            // A user without a password logs in with an empty one. Without it, the client wouldn't log in, and
            // would have the rights of the default user.
            Password::None if self.access.username.is_some() => info = info.set_password(""),
            Password::None => {}
            Password::Fixed(password) => info = info.set_password(password.expose()),
            Password::File(path) => {
                let wrong =
                    |found: String| ConnectError::of(AtFault::PasswordFile(self.peer), found);
                let file = path.clone();
                let read = READING.read(move || read_secret(&file)).await;
                let read = read.map_err(|hangs| {
                    ConnectError::passing(format!("the password file: {hangs}"))
                })?;
                let password = read.map_err(|problem| wrong(problem.to_string()))?;
                info = info.set_password(password.expose());
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

    /// Returns the setting that says which user logs in.
    fn user_setting(&self) -> AtFault {
        match self.peer {
            Peer::Server => AtFault::Username,
            Peer::Sentinel => AtFault::SentinelUsername,
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

#[cfg(test)]
mod tests {
    use testkit::reserved_port::ReservedPort;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        time::timeout,
    };

    use super::*;

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// Answers the login of one client.
    async fn welcome(listener: TcpListener) {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut login = [0; 1_024];
        assert!(client.read(&mut login).await.unwrap() > 0);
        client.write_all(b"%0\r\n").await.unwrap();
        _ = client.read(&mut login).await;
    }

    fn connector() -> Connector {
        Connector {
            access: Access::default(),
            peer: Peer::Server,
            connect_timeout: Duration::from_secs(20),
            timeout: Duration::from_secs(10),
            largest: Largest::for_messages(1),
        }
    }

    async fn open(addresses: Vec<SocketAddr>) -> Result<Opened, ConnectError> {
        let connector = connector();
        let address = Address::Tcp("redis".to_owned(), 1);
        let info = connector.login().await.unwrap();
        let opening = connector.open_one(&address, &info, addresses, Arc::new(|_| {}));
        timeout(connector.connect_timeout, opening).await.unwrap()
    }

    #[tokio::test]
    async fn a_silent_address_does_not_hide_the_next() {
        // The kernel accepts the connection, and nobody answers. So does a server that hangs.
        let (_silent, first) = listener().await;
        let (_also_silent, second) = listener().await;
        let (good, third) = listener().await;
        tokio::spawn(welcome(good));
        assert!(open(vec![first, second, third]).await.is_ok());
    }

    #[tokio::test]
    async fn an_address_that_refuses_does_not_hide_the_next() {
        let gone = ReservedPort::new();
        let first = gone.address();
        let (good, second) = listener().await;
        tokio::spawn(welcome(good));
        assert!(open(vec![first, second]).await.is_ok());
        let refused = open(vec![first, first]).await.err().unwrap();
        assert_eq!(refused.found, "redis:1: connection refused");
        assert_eq!(
            open(Vec::new()).await.err().unwrap().found,
            "redis:1: the host has no address"
        );
    }

    /// The client says when a connection has ended, unless that is by a panic.
    #[tokio::test]
    async fn a_panic_of_its_driver_ends_a_connection() {
        let (server, address) = listener().await;
        tokio::spawn(async move {
            let (mut client, _) = server.accept().await.unwrap();
            let mut said = [0; 1_024];
            for answer in ["%0\r\n", ">2\r\n+message\r\n+x\r\n"] {
                assert!(client.read(&mut said).await.unwrap() > 0);
                client.write_all(answer.as_bytes()).await.unwrap();
            }
            std::future::pending::<()>().await;
        });
        let connector = connector();
        let (info, redis) = (
            connector.login().await.unwrap(),
            Address::Tcp("redis".to_owned(), 1),
        );
        let panics = Arc::new(|push: PushInfo| {
            assert_ne!(push.kind, PushKind::Message, "as the test wants");
        });
        let opening = connector.open_one(&redis, &info, vec![address], panics);
        let mut opened = opening.await.unwrap();
        let ended = async {
            let sent = opened.handle.send_packed_command(&redis::cmd("PING")).await;
            assert!(sent.is_err(), "{sent:?}");
            opened.life.over().await;
        };
        timeout(Duration::from_secs(20), ended).await.unwrap();
    }
}
