//! Connecting to the servers that hold data.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use redis::PushInfo;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::{
    Facts, Primary, cluster,
    primaries::Terms,
    primary::{Adoption, Leave},
};
use crate::{
    meter::Count,
    store::redis::{
        Address, Deployment,
        link::wire::{AtFault, ConnectError, Connection, Connector, Opened},
    },
};

/// The rank of a server that needs no better one.
const BEST: u8 = 3;

/// Connects to the servers of one deployment. Clones share everything.
#[derive(Clone, Debug)]
pub struct Servers {
    connector: Connector,
    mode: Mode,
    doubt: Doubt,
    terms: Terms,
    attempts: Arc<Attempts>,
}

/// How often servers were connected to.
#[derive(Debug, Default)]
pub struct Attempts {
    /// Attempts that succeeded.
    pub done: Count,
    /// Attempts that failed.
    pub failed: Count,
}

/// The kind of deployment that the servers belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One server.
    Standalone,
    /// A primary and its replicas, watched by sentinels.
    Sentinel,
    /// A Redis Cluster.
    Cluster,
}

/// A signal that what is known about the primaries may be out of date. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Doubt(Arc<Notify>);

impl Mode {
    /// Returns the kind of a deployment.
    pub fn of(deployment: &Deployment) -> Self {
        match deployment {
            Deployment::Standalone(_) => Self::Standalone,
            Deployment::Sentinel { .. } => Self::Sentinel,
            Deployment::Cluster { .. } => Self::Cluster,
        }
    }

    /// Whether another server may take over.
    pub fn fails_over(self) -> bool {
        self != Self::Standalone
    }
}

impl Doubt {
    /// Raises the signal. It stays raised until the task that waits for it has seen it.
    pub fn raise(&self) {
        self.0.notify_one();
    }

    /// Waits until the signal is raised, and lowers it.
    pub async fn raised(&self) {
        self.0.notified().await;
    }
}

impl Servers {
    /// Returns the servers that `connector` connects to.
    pub(super) fn new(connector: Connector, mode: Mode, doubt: Doubt, terms: Terms) -> Self {
        Self {
            connector,
            mode,
            doubt,
            terms,
            attempts: Arc::default(),
        }
    }

    /// Returns how often the servers were connected to, to send requests.
    pub fn attempts(&self) -> &Attempts {
        &self.attempts
    }

    /// Returns the kind of deployment that the servers belong to.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Returns how long connecting may take.
    pub fn connect_timeout(&self) -> Duration {
        self.connector.connect_timeout
    }

    /// Connects to `primary`. Returns the connection and what the server says about itself. An answer may
    /// take `timeout`. The connection ends when the server is no longer the primary.
    ///
    /// If another process answers than over the other connections to `primary`, the name leads to another server by
    /// now, or the server was restarted. Then the term of `primary` ends.
    ///
    /// # Errors
    /// Returns a [`ConnectError`], also if the server is not the primary any more.
    pub async fn connect(
        &self,
        primary: &Primary,
        timeout: Duration,
    ) -> Result<(Connection, Facts), ConnectError> {
        const FOLLOWED: &str = "another server became the primary";
        let connecting = async {
            let address = &primary.address;
            let run_id = primary.run_id();
            let (connection, facts) = self.connect_to(address, timeout, run_id.as_deref()).await?;
            if facts.role != "master" {
                if self.mode.fails_over() {
                    return Err(ConnectError::passing(format!("{address} is a replica")));
                }
                // The only server there is. Reads work.
                connection.state().set_replica();
                self.doubt.raise();
            }
            match primary.adopt(connection.state(), &facts.run_id) {
                Adoption::Adopted => return Ok((connection, facts)),
                Adoption::Late => return Err(ConnectError::passing(FOLLOWED)),
                Adoption::Astray => {}
                Adoption::Followed => {
                    // The last server may go on answering.
                    if self.terms.renew(primary, Leave::Now) {
                        tracing::info!(%address, "another process of Redis answers here: all connections are made anew");
                    }
                }
            }
            let found = format!("{address} is another server than before, or was restarted");
            Err(ConnectError::passing(found))
        };
        tokio::select! {
            connected = connecting => {
                if connected.is_err() && self.mode.fails_over() {
                    self.doubt.raise();
                }
                connected
            }
            // The server may never answer.
            () = primary.over() => Err(ConnectError::passing(FOLLOWED)),
        }
    }

