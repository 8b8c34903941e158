//! A second look at a server that doesn't answer: does it speak TLS where none is asked for, or none where
//! it is? Neither says so by itself: a plain Redis waits for the rest of what it takes for a command.

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
    /// A better reason than `error`, if there is one.
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
    /// What the server has against the handshake. It may say so only after the handshake, in TLS 1.3.
    async fn refusal(
        &self,
        tls: &Tls,
        address: &Address,
        host: &str,
        port: u16,
    ) -> Option<ConnectError> {
        let (config, name) = (tls.load().ok()?, tls.name_for(host).ok()?);
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

/// Whether a handshake gets as far as a certificate, whoever vouches for it.
async fn speaks_tls(stream: tokio::net::TcpStream, host: &str) -> io::Result<bool> {
    let tls = Tls::default();
    let (Ok(config), Ok(name)) = (tls.load(), tls.name_for(host)) else {
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
