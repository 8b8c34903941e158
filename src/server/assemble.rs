//! Assembles a broker from its configuration, from top to bottom.

use std::{convert::Infallible, future::Future, pin::pin, sync::Arc, time::Duration};

use tokio::task::JoinSet;
use tracing::Span;

use super::{
    ServeError, Upkeep,
    connections::ConnectionFigures,
    descriptors,
    entrance::HEALTH_CONNECTIONS,
    health::Health,
    listeners::Listeners,
    memory, pages, policy,
    prepare::{self, Migrated},
    probes,
    signals::{self, Hangups},
    tenancy::{Ready, Tenancy},
    workers,
};
use crate::{
    access::Guard,
    audit::{Audit, Witness},
    config::{self, Config, ListenOptions, PolicyAtStart, ServerOptions, TenantConfig},
    meter::Trust,
    rpc::{Admission, CallFigures, CallLimits, Stopping, TenantDoor, TenantLimits},
    store::{Decorate, Figures, FullStore, MemoryStore, Observed, Sealed, redis::Redis},
    tokens::{Limits, Rules, Tokens},
    traces::Traces,
    types::Tenant,
    upheld::upheld,
};

/// One of several tenants may have one part in so many of the calls in flight...
const PART_OF_CALLS: usize = 8;
/// ...but this many in any case.
const CALLS_OF_A_TENANT: usize = 100;
/// One of several tenants may have one part in so many of the bytes in flight.
const PART_OF_BYTES: usize = 4;
/// How long the end of the process waits for the last events to be written.
const LAST_EVENTS: Duration = Duration::from_secs(5);

/// How long the end of the process waits for the last spans to be sent.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// Runs the broker that `config` describes, until SIGTERM or SIGINT. Its stores are decorated by `decorate`.
///
/// # Errors
/// Returns a [`ServeError`] if the broker ended for another reason.
pub async fn serve(mut config: Config, decorate: &impl Decorate) -> Result<(), ServeError> {
    pages::keep_small();
    memory::lock(config.memory_lock)?;
    let others = probes_of(&config.listen);
    let (stop, hangups) = signals::terminated()?;
    let mut stop = pin!(stop);
    let opened = async {
        // Before anything is served: without its keys a broker would take sealed rows for unreadable ones.
        unlock(&config.tenants).await?;
        Listeners::open(config.listen.clone()).await
    };
    let listeners = tokio::select! {
        opened = opened => opened?,
        () = &mut stop => return Ok(()),
    };
    let mut following = JoinSet::new();
    if let Some(tls) = listeners.tls.clone() {
        let hangups = hangups.clone();
        following.spawn(upheld("following the parts of TLS", move || {
            Arc::clone(&tls).follow(hangups.clone().stream())
        }));
    }
    for keys in config.sealing_keys() {
        let hangups = hangups.clone();
        following.spawn(upheld("following the sealing keys", move || {
            let (keys, hangups) = (keys.clone(), hangups.clone());
            async move { keys.follow(hangups.stream()).await }
        }));
    }
    let workers = workers::count(config.server.workers);
    let connections = &mut config.server.max_connections;
    *connections = descriptors::connections_that_fit(*connections, workers, others);
    // Each worker has its part of the connections to Redis.
    let workers = u32::try_from(workers).unwrap_or(u32::MAX);
    config.redis.connections = config.redis.connections.div_ceil(workers);
    let audit = match config.audit.take() {
        Some(options) => Audit::start(options)?,
        None => Audit::off(),
    };
    let traces = config.traces.take().map(Traces::start).unwrap_or_default();
    let told = (audit.clone(), traces.clone());
    let ended = tokio::select! {
        ended = serve_audited(listeners, (config, decorate), told, stop, hangups.clone()) => ended,
        never = upheld("having audit files opened again", || reopen(&audit, hangups.clone())) => match never {},
    };
    tokio::join!(audit.close(LAST_EVENTS), traces.close(LAST_SPANS));
    ended
}

/// Has the sealing keys unwrapped that are wrapped.
async fn unlock(tenants: &[TenantConfig]) -> Result<(), ServeError> {
    for TenantConfig { sealing, .. } in tenants {
        let unlocked = sealing.keys.unlock().await;
        unlocked.map_err(|problem| ServeError::Wrapped(problem.to_string()))?;
    }
    Ok(())
}

