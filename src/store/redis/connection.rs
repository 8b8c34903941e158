//! One connection to Redis, and how it is made.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use bb8_redis::bb8::ManageConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, ErrorKind, ProtocolVersion, PushInfo,
    PushKind, RedisError, RedisResult, ServerErrorKind, Value,
    aio::MultiplexedConnection,
    io::tcp::{TcpSettings, socket2},
};

/// Timeouts in a row after which a connection is given up: it may be half open.
const MAX_TIMEOUTS: u32 = 3;

/// Makes connections for the pool. It knows where Redis is; the rest of the program doesn't.
#[derive(Debug)]
pub struct Manager {
    info: ConnectionInfo,
    password_file: Option<PathBuf>,
    connect_timeout: Duration,
    response_timeout: Duration,
}

/// A connection that any number of callers send over at once. Clones share it.
#[derive(Clone)]
pub struct Connection {
    handle: MultiplexedConnection,
    health: Arc<Health>,
}

#[derive(Debug, Default)]
struct Health {
    broken: AtomicBool,
    timeouts: AtomicU32,
}

impl Manager {
    /// Connects to the server of `info`. A password file is read at every connect, so that a
    /// password can be changed without a restart.
    #[must_use]
    pub fn new(
        info: ConnectionInfo,
        password_file: Option<PathBuf>,
        connect_timeout: Duration,
        response_timeout: Duration,
    ) -> Self {
        let keepalive = socket2::TcpKeepalive::new()
            .with_time(Duration::from_secs(10))
            .with_interval(Duration::from_secs(5))
            .with_retries(3);
        let tcp = TcpSettings::default()
            .set_nodelay(true)
            .set_keepalive(keepalive)
            .set_user_timeout(Duration::from_secs(20));
        // RESP3, because only there does the client tell that a connection has ended.
        let redis = info
            .redis_settings()
            .clone()
            .set_protocol(ProtocolVersion::RESP3)
            .set_skip_set_lib_name();
        let info = info.set_tcp_settings(tcp).set_redis_settings(redis);
        Self {
            info,
            password_file,
            connect_timeout,
            response_timeout,
        }
    }

    fn info(&self) -> io::Result<ConnectionInfo> {
        let Some(path) = &self.password_file else {
            return Ok(self.info.clone());
        };
        let password = std::fs::read_to_string(path)?;
        let password = password.trim_end_matches(['\r', '\n']);
        let redis = self.info.redis_settings().clone().set_password(password);
        Ok(self.info.clone().set_redis_settings(redis))
    }
}

impl ManageConnection for Manager {
    type Connection = Connection;
    type Error = RedisError;

    async fn connect(&self) -> Result<Connection, RedisError> {
        let health = Arc::<Health>::default();
        let ended = Arc::clone(&health);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(Some(self.response_timeout))
            .set_push_sender(move |push: PushInfo| {
                if push.kind == PushKind::Disconnection {
                    ended.broken.store(true, Ordering::Relaxed);
                }
                Ok::<(), std::convert::Infallible>(())
            });
        let client = Client::open(self.info()?)?;
        let handle = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        Ok(Connection { handle, health })
    }

    async fn is_valid(&self, connection: &mut Connection) -> Result<(), RedisError> {
        connection.send(&redis::cmd("PING")).await.map(drop)
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        connection.is_broken()
    }
}

impl Connection {
    /// Whether it has to be replaced: it ended, or its server is of no use.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.health.broken.load(Ordering::Relaxed)
    }

    /// Sends a command and waits for its answer.
    ///
    /// # Errors
    /// What Redis or the connection says. The connection takes note of it.
    pub async fn send(&mut self, cmd: &Cmd) -> RedisResult<Value> {
        let answer = self
            .handle
            .send_packed_command(cmd)
            .await
            .and_then(Value::extract_error);
        self.health.note(answer.as_ref().err());
        answer
    }

    /// Sends commands, all at once; an answer that is an error stands in its place.
    ///
    /// # Errors
    /// What the connection says. It takes note of that, and of what Redis says.
    pub async fn send_all(
        &mut self,
        cmds: impl IntoIterator<Item = Cmd>,
    ) -> RedisResult<Vec<Value>> {
        let mut pipeline = redis::Pipeline::new();
        for cmd in cmds {
            pipeline.add_command(cmd);
        }
        let count = pipeline.len();
        let answers = self.handle.send_packed_commands(&pipeline, 0, count).await;
        match &answers {
            Ok(answers) => {
                let error = answers.iter().find_map(|answer| match answer {
                    Value::ServerError(error) => Some(RedisError::from(error.clone())),
                    _ => None,
                });
                self.health.note(error.as_ref());
            }
            Err(error) => self.health.note(Some(error)),
        }
        answers
    }
}

impl Health {
    fn note(&self, error: Option<&RedisError>) {
        let Some(error) = error else {
            if self.timeouts.load(Ordering::Relaxed) > 0 {
                self.timeouts.store(0, Ordering::Relaxed);
            }
            return;
        };
        let broken = match error.kind() {
            _ if error.is_timeout() => {
                self.timeouts.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_TIMEOUTS
            }
            // A primary that was demoted, and one that wants another password.
            ErrorKind::Server(ServerErrorKind::ReadOnly) | ErrorKind::AuthenticationFailed => true,
            ErrorKind::Io | ErrorKind::Parse => true,
            _ => error.code() == Some("NOAUTH"),
        };
        if broken {
            self.broken.store(true, Ordering::Relaxed);
        }
    }
}
