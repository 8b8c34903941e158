//! A client that never hears that it should go.

use std::{io, sync::Arc};

use hyper_util::rt::TokioIo;
use testkit::http2::{GOAWAY, PING, read_frame};
use token_broker::proto::v1::token_broker_client::TokenBrokerClient;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, duplex},
    sync::Mutex,
};
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

/// Returns a client of this one connection, to whom the broker's GOAWAY doesn't come, nor the PING that asks whether it
/// did. So it goes on calling for as long as it is let.
pub async fn deaf(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
) -> TokenBrokerClient<Channel> {
    let (ours, theirs) = duplex(64 * 1024);
    tokio::spawn(without_farewells(stream, theirs));
    let ours = Arc::new(Mutex::new(Some(ours)));
    let connect = service_fn(move |_| {
        let ours = Arc::clone(&ours);
        async move {
            let only = ours.lock().await.take();
            only.map(TokioIo::new)
                .ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))
        }
    });
    let endpoint = Endpoint::from_static("http://broker");
    TokenBrokerClient::new(endpoint.connect_with_connector_lazy(connect))
}

/// Carries everything from the client, and from the broker all frames but these.
async fn without_farewells(stream: impl AsyncRead + AsyncWrite, client: DuplexStream) {
    let (mut from_broker, mut to_broker) = tokio::io::split(stream);
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let listening = async {
        while let Ok(frame) = read_frame(&mut from_broker).await {
            if ![PING, GOAWAY].contains(&frame.kind) {
                to_client.write_all(&frame.bytes()).await.ok();
            }
        }
    };
    let talking = async {
        tokio::io::copy(&mut from_client, &mut to_broker).await.ok();
        std::future::pending::<()>().await
    };
    tokio::select! {
        () = listening => {}
        () = talking => {}
    }
}
