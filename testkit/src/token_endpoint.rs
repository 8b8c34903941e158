//! A provider that does what a test says: an HTTP or HTTPS server on raw sockets, which can also break off, say nothing,
//! or answer nonsense.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::WebPkiClientVerifier,
    },
};

/// What the server does with a request.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// Whether it reads the request. If not, it does the rest at once.
    pub reads: bool,
    /// How long it waits before it writes.
    pub delay: Duration,
    /// What it writes, byte for byte.
    pub writes: Vec<u8>,
    /// What it does then.
    pub end: End,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is closed.
    Close,
    /// It is reset.
    Reset,
    /// It stays open, and nothing comes.
    Hang,
}

impl Behaviour {
    /// Reads the request, and answers with these headers (lines without their ends) and this body.
    pub fn answer(status: u16, headers: &[&str], body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let mut head = format!(
            "HTTP/1.1 {status} Status\r\nContent-Length: {}\r\n",
            body.len()
        );
        for header in headers {
            head += header;
            head += "\r\n";
        }
        head += "\r\n";
        Self::raw([head.as_bytes(), body].concat())
    }

    /// Reads the request, and answers with JSON.
    pub fn json(status: u16, body: &str) -> Self {
        Self::answer(status, &["Content-Type: application/json"], body)
    }

    /// Reads the request, writes these bytes, and closes the connection.
    pub fn raw(writes: impl Into<Vec<u8>>) -> Self {
        Self {
            reads: true,
            delay: Duration::ZERO,
            writes: writes.into(),
            end: End::Close,
        }
    }

    /// Ends the connection in another way.
    #[must_use]
    pub fn end(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    /// Waits before it writes.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Reads nothing.
    #[must_use]
    pub fn unread(mut self) -> Self {
        self.reads = false;
        self
    }
}

/// A request as the server read it.
#[derive(Clone, Debug)]
pub struct Received {
    /// The first line and the headers.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Received {
    /// Returns the value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1);
        let mut headers = lines.filter_map(|line| line.split_once(": "));
        let found = headers.find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value)
    }

    /// Returns the value of a parameter, as it was encoded.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let mut pairs = self.body.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value)
    }
}

#[derive(Default)]
struct Shared {
    /// By path. The last behaviour of a path is repeated.
    behaviours: Mutex<Vec<(String, Vec<Behaviour>)>>,
    received: Mutex<Vec<Received>>,
    connections: AtomicUsize,
}

/// The server. It ends with the test.
pub struct TokenEndpoint {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl TokenEndpoint {
    /// Starts a server without TLS.
    pub async fn start() -> Self {
        Self::listen(None).await
    }

    /// Starts a server with the certificate `NAME.pem` in `dir`. It asks for a client certificate of `ca.pem` if
    /// `asks_for_certificate`.
    pub async fn start_with_tls(dir: &Path, name: &str, asks_for_certificate: bool) -> Self {
        let chain: Vec<_> = CertificateDer::pem_file_iter(dir.join(format!("{name}.pem")))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let key = PrivateKeyDer::from_pem_file(dir.join(format!("{name}.key"))).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if asks_for_certificate {
            let mut roots = RootCertStore::empty();
            let ca = CertificateDer::from_pem_file(dir.join("ca.pem")).unwrap();
            roots.add(ca).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let config = builder.with_single_cert(chain, key).unwrap();
        Self::listen(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn listen(acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                serving.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, acceptor.clone(), Arc::clone(&serving)));
            }
        });
        Self {
            address,
            scheme,
            shared,
            task,
        }
    }

    /// Returns the URL of a path at this server.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// Returns the address that it listens at.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says what becomes of the requests to a path, one after the other. The last one is repeated.
    pub fn behave(&self, path: &str, behaviours: impl IntoIterator<Item = Behaviour>) {
        let mut all = self.shared.behaviours.lock().unwrap();
        all.retain(|(of, _)| of != path);
        let mut behaviours: Vec<_> = behaviours.into_iter().collect();
        behaviours.reverse();
        all.push((path.to_owned(), behaviours));
    }

    /// Returns the requests that came so far.
    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    /// Returns the requests to a path that came so far.
    pub fn received_at(&self, path: &str) -> Vec<Received> {
        let all = self.received().into_iter();
        all.filter(|request| request.head.split(' ').nth(1) == Some(path))
            .collect()
    }

    /// Returns how many connections were made.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for TokenEndpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    /// Returns what to do with the next request. Without a path, the path isn't known yet.
    fn next(&self, path: Option<&str>) -> Option<Behaviour> {
        let mut all = self.behaviours.lock().unwrap();
        let (_, behaviours) = match path {
            Some(path) => all.iter_mut().find(|(of, _)| of == path)?,
            None => {
                let is_unread = |(_, list): &&mut (String, Vec<Behaviour>)| {
                    list.last().is_some_and(|behaviour| !behaviour.reads)
                };
                all.iter_mut().find(is_unread)?
            }
        };
        match behaviours.len() {
            1 => behaviours.last().cloned(),
            _ => behaviours.pop(),
        }
    }
}

async fn serve(stream: TcpStream, acceptor: Option<TlsAcceptor>, shared: Arc<Shared>) {
    match acceptor {
        None => {
            let mut stream = stream;
            let end = talk(&mut stream, &shared).await;
            finish(stream, end).await;
        }
        Some(acceptor) => {
            // A client that doesn't trust the certificate goes away.
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            match talk(&mut stream, &shared).await {
                End::Close => {
                    stream.shutdown().await.ok();
                }
                end => finish(stream.into_inner().0, end).await,
            }
        }
    }
}

async fn finish(mut stream: TcpStream, end: End) {
    match end {
        End::Close => {
            stream.shutdown().await.ok();
        }
        End::Reset => stream.set_zero_linger().unwrap(),
        End::Hang => std::future::pending().await,
    }
}

async fn talk(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), shared: &Shared) -> End {
    let unread = shared.next(None);
    let behaviour = match unread {
        Some(behaviour) => behaviour,
        None => {
            let Some(request) = read(stream).await else {
                return End::Close;
            };
            let path = request.head.split(' ').nth(1).unwrap().to_owned();
            shared.received.lock().unwrap().push(request);
            match shared.next(Some(&path)) {
                Some(behaviour) => behaviour,
                None => Behaviour::answer(404, &[], ""),
            }
        }
    };
    tokio::time::sleep(behaviour.delay).await;
    stream.write_all(&behaviour.writes).await.ok();
    stream.flush().await.ok();
    behaviour.end
}

/// Reads a request whose body has a `Content-Length`. Returns `None` if it ends before.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Received> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let mut received = Received {
        head: String::from_utf8(head).unwrap(),
        body: String::new(),
    };
    let length = received
        .header("content-length")
        .map_or(0, |text| text.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    received.body = String::from_utf8(body).unwrap();
    Some(received)
}
