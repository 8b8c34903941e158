//! Assembles a broker from its configuration, from top to bottom.

use std::{
    future::{Future, pending},
    sync::Arc,
};

use tokio::net::TcpListener;
use tonic::{
    codec::CompressionEncoding::Gzip,
    service::{LayerExt, Routes},
};
use tower::Layer;

use super::{
    ServeError,
    connection::Entrance,
    connections::ConnectionFigures,
    descriptors,
    health::Health,
    memory,
    metrics::{Calls, Guards, Link, Metrics, Refreshes, StoreCalls, Waits},
    pages, policy, prepare, run,
    services::{Services, Shared},
    signals, workers,
};
use crate::{
    access::Guard,
    config::{self, Config, PolicyAtStart, ServerOptions},
    meter::Trust,
    proto::{self, v1},
    rpc::{
        AccessTokensService, Admission, CallFigures, CallLimits, FrontDoor, RefusalLayer,
        ShortMessagesLayer, SideDoor, Stopping, StreamsLayer, TokenBrokerService,
    },
    store::{
        Figures, FullStore, MemoryStore, Observed, Sealed,
        redis::{Redis, maintenance::migration::Migration},
    },
    tokens::{Limits, Rules, Tokens},
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

/// How large a message to health or reflection may be, in bytes.
const ASIDE_BYTES: usize = 16 * 1024;
/// How many streams of reflection may be open.
const REFLECTION_STREAMS: usize = 64;

/// Runs the broker that `config` describes, until SIGTERM or SIGINT.
///
/// # Errors
/// Returns a [`ServeError`] if the broker ended for another reason.
pub async fn serve(mut config: Config) -> Result<(), ServeError> {
    pages::keep_small();
    memory::lock(config.memory_lock)?;
    let listener = run::listen(config.listen).await?;
    let (stop, hangups) = signals::terminated()?;
    let workers = workers::count(config.server.workers);
    let connections = &mut config.server.max_connections;
    *connections = descriptors::connections_that_fit(*connections, workers);
    // Each worker has its part of the connections to Redis.
    let workers = u32::try_from(workers).unwrap_or(u32::MAX);
    config.redis.connections = config.redis.connections.div_ceil(workers);
    let Some(PolicyAtStart { file, text, guard }) = config.policy.clone() else {
        let guard = Guard::open(config.tenant.clone());
        return serve_on(listener, config, guard, stop).await;
    };
    let following = policy::follow(file, text, guard.clone(), hangups);
    tokio::select! {
        ended = serve_on(listener, config, guard, stop) => ended,
        never = following => match never {},
    }
}

/// Serves whom `guard` lets in, until `stop` completes.
async fn serve_on(
    listener: TcpListener,
    config: Config,
    guard: Guard,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    match config.backend {
        config::Backend::Memory => {
            tracing::warn!("tokens are kept in memory: they are gone when this process ends");
            let sealed = Sealed::new(MemoryStore::new(), config.sealing.clone());
            let server = Server::new(sealed, config.rules, config.server);
            config.sealing.keys.tell(server.trust());
            let server = server.guarded_by(guard);
            let ready = async { Ok(()) };
            server.run(listener, ready, pending(), stop).await
        }
        config::Backend::Redis => {
            let store = Redis::new(config.redis).tenant(&config.tenant);
            let migration = Migration::new(&store, config.migration.legacy_provider);
            let rotates = config
                .rules
                .providers
                .iter()
                .any(|p| !p.tokens_may_be_shared());
            let sealing = config.sealing;
            let sealed = Sealed::new(store.clone(), sealing.clone());
            let server = Server::new(sealed, config.rules, config.server);
            sealing.keys.tell(server.trust());
            let server = server.guarded_by(guard);
            let ready = async {
                prepare::probe(&store).await?;
                if rotates {
                    store.warn_of_hazards().await;
                }
                prepare::migrate(&migration, config.migration.allow_unmigrated).await?;
                prepare::may_seal(&store, &sealing).await
            };
            let admission = server.admission.clone();
            let staying = prepare::stay_migrated(
                (&store, &sealing),
                &migration,
                &admission,
                config.migration.legacy_sweep_interval,
                config.migration.allow_unmigrated,
            );
            let ended = server.run(listener, ready, staying, stop).await;
            migration.leases_given_up().await;
            ended
        }
    }
}

/// A broker that is assembled but doesn't listen yet.
#[derive(Debug)]
pub struct Server<S> {
    pub(super) tenant: Tenant,
    pub(super) tokens: Arc<Tokens<Observed<S>>>,
    pub(super) options: ServerOptions,
    pub(super) guard: Guard,
    pub(super) admission: Admission,
    pub(super) stopping: Stopping,
    pub(super) health: Health,
    pub(super) connections: Arc<ConnectionFigures>,
    pub(super) calls: Arc<CallFigures>,
    pub(super) trust: Arc<Trust>,
}

impl<S: FullStore> Server<S> {
    /// Assembles a broker that keeps tokens in `store` according to the `rules` of one tenant. It serves anybody.
    #[must_use]
    pub fn new(store: S, rules: Rules, options: ServerOptions) -> Self {
        let tenant = rules.tenant.clone();
        let limits = CallLimits {
            calls: options.max_calls,
            bytes: options.max_bytes_in_flight,
            largest: options.max_message_bytes.max(largest_answer(&rules.limits)),
        };
        let store = Observed::new(store, Figures::default());
        Self {
            guard: Guard::open(tenant.clone()),
            tenant,
            tokens: Arc::new(Tokens::new(store, rules)),
            options,
            admission: Admission::new(limits),
            stopping: Stopping::new(),
            health: Health::new(),
            connections: Arc::default(),
            calls: Arc::default(),
            trust: Arc::default(),
        }
    }

    /// Returns what this broker measures.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let tenant = || self.tenant.clone();
        Metrics::new()
            .with(Calls {
                tenant: tenant(),
                figures: Arc::clone(&self.calls),
            })
            .with(Waits(self.admission.clone()))
            .with(StoreCalls {
                tenant: tenant(),
                tokens: Arc::clone(&self.tokens),
            })
            .with(Refreshes {
                tenant: tenant(),
                providers: self.tokens.providers().clone(),
            })
            .with(Link(Arc::clone(&self.tokens)))
            .with(Arc::clone(&self.connections))
            .with(Guards {
                guard: self.guard.clone(),
                trust: Arc::clone(&self.trust),
            })
    }

    /// Returns the numbers that those who guard the broker fill.
    #[must_use]
    pub fn trust(&self) -> &Arc<Trust> {
        &self.trust
    }

    /// Returns the broker with another guard, which says whom it serves.
    #[must_use]
    pub fn guarded_by(self, guard: Guard) -> Self {
        Self { guard, ..self }
    }

    pub(super) fn entrance(
        &self,
    ) -> Result<Entrance<impl Shared + use<S>>, tonic_reflection::server::Error> {
        let options = self.options;
        let door = |service| {
            FrontDoor::new(
                service,
                self.guard.clone(),
                Arc::clone(&self.calls),
                self.admission.clone(),
                options.call_timeout,
                options.max_message_bytes,
            )
        };
        let broker_door = door(v1::token_broker_server::SERVICE_NAME);
        let access_door = door(v1::access_tokens_server::SERVICE_NAME);
        let broker = TokenBrokerService::new(Arc::clone(&self.tokens));
        let broker = v1::token_broker_server::TokenBrokerServer::new(broker)
            .accept_compressed(Gzip)
            .max_decoding_message_size(options.max_message_bytes)
            .max_encoding_message_size(usize::MAX);
        let access = AccessTokensService::new(Arc::clone(&self.tokens));
        let access = v1::access_tokens_server::AccessTokensServer::new(access)
            .accept_compressed(Gzip)
            .max_decoding_message_size(options.max_message_bytes)
            .max_encoding_message_size(usize::MAX);
        let refusals = RefusalLayer {
            message_limit: options.max_message_bytes,
        };
        let streaming = proto::streaming_methods(&[&DESCRIPTORS[..], &REFLECTION].concat())?;
        let side_door = |streams| {
            let (admission, streaming) = (self.admission.clone(), streaming.clone());
            SideDoor::new(admission, streaming, streams, options.call_timeout)
        };
        // Each connection may watch the health.
        let probes = side_door(options.max_connections);
        let tools = side_door(REFLECTION_STREAMS);
        let health = self
            .health
            .service()
            .accept_compressed(Gzip)
            .max_decoding_message_size(ASIDE_BYTES);
        let reflection_v1 = reflection()
            .build_v1()?
            .accept_compressed(Gzip)
            .max_decoding_message_size(ASIDE_BYTES);
        let reflection_v1alpha = reflection()
            .build_v1alpha()?
            .accept_compressed(Gzip)
            .max_decoding_message_size(ASIDE_BYTES);
        let others = Routes::new(probes.named_layer(ShortMessagesLayer.named_layer(health)))
            .add_service(tools.named_layer(ShortMessagesLayer.named_layer(reflection_v1)))
            .add_service(tools.named_layer(ShortMessagesLayer.named_layer(reflection_v1alpha)))
            .prepare();
        Ok(Entrance {
            services: Services {
                broker: broker_door.layer(refusals.layer(broker)),
                access: access_door.layer(refusals.layer(access)),
                others: StreamsLayer::new(streaming, self.stopping.clone()).layer(others),
            },
            admission: self.admission.clone(),
            options,
        })
    }
}

/// Returns about how large an answer with all rows of a session may be, in bytes.
fn largest_answer(limits: &Limits) -> usize {
    // An entry also has two names of its provider, a version and times.
    let entry = limits.row_bytes.saturating_add(2048);
    limits.providers.saturating_mul(entry)
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    DESCRIPTORS.into_iter().fold(
        tonic_reflection::server::Builder::configure(),
        tonic_reflection::server::Builder::register_encoded_file_descriptor_set,
    )
}
