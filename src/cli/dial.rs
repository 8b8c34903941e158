//! Connecting to a broker: by TCP or a Unix socket, in plain text or over TLS.

use std::{io, path::PathBuf, sync::Arc};

use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

/// Where a broker is, and how to connect to it.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub address: BrokerAddress,
    /// How to use TLS, and the name that the broker's certificate must be for.
    pub tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

/// Where a broker is.
#[derive(Clone, Debug)]
pub(super) enum BrokerAddress {
    /// An address or a name, with a port.
    Tcp(String),
    /// A Unix socket.
    Unix(PathBuf),
}

/// A connection to a broker.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Target {
    /// Connects.
    ///
    /// # Errors
    /// Returns why that failed.
    pub async fn connect(&self) -> Result<Channel, tonic::transport::Error> {
        // With TLS, too: it is done here. The host is what the broker is asked for, which it doesn't look at.
        let endpoint = Endpoint::from_static("http://broker");
        let target = self.clone();
        let connect = service_fn(move |_| {
            let target = target.clone();
            async move { target.stream().await.map(TokioIo::new) }
        });
        endpoint.connect_with_connector(connect).await
    }

    async fn stream(&self) -> io::Result<Box<dyn Stream>> {
        let stream: Box<dyn Stream> = match &self.address {
            BrokerAddress::Tcp(address) => Box::new(TcpStream::connect(address).await?),
            BrokerAddress::Unix(path) => Box::new(UnixStream::connect(path).await?),
        };
        match &self.tls {
            None => Ok(stream),
            Some((config, name)) => {
                let connector = TlsConnector::from(Arc::clone(config));
                let stream = connector.connect(name.clone(), stream).await?;
                Ok(Box::new(stream))
            }
        }
    }
}

impl std::fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
