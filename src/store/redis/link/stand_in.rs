//! A server for unit tests of connections: it lets every client log in, and answers nothing else.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::wire::{ConnectError, Connection, Connector, Peer};
use crate::store::redis::{Access, Address, largest::Largest};

/// A server that ends, with all its connections, when it is dropped.
pub struct StandIn {
    address: Address,
    accepted: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl StandIn {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let accepted = Arc::<AtomicUsize>::default();
        let mut serving = JoinSet::new();
        let count = Arc::clone(&accepted);
        serving.spawn(async move {
            let mut clients = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                clients.spawn(welcome(client));
            }
        });
        Self {
            address: Address::Tcp("127.0.0.1".to_owned(), port),
            accepted,
            _serving: serving,
        }
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Returns how many connections were opened.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Opens a connection. Nobody finds it silent while a test runs.
    ///
    /// # Errors
    /// Returns a [`ConnectError`] if the server is gone.
    pub async fn connect(&self) -> Result<Connection, ConnectError> {
        let connector = Connector {
            access: Access::default(),
            peer: Peer::Server,
            connect_timeout: Duration::from_secs(20),
            timeout: Duration::from_secs(86_400),
            largest: Largest::for_messages(1),
        };
        let opened = connector.open(&self.address, |_| {}).await?;
        Ok(Connection::new(opened, connector.timeout))
    }
}

async fn welcome(mut client: TcpStream) {
    let mut said = [0; 1_024];
    if client.read(&mut said).await.is_ok_and(|size| size > 0) {
        _ = client.write_all(b"%0\r\n").await;
    }
    while client.read(&mut said).await.is_ok_and(|size| size > 0) {}
}
