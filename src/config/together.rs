//! What must hold between settings. A setting that would silently be ignored is a mistake: the operator
//! believes that it holds.

use std::time::Duration;

use super::{
    problem::{Problem, Problems},
    providers::table_of,
    settings::{
        Backend, DurabilitySettings, LimitSettings, LinkSettings, MigrationSettings, RedisSettings,
        ServerOptions, StorageSettings, Subjects, WriteIsDone, all,
    },
    written::Settings,
};
use crate::{refresh::provider::ProviderOptions, store::redis::Deployment};

/// The headings of the settings that have no effect in memory.
const OF_REDIS: [&str; 2] = [RedisSettings::HEADING, MigrationSettings::HEADING];

/// The most bytes that a row in an answer has beyond its own size: the provider's name, twice, and times,
/// version and framing.
const ROW_FRAMING: usize = 1280;

/// The largest message that gRPC clients accept unless they are told otherwise.
const CLIENTS_ACCEPT: usize = 4 << 20;

/// Returns the backend. A URL of Redis without a backend means Redis.
pub(super) fn backend(written: &Settings, read: &Subjects) -> Backend {
    let implied = !written.is_set(StorageSettings::backend);
    match implied && written.is_set(RedisSettings::redis_url) {
        true => Backend::Redis,
        false => read.storage.backend,
    }
}

/// Adds a problem for each setting that has no effect, or that contradicts another one.
pub(super) fn check(
    written: &Settings,
    read: &Subjects,
    backend: Backend,
    problems: &mut Problems,
) {
    in_memory(written, backend, problems);
    without_replicas(written, read, problems);
    without_failover(written, read, problems);
    longer_than_a_call(written, read, problems);
}

/// Adds a problem for each setting of one tenant that contradicts another one.
pub(super) fn check_tenant(written: &Settings, limits: &LimitSettings, problems: &mut Problems) {
    larger_than_a_row(written, limits, problems);
}

/// Adds a problem for each provider that is called like a protocol type. The tenant stores nothing for it, because what older
/// software kept of other providers lies under that name.
pub(super) fn named_like_a_type(
    providers: &[ProviderOptions],
    migration: &MigrationSettings,
    problems: &mut Problems,
) {
    let mapping = MigrationSettings::legacy_provider;
    let names = migration.legacy_provider.type_names();
    for provider in providers.iter().filter(|one| !names.allow(&one.name)) {
        let name = &provider.name;
        let message = format!(
            "is called like a protocol: give it a name of its own, or say with {mapping} that the older data of {name} is this \
             provider's ({name}={name})"
        );
        problems.add(&table_of(name.as_str()), message);
    }
}

/// Returns what the operator should know although it is allowed.
pub(super) fn warnings(limits: &LimitSettings) -> Vec<Problem> {
    [
        larger_than_clients_accept(limits),
        room_for_one_client(limits),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn larger_than_clients_accept(limits: &LimitSettings) -> Option<Problem> {
    let LimitSettings {
        max_row_bytes,
        max_providers,
        ..
    } = *limits;
    let full = max_providers.saturating_mul(max_row_bytes.saturating_add(ROW_FRAMING));
    if full <= CLIENTS_ACCEPT {
        return None;
    }
    let message = format!(
        "with {} = {max_providers}, a GetAll may answer {full} bytes, and gRPC clients accept \
         {CLIENTS_ACCEPT} by default: raise the limit in all clients that call GetAll",
        LimitSettings::max_providers
    );
    Some(Problem::new(LimitSettings::max_row_bytes, message))
}

fn room_for_one_client(limits: &LimitSettings) -> Option<Problem> {
    let LimitSettings {
        max_pending_of_client: of_client,
        max_pending: of_all,
        ..
    } = *limits;
    let message = format!(
        "leaves room for one client: with {} = {of_client}, its logins can lock out those of all others",
        LimitSettings::max_pending_of_client
    );
    (of_all <= of_client).then(|| Problem::new(LimitSettings::max_pending, message))
}

pub(super) fn in_memory(written: &Settings, backend: Backend, problems: &mut Problems) {
    if backend == Backend::Redis {
        return;
    }
    let (backend, url) = (StorageSettings::backend, RedisSettings::redis_url);
    let why = match written.is_set(backend) {
        true => format!("has no effect: {backend} is memory"),
        false => {
            format!("has no effect: without {url} or {backend} = redis, tokens are kept in memory")
        }
    };
    let of_redis =
        |heading: Option<&str>| heading.is_some_and(|heading| OF_REDIS.contains(&heading));
    for setting in all()
        .iter()
        .filter(|setting| of_redis(setting.style.heading))
    {
        if written.is_set(setting.name) {
            problems.add_together(setting.name, &[backend], why.clone());
        }
    }
}

fn without_replicas(written: &Settings, read: &Subjects, problems: &mut Problems) {
    let durability = DurabilitySettings::durability;
    if read.durability.durability == WriteIsDone::OnReplicas {
        return;
    }
    for name in [
        DurabilitySettings::durability_replicas,
        DurabilitySettings::durability_timeout,
        DurabilitySettings::durability_connections,
    ] {
        if written.is_set(name) {
            problems.add_together(
                name,
                &[durability],
                format!("has no effect without {durability} = replicated"),
            );
        }
    }
}

fn without_failover(written: &Settings, read: &Subjects, problems: &mut Problems) {
    let (url, wait) = (RedisSettings::redis_url, LinkSettings::redis_failover_wait);
    let is_one_server = matches!(read.redis.redis_url.deployment, Deployment::Standalone(_));
    if is_one_server && written.is_set(wait) {
        problems.add_together(
            wait,
            &[url],
            format!("has no effect: {url} names one server, and not sentinels or a cluster"),
        );
    }
}

fn longer_than_a_call(written: &Settings, read: &Subjects, problems: &mut Problems) {
    let call = ServerOptions::call_timeout;
    let limit = read.server.call_timeout;
    let (link, durability) = (&read.link, &read.durability);
    let spans: [(&str, Duration); 4] = [
        (
            LinkSettings::redis_connect_timeout,
            link.redis_connect_timeout,
        ),
        (LinkSettings::redis_timeout, link.redis_timeout),
        (LinkSettings::redis_failover_wait, link.redis_failover_wait),
        (
            DurabilitySettings::durability_timeout,
            durability.durability_timeout,
        ),
    ];
    for (name, span) in spans {
        // A default may be longer: who shortens all calls need not know of it.
        if written.is_set(name) && span > limit {
            let limit = humantime::format_duration(limit);
            let message =
                format!("must not be longer than {call}, which is {limit}: no call lasts longer");
            problems.add_together(name, &[call], message);
        }
    }
}

fn larger_than_a_row(written: &Settings, limits: &LimitSettings, problems: &mut Problems) {
    let (token, row) = (LimitSettings::max_token_bytes, LimitSettings::max_row_bytes);
    let LimitSettings {
        max_token_bytes,
        max_row_bytes,
        ..
    } = *limits;
    if written.is_set(token) && max_token_bytes > max_row_bytes {
        let message = format!(
            "must not be larger than {row}, which is {max_row_bytes}: a token is part of a row"
        );
        problems.add_together(token, &[row], message);
    }
}
