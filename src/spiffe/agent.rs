//! The call to an agent, which lasts, and when it is made again.

use std::{
    error::Error,
    path::{Path, PathBuf},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use tokio::{
    net::UnixStream,
    time::{sleep, timeout},
};
use tonic::{
    Code, Request, Status, Streaming,
    client::Grpc,
    metadata::MetadataValue,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;
use tower::service_fn;

use super::{
    Update,
    wire::{FETCH_X509_SVID, SECURITY_HEADER, X509SvidRequest, X509SvidResponse},
};

/// How long an agent may take until its first answer. It has it at hand, or refuses.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long to wait before asking again, at first...
const PAUSE: Duration = Duration::from_millis(200);
/// ...and at most, after many failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often to ask an agent that says nothing whether it still lives. gRPC's Go library, which SPIRE uses, ends the
/// connections of those who ask more often than every 5 minutes.
const ALIVE: Duration = Duration::from_secs(330);
/// How long it may take to answer that.
const ALIVE_PATIENCE: Duration = Duration::from_secs(20);
/// How much of an agent's own words is passed on, in characters.
const LONGEST_TEXT: usize = 200;

/// An agent, which is asked again whenever the call ends.
pub struct Agent {
    socket: PathBuf,
    updates: Option<Streaming<X509SvidResponse>>,
    pause: Duration,
}

/// Why an agent gives nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nobody answers at the socket.
    #[error("the agent can't be reached: {0}")]
    Unreachable(String),
    /// It took the connection and doesn't answer.
    #[error("the agent took the connection, and doesn't answer")]
    Silent,
    /// It answered with an error.
    #[error("the agent answers {code:?}: {text}")]
    Refused {
        /// The code of gRPC. `PermissionDenied` means that the agent knows no identity of the broker.
        code: Code,
        /// What it says about that.
        text: String,
    },
    /// It sends what can't be read: more than 4 MiB, or no such message.
    #[error("the agent sends what can't be read: {0}")]
    Unreadable(String),
    /// It ended the call without an error.
    #[error("the agent ended the call")]
    Ended,
}

impl Failure {
    /// Whether asking again is of no use: what answers doesn't take the call for one of the Workload API.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                code: Code::InvalidArgument | Code::Unimplemented,
                ..
            }
        )
    }

    /// Whether the agent is there, and this is what it has to say: that the broker has no identity (Workload API, section 5.2.1), or
    /// something that can't be read. That counts as an update of which no part can be used.
    #[must_use]
    pub fn is_an_answer(&self) -> bool {
        matches!(
            self,
            Self::Unreadable(_)
                | Self::Refused {
                    code: Code::PermissionDenied,
                    ..
                }
        )
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let (code, text) = (status.code(), status.message());
        let text: String = text.chars().take(LONGEST_TEXT).collect();
        // tonic's own words about a message that is too large, and prost's about one that isn't one.
        let is_unreadable = match code {
            Code::OutOfRange => text.contains("message length too large"),
            Code::Internal => text.contains("failed to decode Protobuf message"),
            _ => false,
        };
        match is_unreadable {
            true => Self::Unreadable(text),
            false => Self::Refused { code, text },
        }
    }
}

impl Agent {
    /// Returns the agent at a Unix socket. Nothing is asked yet.
    #[must_use]
    pub fn at(socket: PathBuf) -> Self {
        Self {
            socket,
            updates: None,
            pause: Duration::ZERO,
        }
    }

    /// Waits for the next update: the first answer to a call, or a change. After a failure, the next call waits for a
    /// moment, which grows to 5 s, and asks anew. It must not be dropped halfway.
    ///
    /// # Errors
    /// Returns a [`Failure`].
    pub async fn next(&mut self) -> Result<Update, Failure> {
        let update = match &mut self.updates {
            Some(updates) => message(updates).await,
            None => {
                // Brokers of one machine that lose their agent together don't come back together.
                sleep(self.pause.mul_f64(rand::random_range(0.5..=1.0))).await;
                self.pause = (self.pause * 2).clamp(PAUSE, LONGEST_PAUSE);
                self.ask().await
            }
        };
        match update {
            Ok(update) => {
                self.pause = PAUSE;
                Ok(update.into())
            }
            Err(failure) => {
                self.updates = None;
                Err(failure)
            }
        }
    }

    /// Makes the call, and waits for the first answer.
    async fn ask(&mut self) -> Result<X509SvidResponse, Failure> {
        let asked = async {
            let channel = connect(&self.socket).await?;
            let mut agent = Grpc::new(channel);
            let unready = |error: tonic::transport::Error| Failure::Unreachable(root_of(&error));
            agent.ready().await.map_err(unready)?;
            let mut request = Request::new(X509SvidRequest {});
            let (name, value) = SECURITY_HEADER;
            let value = MetadataValue::from_static(value);
            request.metadata_mut().insert(name, value);
            let answer = agent.server_streaming(request, FETCH_X509_SVID, ProstCodec::default());
            let mut updates = answer.await?.into_inner();
            let first = message(&mut updates).await?;
            Ok::<_, Failure>((updates, first))
        };
        let asked = timeout(PATIENCE, asked).await;
        let (updates, first) = asked.map_err(|_| Failure::Silent)??;
        self.updates = Some(updates);
        Ok(first)
    }
}

async fn message(updates: &mut Streaming<X509SvidResponse>) -> Result<X509SvidResponse, Failure> {
    updates.message().await?.ok_or(Failure::Ended)
}

async fn connect(socket: &Path) -> Result<Channel, Failure> {
    let socket = socket.to_owned();
    let open = service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://workload-api")
        .http2_keep_alive_interval(ALIVE)
        .keep_alive_timeout(ALIVE_PATIENCE);
    let connected = endpoint.connect_with_connector(open).await;
    connected.map_err(|error| Failure::Unreachable(root_of(&error)))
}

/// Returns what the system said: tonic's own text is only that there was an error.
fn root_of(error: &dyn Error) -> String {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    root.to_string()
}

#[cfg(test)]
mod tests {
    use tokio::{net::UnixListener, time::Instant};

    use super::*;

    /// Nobody listens; then somebody does, and says nothing. Neither is waited for without end.
    #[tokio::test(start_paused = true)]
    async fn an_agent_that_says_nothing_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("agent.sock");
        let mut agent = Agent::at(socket.clone());
        let Err(Failure::Unreachable(why)) = agent.next().await else {
            panic!("nobody listens");
        };
        assert!(why.contains("No such file"), "{why}");
        // The system takes the connection.
        let _listener = UnixListener::bind(&socket).unwrap();
        for _ in 0..2 {
            let begun = Instant::now();
            assert_eq!(agent.next().await.err(), Some(Failure::Silent));
            let took = begun.elapsed();
            assert!(took >= PATIENCE && took <= PATIENCE + PAUSE * 4, "{took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_between_failures_grow_and_have_a_limit() {
        let dir = tempfile::tempdir().unwrap();
        let mut agent = Agent::at(dir.path().join("agent.sock"));
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let begun = Instant::now();
            agent.next().await.unwrap_err();
            pauses.push(begun.elapsed());
        }
        let most = LONGEST_PAUSE + Duration::from_millis(10);
        assert!(pauses.iter().all(|pause| *pause <= most), "{pauses:?}");
        assert!(pauses[0] < PAUSE && pauses[1] <= PAUSE, "{pauses:?}");
        assert!(pauses[11] >= LONGEST_PAUSE / 2, "{pauses:?}");
    }
}