    /// Connects to the server at `address`, whatever its role, to hear what it announces. `on_push` is that of
    /// [`Connector::open`].
    ///
    /// # Errors
    /// Returns a [`ConnectError`].
    pub async fn listen(
        &self,
        address: &Address,
        on_push: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<Opened, ConnectError> {
        self.connector.open(address, on_push).await
    }

    /// Connects to the server at `address`, whatever its role. Returns the connection and what the server
    /// says about itself.
    ///
    /// If its name has several addresses, a primary among them is preferred. If there are several, the one with the
    /// run id `wanted` is.
    ///
    /// # Errors
    /// Returns a [`ConnectError`], also if the server belongs to another kind of deployment.
    pub async fn connect_to(
        &self,
        address: &Address,
        timeout: Duration,
        wanted: Option<&str>,
    ) -> Result<(Connection, Facts), ConnectError> {
        let end = Instant::now() + self.connector.connect_timeout;
        let places = self.connector.places(address).await?;
        // Its state is large, and calls that wait for it are nested deeply.
        Box::pin(self.best(address, places, end, timeout, wanted)).await
    }

    /// Connects to the best of the servers at these places. Looks for a better one than the first until `end`.
    async fn best(
        &self,
        address: &Address,
        mut places: Vec<SocketAddr>,
        end: Instant,
        timeout: Duration,
        wanted: Option<&str>,
    ) -> Result<(Connection, Facts), ConnectError> {
        let rank = |found: &Result<(Connection, Facts), _>| match found {
            Ok((_, facts)) if facts.role != "master" => 1,
            Ok((_, facts)) if wanted.is_some_and(|wanted| wanted != facts.run_id) => 2,
            Ok(_) => BEST,
            Err(_) => 0,
        };
        let mut best = self.first(address, &mut places, end, timeout).await;
        while rank(&best) < BEST && !places.is_empty() {
            let next = self.first(address, &mut places, end, timeout);
            match timeout_at(end, next).await {
                Ok(next) if rank(&next) > rank(&best) => best = next,
                Ok(_) => {}
                Err(_) => break,
            }
        }
        best
    }

    /// Connects to the server that answers first at one of these places. Takes away the places that aren't to be tried
    /// again.
    async fn first(
        &self,
        address: &Address,
        places: &mut Vec<SocketAddr>,
        end: Instant,
        timeout: Duration,
    ) -> Result<(Connection, Facts), ConnectError> {
        let connector = Connector {
            timeout,
            ..self.connector.clone()
        };
        let tried = std::mem::take(places);
        let opened = connector.open_at(address, &tried, end, |_| {}).await?;
        *places = tried;
        places.retain(|place| Some(*place) != opened.place);
        let mut connection = Connection::new(opened, timeout);
        let facts = Facts::ask(&mut connection, address).await?;
        let found = match (facts.mode.as_str(), self.mode) {
            ("sentinel", _) => "is a sentinel; the URL of sentinels begins with redis+sentinel",
            ("cluster", Mode::Cluster) => return Ok((connection, facts)),
            (_, Mode::Cluster) => cluster::NO_NODE,
            ("cluster", _) => "is a node of a cluster; the URL of one begins with redis+cluster",
            _ => return Ok((connection, facts)),
        };
        Err(ConnectError::of(AtFault::Url, format!("{address} {found}")))
    }
}

/// Connects to `address` and logs in.
pub(super) async fn open(
    connector: &Connector,
    address: &Address,
) -> Result<Connection, ConnectError> {
    let opened = connector.open(address, |_| {}).await?;
    Ok(Connection::new(opened, connector.timeout))
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::{super::primaries::Primaries, *};
    use crate::store::redis::{Access, link::wire::Peer};

    /// The test waits so long for the silent server. The others answer sooner, also on a machine under load.
    const TIMEOUT: Duration = Duration::from_secs(4);

    /// Starts a server that says this about itself. One without a role says nothing.
    async fn server(role: &'static str, run_id: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let info = format!("redis_mode:standalone\r\nrun_id:{run_id}\r\n");
        let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
        let facts = format!("*1\r\n{}{}{}*0\r\n", bulk(role), bulk(&info), bulk(""));
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let facts = facts.clone();
                tokio::spawn(async move {
                    let mut said = [0; 1_024];
                    while client.read(&mut said).await.is_ok_and(|read| read > 0) {
                        let answer = match String::from_utf8_lossy(&said).contains("ROLE") {
                            _ if role.is_empty() => continue,
                            true => &facts,
                            false => "%0\r\n",
                        };
                        client.write_all(answer.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        address
    }

    /// Returns the run id of the server that is used of those at these places.
    async fn used(places: &[SocketAddr], wanted: Option<&str>) -> String {
        let connector = Connector {
            access: Access::default(),
            peer: Peer::Server,
            connect_timeout: TIMEOUT,
            timeout: TIMEOUT,
            largest: crate::store::redis::Largest::for_messages(1),
        };
        let terms = Primaries::of_everything().terms();
        let servers = Servers::new(connector, Mode::Standalone, Doubt::default(), terms);
        let address = Address::Tcp("redis".to_owned(), 1);
        let end = Instant::now() + TIMEOUT;
        let best = servers.best(&address, places.to_vec(), end, TIMEOUT, wanted);
        best.await.unwrap().1.run_id
    }

    #[tokio::test]
    async fn a_replica_does_not_hide_the_primary() {
        let [a, b, c] = [
            server("slave", "a").await,
            server("slave", "b").await,
            server("master", "c").await,
        ];
        assert_eq!(used(&[a, b, c], None).await, "c");
        assert_eq!(used(&[c, a, b], None).await, "c");
        assert_eq!(used(&[a, b], None).await, "a", "a replica can be read from");
        let silent = server("", "").await;
        assert_eq!(used(&[silent, a], None).await, "a", "and in time");
    }

    #[tokio::test]
    async fn of_two_primaries_the_one_in_use_is_kept() {
        let [a, b] = [server("master", "a").await, server("master", "b").await];
        assert_eq!(used(&[a, b], Some("b")).await, "b");
        assert_eq!(used(&[a, b], Some("c")).await, "a", "it is gone");
        let replica = server("slave", "b").await;
        assert_eq!(used(&[a, replica], Some("b")).await, "a", "it was demoted");
    }
}
