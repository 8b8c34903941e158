//! A TCP proxy whose connections can become half open: they stay open, and nothing passes any more. New
//! connections work. This is what a firewall or a load balancer does that forgets a connection.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinSet,
};

/// What freezes each connection, in the order in which they were opened.
type Switches = Arc<Mutex<VecDeque<oneshot::Sender<()>>>>;

/// A proxy in front of one server. It runs until it is dropped.
pub struct HalfOpen {
    port: u16,
    switches: Switches,
    accepted: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl HalfOpen {
    /// Starts a proxy in front of the server on the port `upstream`.
    pub async fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (switches, accepted) = (Switches::default(), Arc::<AtomicUsize>::default());
        let mut tasks = JoinSet::new();
        let (new, count) = (Arc::clone(&switches), Arc::clone(&accepted));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (switch, frozen) = oneshot::channel();
                new.lock().unwrap().push_back(switch);
                // Who has seen it can freeze it.
                count.fetch_add(1, Ordering::SeqCst);
                connections.spawn(serve(client, upstream, frozen));
            }
        });
        Self {
            port,
            switches,
            accepted,
            _tasks: tasks,
        }
    }

    /// Returns the port that the proxy listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns how many connections there were so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Makes the `count` oldest of the open connections half open. Returns how many there were.
    pub fn freeze(&self, count: usize) -> usize {
        let mut switches = self.switches.lock().unwrap();
        let mut frozen = 0;
        while frozen < count
            && let Some(switch) = switches.pop_front()
        {
            frozen += usize::from(switch.send(()).is_ok());
        }
        frozen
    }
}

async fn serve(mut client: TcpStream, upstream: u16, frozen: oneshot::Receiver<()>) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", upstream)).await else {
        return;
    };
    _ = (client.set_nodelay(true), server.set_nodelay(true));
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => return,
        _ = frozen => {}
    }
    std::future::pending::<()>().await;
}