/// Has the files of the trail opened again at each SIGHUP.
async fn reopen(audit: &Audit, mut hangups: Hangups) -> Infallible {
    loop {
        hangups.next().await;
        audit.reopen();
    }
}

/// Serves whom the policy lets in, until `stop` completes.
async fn serve_audited(
    listeners: Listeners,
    (mut config, decorate): (Config, &impl Decorate),
    told: (Audit, Traces),
    stop: impl Future<Output = ()>,
    hangups: Hangups,
) -> Result<(), ServeError> {
    for TenantConfig { rules, .. } in &mut config.tenants {
        rules.witness = Witness::of(told.0.clone(), Arc::new(rules.tenant.clone()));
    }
    let Some(PolicyAtStart { file, text, guard }) = config.policy.clone() else {
        let tenant = config
            .tenant()
            .map_err(|problem| ServeError::Misconfigured(problem.to_string()));
        let guard = Guard::open(tenant?.rules.tenant.clone());
        return serve_on(listeners, (config, decorate), guard, told, stop).await;
    };
    let mut in_force = Some(text.digest());
    if let Some(policy) = guard.policy() {
        policy::tell(&told.0, text.digest(), &policy);
    }
    drop(text);
    let audit = told.0.clone();
    let following = upheld("following the policy", || {
        // After a panic it isn't known which one is in force.
        let in_force = in_force.take().unwrap_or_default();
        let (guard, audit) = (guard.clone(), audit.clone());
        policy::follow(file.clone(), in_force, (guard, audit), hangups.clone())
    });
    tokio::select! {
        ended = serve_on(listeners, (config, decorate), guard.clone(), told, stop) => ended,
        never = following => match never {},
    }
}

/// Serves whom `guard` lets in, until `stop` completes.
async fn serve_on(
    listeners: Listeners,
    (config, decorate): (Config, &impl Decorate),
    guard: Guard,
    told: (Audit, Traces),
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let (audit, traces) = told;
    let trust = Arc::clone(&listeners.trust);
    let tls = listeners.tls.clone();
    let secure = async move {
        match tls {
            Some(tls) => tls.ready().await.map_err(ServeError::Misconfigured),
            None => Ok(()),
        }
    };
    let tenants = config.tenants.iter();
    let keys: Vec<_> = tenants.map(|tenant| tenant.sealing.keys.clone()).collect();
    match config.backend {
        config::Backend::Memory => {
            tracing::warn!("tokens are kept in memory: they are gone when this process ends");
            let tenants = config.tenants.into_iter();
            let tenants = tenants.map(|TenantConfig { rules, sealing, .. }| {
                let upkeep: Box<dyn Upkeep> = Box::new(Ready);
                let store = decorate.around(Sealed::new(MemoryStore::new(), sealing));
                (store, rules, upkeep)
            });
            let server = Server::new(guard, tenants, config.server)
                .with_trust(trust)
                .audited_by(audit)
                .traced_by(traces);
            keys.iter().for_each(|keys| keys.tell(server.trust()));
            server.run(listeners, secure, stop).await
        }
        config::Backend::Redis => {
            let redis = Redis::new(config.redis);
            let Some(first) = config.tenants.first() else {
                return Ok(());
            };
            let store = redis.tenant(&first.rules.tenant);
            let mut of_tenants = config.tenants.iter();
            let rotates = of_tenants.any(|tenant| {
                let mut providers = tenant.rules.providers.iter();
                providers.any(|p| !p.tokens_may_be_shared())
            });
            let tenants = config.tenants.into_iter();
            let tenants = tenants.map(|tenant| {
                let store = redis.tenant(&tenant.rules.tenant);
                let upkeep = Migrated::new(&store, tenant.migration, tenant.sealing.clone());
                let upkeep: Box<dyn Upkeep> = Box::new(upkeep);
                let store = decorate.around(Sealed::new(store, tenant.sealing));
                (store, tenant.rules, upkeep)
            });
            let server = Server::new(guard, tenants, config.server)
                .with_trust(trust)
                .audited_by(audit)
                .traced_by(traces);
            keys.iter().for_each(|keys| keys.tell(server.trust()));
            let reach = async {
                secure.await?;
                prepare::probe(&store).await?;
                if rotates {
                    store.warn_of_hazards().await;
                }
                Ok(())
            };
            server.run(listeners, reach, stop).await
        }
    }
}

