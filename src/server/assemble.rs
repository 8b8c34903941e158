//! Assembles a broker from its configuration, from top to bottom.

use std::{future::pending, sync::Arc};

use tonic::{service::LayerExt, transport};
use tower::layer::util::{Identity, Stack};

use super::{ServeError, health::Health, prepare, run};
use crate::{
    config::{self, Config, ServerOptions},
    proto::{self, v1},
    rpc::{
        Admission, FrontDoor, RefusalLayer, ShortMessagesLayer, Stopping, StreamsLayer,
        TokenBrokerService,
    },
    store::{
        Figures, FullStore, MemoryStore, Observed,
        redis::{Redis, maintenance::migration::Migration},
    },
    tokens::{Rules, Tokens},
    types::Tenant,
};

/// The descriptors of all services except reflection, and of the messages that tools need.
const DESCRIPTORS: [&[u8]; 3] = [
    v1::FILE_DESCRIPTOR_SET,
    tonic_health::pb::FILE_DESCRIPTOR_SET,
    // Tools need these to show the details of errors.
    tonic_types::pb::FILE_DESCRIPTOR_SET,
];

/// The descriptors of reflection. tonic's reflection service registers them itself.
const REFLECTION: [&[u8]; 2] = [
    tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
    tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
];

/// Runs the broker that `config` describes, until SIGTERM or SIGINT.
///
/// # Errors
/// Returns a [`ServeError`] if the broker ended for another reason.
pub async fn serve(config: Config) -> Result<(), ServeError> {
    let listener = run::listen(config.listen).await?;
    let stop = run::terminated()?;
    match config.backend {
        config::Backend::Memory => {
            tracing::warn!("tokens are kept in memory: they are gone when this process ends");
            let server = Server::new(MemoryStore::new(), config.rules, config.server);
            let ready = async { Ok(()) };
            server.run(listener, ready, pending(), stop).await
        }
        config::Backend::Redis => {
            let store = Redis::new(config.redis).tenant(&config.tenant);
            let migration = Migration::new(&store, config.migration.legacy_provider);
            let server = Server::new(store.clone(), config.rules, config.server);
            let ready = async {
                prepare::probe(&store).await?;
                prepare::migrate(&migration, config.migration.allow_unmigrated).await
            };
            let stragglers = migration.watch_stragglers(config.migration.legacy_sweep_interval);
            server.run(listener, ready, stragglers, stop).await
        }
    }
}

/// A broker that is assembled but doesn't listen yet.
#[derive(Debug)]
pub struct Server<S> {
    pub(super) tenant: Tenant,
    pub(super) tokens: Arc<Tokens<Observed<S>>>,
    pub(super) options: ServerOptions,
    pub(super) admission: Admission,
    pub(super) stopping: Stopping,
    pub(super) health: Health,
}

/// The services, and the layers around all of them.
pub(super) type Router = transport::server::Router<Stack<StreamsLayer, Identity>>;

impl<S: FullStore> Server<S> {
    /// Assembles a broker that keeps tokens in `store` according to the `rules` of one tenant.
    #[must_use]
    pub fn new(store: S, rules: Rules, options: ServerOptions) -> Self {
        let tenant = rules.tenant.clone();
        let store = Observed::new(store, Figures::default());
        Self {
            tenant,
            tokens: Arc::new(Tokens::new(store, rules)),
            options,
            admission: Admission::new(options.max_calls),
            stopping: Stopping::new(),
            health: Health::new(),
        }
    }

    pub(super) fn router(&self) -> Result<Router, tonic_reflection::server::Error> {
        let options = self.options;
        let door = FrontDoor::new(
            self.admission.clone(),
            self.tenant.clone(),
            options.call_timeout,
        );
        let broker = TokenBrokerService::new(Arc::clone(&self.tokens), door);
        let broker = v1::token_broker_server::TokenBrokerServer::new(broker)
            .max_decoding_message_size(options.max_message_bytes)
            .max_encoding_message_size(usize::MAX);
        let refusals = RefusalLayer {
            message_limit: options.max_message_bytes,
        };
        Ok(transport::Server::builder()
            .http2_keepalive_interval(Some(options.keepalive_interval))
            .http2_keepalive_timeout(Some(options.keepalive_interval))
            .http2_max_header_list_size(16 * 1024)
            .max_concurrent_streams(1024)
            .layer(streams(self.stopping.clone())?)
            .add_service(refusals.named_layer(broker))
            .add_service(ShortMessagesLayer.named_layer(self.health.service()))
            .add_service(ShortMessagesLayer.named_layer(reflection().build_v1()?))
            .add_service(ShortMessagesLayer.named_layer(reflection().build_v1alpha()?)))
    }
}

fn streams(stopping: Stopping) -> Result<StreamsLayer, tonic_reflection::server::Error> {
    let methods = proto::streaming_methods(&[&DESCRIPTORS[..], &REFLECTION].concat())?;
    Ok(StreamsLayer::new(methods, stopping))
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    DESCRIPTORS.into_iter().fold(
        tonic_reflection::server::Builder::configure(),
        tonic_reflection::server::Builder::register_encoded_file_descriptor_set,
    )
}
