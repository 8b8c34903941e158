//! A second look at a server that doesn't answer. Does it use TLS although the settings don't, or the other
//! way round? Such a server doesn't say so itself: a Redis without TLS takes the handshake for the start of a
//! command and waits for the rest.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use tokio_rustls::{TlsConnector, rustls};

use super::{ConnectError, Connector, dial};
use crate::store::redis::{Address, Tls};

/// How long the second look may take.
const PATIENCE: Duration = Duration::from_millis(250);

impl Connector {
    /// Returns a better reason than `error`, or `error` if there is none.
    pub(super) async fn explain(&self, address: &Address, error: ConnectError) -> ConnectError {
        let Address::Tcp(host, port) = address else {
            return error;
        };
        let wants_tls = self.access.tls.is_some();
        let other = async {
            let stream = dial::tcp(host, *port).await?;
            if wants_tls {
                speaks_plainly(stream).await
            } else {
                speaks_tls(stream, host).await
            }
        };
        if let Some(tls) = &self.access.tls
            && let Ok(Some(refusal)) =
                timeout(PATIENCE, self.refusal(tls, address, host, *port)).await
        {
            return refusal;
        }
        match (timeout(PATIENCE, other).await, wants_tls) {
            (Ok(Ok(true)), true) => ConnectError::of(
                self.tls_setting(),
                format!("{address} speaks no TLS, and the settings ask for it"),
            ),
            (Ok(Ok(true)), false) => ConnectError::of(
                self.tls_setting(),
                format!("{address} speaks TLS, and the settings don't ask for it"),
            ),
            _ => error,
        }
    }
}

impl Connector {
    /// Returns the reason why the server refuses the handshake. With TLS 1.3 it may say so only after the
    /// handshake.
    async fn refusal(
        &self,
        tls: &Tls,
        address: &Address,
        host: &str,
        port: u16,
    ) -> Option<ConnectError> {
        let (config, name) = (tls.read().await.ok()?.ok()?, tls.name_for(host).ok()?);
        let stream = dial::tcp(host, port).await.ok()?;
        let mut stream = TlsConnector::from(config)
            .connect(name, stream)
            .await
            .ok()?;
        stream.write_all(b"PING\r\n").await.ok()?;
        let error = stream.read_u8().await.err()?;
        ConnectError::of_alert(self, address, &error)
    }
}

async fn speaks_plainly(mut stream: tokio::net::TcpStream) -> io::Result<bool> {
    stream.write_all(b"PING\r\n").await?;
    let first = stream.read_u8().await?;
    Ok(matches!(first, b'+' | b'-'))
}

/// Whether a TLS handshake gets as far as the server's certificate. The certificate need not be trusted.
async fn speaks_tls(stream: tokio::net::TcpStream, host: &str) -> io::Result<bool> {
    let tls = Tls::default();
    let (Ok(Ok(config)), Ok(name)) = (tls.read().await, tls.name_for(host)) else {
        return Ok(false);
    };
    let outcome = TlsConnector::from(Arc::clone(&config))
        .connect(name, stream)
        .await;
    Ok(match outcome {
        Ok(_) => true,
        Err(error) => matches!(
            error.get_ref().and_then(|inner| inner.downcast_ref()),
            Some(rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_))
        ),
    })
}