/// Returns how many connections of probes there may be.
fn probes_of(listen: &ListenOptions) -> usize {
    // Each listener is one, too.
    let health = listen.health.map_or(0, |_| HEALTH_CONNECTIONS + 1);
    let metrics = listen.metrics.map_or(0, |_| probes::CONNECTIONS + 1);
    health + metrics
}

/// A broker that is assembled but doesn't listen yet.
pub struct Server<S> {
    pub(super) tenants: Vec<Tenancy<S>>,
    pub(super) options: ServerOptions,
    pub(super) guard: Guard,
    pub(super) audit: Audit,
    pub(super) traces: Traces,
    pub(super) admission: Admission,
    pub(super) stopping: Stopping,
    pub(super) health: Health,
    pub(super) connections: Arc<ConnectionFigures>,
    pub(super) of_nobody: Arc<CallFigures>,
    pub(super) trust: Arc<Trust>,
}

impl<S: FullStore> Server<S> {
    /// Assembles a broker of these tenants for the callers whom `guard` lets in. Each tenant has a store and rules of its
    /// own, and the upkeep of its data.
    #[must_use]
    pub fn new(
        guard: Guard,
        tenants: impl IntoIterator<Item = (S, Rules, Box<dyn Upkeep>)>,
        options: ServerOptions,
    ) -> Self {
        let tenants: Vec<_> = tenants.into_iter().collect();
        let largest = tenants
            .iter()
            .map(|(_, rules, _)| largest_answer(&rules.limits));
        let has_others = tenants.len() > 1;
        let limits = CallLimits {
            calls: options.max_calls,
            bytes: options.max_bytes_in_flight,
            largest: options
                .max_message_bytes
                .max(largest.max().unwrap_or_default()),
            of_a_tenant: has_others.then(|| of_a_tenant(&options)),
        };
        let admission = Admission::new(limits);
        let health = Health::new(tenants.iter().map(|(_, rules, _)| &rules.tenant));
        let tenants = tenants.into_iter().map(|(store, rules, upkeep)| Tenancy {
            door: TenantDoor {
                share: admission.tenant(),
                figures: Arc::default(),
                scope: match has_others {
                    // Lines of every level are in it.
                    true => tracing::error_span!("serving", tenant = %rules.tenant),
                    false => Span::none(),
                },
            },
            tokens: Arc::new(Tokens::new(Observed::new(store, Figures::default()), rules)),
            upkeep,
        });
        Self {
            tenants: tenants.collect(),
            options,
            guard,
            audit: Audit::off(),
            traces: Traces::off(),
            admission,
            stopping: Stopping::new(),
            health,
            connections: Arc::default(),
            of_nobody: Arc::default(),
            trust: Arc::default(),
        }
    }

    /// Returns the broker with an audit trail.
    #[must_use]
    pub fn audited_by(self, audit: Audit) -> Self {
        Self { audit, ..self }
    }

    /// Returns the broker with calls that are traced.
    #[must_use]
    pub fn traced_by(self, traces: Traces) -> Self {
        Self { traces, ..self }
    }

    /// Returns the broker with other numbers for those who guard it to fill.
    #[must_use]
    pub fn with_trust(self, trust: Arc<Trust>) -> Self {
        Self { trust, ..self }
    }

    /// Returns the numbers that those who guard the broker fill.
    #[must_use]
    pub fn trust(&self) -> &Arc<Trust> {
        &self.trust
    }

    /// Returns the tenant, if there is only one.
    pub(super) fn only_tenant(&self) -> Option<&Tenant> {
        match &self.tenants[..] {
            [only] => Some(only.tokens.tenant()),
            _ => None,
        }
    }
}

/// Returns what one of several tenants may have.
fn of_a_tenant(options: &ServerOptions) -> TenantLimits {
    let usual = (options.max_calls / PART_OF_CALLS).max(CALLS_OF_A_TENANT);
    let calls = options.max_calls_of_tenant.unwrap_or(usual);
    TenantLimits {
        calls: calls.min(options.max_calls),
        bytes: options.max_bytes_in_flight / PART_OF_BYTES,
    }
}

/// Returns about how large an answer with all rows of a session may be, in bytes.
fn largest_answer(limits: &Limits) -> usize {
    // An entry also has two names of its provider, a version and times.
    let entry = limits.row_bytes.saturating_add(2048);
    limits.providers.saturating_mul(entry)
}
