//! The running broker: services, health, connections, and how it stops.
//!
//! [`Server::run`] listens from the beginning, so that probes are answered; the `TokenBroker` service
//! refuses calls as `MIGRATING` until what has to come first is done.

mod connections;
mod health;

use std::{future::Future, sync::Arc};

use tokio::{
    net::TcpListener,
    sync::oneshot,
    time::{Instant, timeout_at},
};
use tonic::{service::LayerExt, transport};

use self::health::Health;
pub use self::health::LIVENESS;
use crate::{
    config::ServerOptions,
    proto::v1,
    rpc::{Calls, RefusalLayer, TokenBrokerService},
    store::Store,
    tokens::Tokens,
};

/// A broker that is assembled and doesn't listen yet.
#[derive(Debug)]
pub struct Server<S> {
    tokens: Arc<Tokens<S>>,
    options: ServerOptions,
    calls: Calls,
    health: Health,
}

/// Why a server ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError<E> {
    /// What has to come first failed.
    #[error("{0}")]
    Prepare(E),
    /// The transport failed.
    #[error("can't serve: {0}")]
    Transport(#[from] transport::Error),
    /// Reflection can't be assembled.
    #[error("can't serve reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

impl<S: Store> Server<S> {
    /// Assembles a broker that serves `tokens`.
    #[must_use]
    pub fn new(tokens: Arc<Tokens<S>>, options: ServerOptions) -> Self {
        let calls = Calls::new(options.max_calls, options.call_timeout);
        Self {
            tokens,
            options,
            calls,
            health: Health::new(),
        }
    }

    /// What is served.
    #[must_use]
    pub fn tokens(&self) -> Arc<Tokens<S>> {
        Arc::clone(&self.tokens)
    }

    /// Serves on `listener` until `stop` is done, then finishes the calls in flight. Calls are
    /// admitted and health may become SERVING once `prepare` is done; from then on `alongside` runs
    /// too.
    ///
    /// # Errors
    /// A [`ServeError`]; if `prepare` failed, nothing was served.
    pub async fn run<E>(
        self,
        listener: TcpListener,
        prepare: impl Future<Output = Result<(), E>>,
        alongside: impl Future<Output = ()>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), ServeError<E>> {
        self.health.begin().await;
        let (end, ended) = oneshot::channel::<()>();
        let incoming = connections::accept(listener, self.options);
        let router = self.router()?;
        let serving = router.serve_with_incoming_shutdown(incoming, async {
            ended.await.ok();
        });
        tokio::pin!(serving, stop);

        let watching = async {
            prepare.await.map_err(ServeError::Prepare)?;
            self.calls.open();
            let (never, ()) = tokio::join!(self.health.follow(self.tokens.backend()), alongside);
            match never {}
        };
        tokio::select! {
            () = &mut stop => {}
            served = &mut serving => return served.map_err(ServeError::Transport),
            watched = watching => return watched,
        }

        let grace = Instant::now() + self.options.shutdown_grace;
        tracing::info!(calls = self.calls.in_flight(), "stopping");
        self.health.stop().await;
        end.send(()).ok();
        let drained = async {
            // A client that watches the health would hold its connection to the end of the grace
            // period.
            let idle = async {
                self.calls.idle().await;
                self.health.end_watches().await;
            };
            tokio::join!(serving, idle).0
        };
        match timeout_at(grace, drained).await {
            Ok(served) => served?,
            Err(_) => tracing::warn!("the grace period is over: calls in flight are cut off"),
        }
        tracing::info!("stopped");
        Ok(())
    }

    fn router(&self) -> Result<transport::server::Router, tonic_reflection::server::Error> {
        let options = self.options;
        let broker = TokenBrokerService::new(Arc::clone(&self.tokens), self.calls.clone());
        let broker = v1::token_broker_server::TokenBrokerServer::new(broker)
            .max_decoding_message_size(options.max_message_bytes)
            .max_encoding_message_size(usize::MAX);
        let refusals = RefusalLayer {
            message_limit: options.max_message_bytes,
        };

        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                // So that tools can show the details of errors.
                .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        };
        Ok(transport::Server::builder()
            .http2_keepalive_interval(Some(options.keepalive_interval))
            .http2_keepalive_timeout(Some(options.keepalive_interval))
            .http2_max_header_list_size(16 * 1024)
            .max_concurrent_streams(1024)
            .add_service(refusals.named_layer(broker))
            .add_service(self.health.service())
            .add_service(reflection().build_v1()?)
            .add_service(reflection().build_v1alpha()?))
    }
}
