//! The tables `[tenants."NAMESPACE:NAME"]`, and what each tenant is served by.
//!
//! What a tenant's table leaves unset is as at the top of the file. Only providers and the mapping of older data have no place
//! there: they are one auth server's. Without any table there is one tenant, the one that
//! `tenant` names, and everything at the top is its own.

use std::time::Duration;

use super::{
    problem::{Problem, Problems},
    providers::{self, PROVIDERS},
    seal::KeyFiles,
    settings::{
        AccessSettings, Backend, LimitSettings, MigrationSettings, Reader, ServerOptions,
        StorageSettings, TenantSubjects, named, of_a_tenant,
    },
    together,
    written::Settings,
};
use crate::{
    audit::Witness,
    refresh::{Providers, provider::ProviderOptions},
    store::{PendingLimits, Sealing},
    tokens::{Limits, Rules},
    types::Tenant,
};
/// The name of the tables in the file.
pub(super) const TENANTS: &str = "tenants";

/// What a broker does for one tenant.
#[derive(Clone, Debug)]
pub struct TenantConfig {
    /// The tenant, and the rules and limits for its tokens.
    pub rules: Rules,
    /// What to do with its data of older software.
    pub migration: MigrationSettings,
    /// How its tokens are sealed.
    pub sealing: Sealing,
}

/// What all tenants share, as far as their settings must fit it.
pub(super) struct OfProcess {
    pub server: ServerOptions,
    pub backend: Backend,
    /// How long a call tries to find out what became of a write whose answer was lost.
    pub patience: Duration,
}

/// Returns the head of a tenant's table, without brackets.
pub(super) fn tenant_table(tenant: &str) -> String {
    format!("{TENANTS}.{tenant:?}")
}

/// Returns what is wrong with the tables of tenants themselves, such as unknown keys.
pub(super) fn misread(settings: &Settings) -> Vec<Problem> {
    let mut all = Vec::new();
    for (name, written) in settings.tenants() {
        let mut found = Problems::default();
        found.extend(written.problems());
        if !written.problems().is_empty() {
            providers::resolve(written, &mut found, &mut Vec::new());
        }
        all.extend(placed(name, found));
    }
    all
}

/// Returns all tenants, in the order of their names. Adds to `problems` what is wrong with them, and to `warnings` what the
/// operator should know.
///
/// `at_the_top` is what `tenant` names, and the values that stand outside of all tables. `of_process` has what the tenants share.
pub(super) fn resolve(
    settings: &Settings,
    at_the_top: (Tenant, TenantSubjects),
    of_process: &OfProcess,
    problems: &mut Problems,
    warnings: &mut Vec<Problem>,
) -> Vec<TenantConfig> {
    let (name, at_the_top) = at_the_top;
    let OfProcess {
        server,
        backend,
        patience,
    } = *of_process;
    let mut key_files = KeyFiles::default();
    server.check(problems);
    if settings.tenants().is_empty() {
        together::check_tenant(settings, &at_the_top.limits, problems);
        server.check_limits(&at_the_top.limits, problems);
        warnings.extend(together::warnings(&at_the_top.limits));
        let providers = providers::resolve(settings, problems, warnings);
        together::named_like_a_type(&providers, &at_the_top.migration, problems);
        let sealing = key_files.sealing(
            &at_the_top.seal,
            &at_the_top.vault,
            settings,
            &name,
            problems,
        );
        return vec![assembled((name, sealing), at_the_top, providers, patience)];
    }
    if !settings.tables().is_empty() {
        let message = format!(
            "belong to a tenant: write [{}.{PROVIDERS}.NAME]",
            tenant_table("NAMESPACE:NAME")
        );
        problems.add(PROVIDERS, message);
    }
    if settings.is_set(StorageSettings::tenant)
        && !problems.concern(StorageSettings::tenant)
        && !settings.tenants().contains_key(&name.to_string())
    {
        let message = format!(
            "must be one of the tenants that have a table, as in [{TENANTS}.\"acme:prod\"]"
        );
        problems.add(StorageSettings::tenant, message);
    }
    if settings.is_set(MigrationSettings::legacy_provider) {
        let message = "belongs to a tenant: write it into its table";
        problems.add(MigrationSettings::legacy_provider, message);
    }
    let is_one = settings.is_set(StorageSettings::tenant) || settings.tenants().len() == 1;
    if !is_one && !settings.is_set(AccessSettings::policy) {
        let policy = AccessSettings::policy;
        let message =
            format!("must be set, or {policy}: without a policy all calls are about one tenant");
        problems.add(StorageSettings::tenant, message);
    }
    let mut all = Vec::new();
    for (name, table) in settings.tenants() {
        let mut found = Problems::default();
        let tenant = match name.parse::<Tenant>() {
            Ok(tenant) => Some(tenant),
            Err(error) => {
                found.add("", error.to_string());
                None
            }
        };
        together::in_memory(table, backend, &mut found);
        let mut written = table.clone();
        let own = of_a_tenant().iter().map(|setting| setting.name);
        written.inherit(
            settings,
            own.filter(|name| *name != MigrationSettings::legacy_provider),
        );
        let mut reader = Reader::new(&written);
        let subjects = TenantSubjects::read(&mut reader);
        found.extend(&reader.problems.take());
        together::check_tenant(&written, &subjects.limits, &mut found);
        server.check_limits(&subjects.limits, &mut found);
        let mut known = together::warnings(&subjects.limits);
        let providers = providers::resolve(&written, &mut found, &mut known);
        together::named_like_a_type(&providers, &subjects.migration, &mut found);
        let tenant = tenant.map(|tenant| {
            let sealing = key_files.sealing(
                &subjects.seal,
                &subjects.vault,
                &written,
                &tenant,
                &mut found,
            );
            (tenant, sealing)
        });
        let tables = Tables {
            tenant: name,
            table,
            top: settings,
        };
        let found = found.take().into_iter();
        problems.extend_once(found.map(|problem| tables.named(problem)).collect());
        for warning in known.into_iter().map(|warning| tables.named(warning)) {
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        all.extend(tenant.map(|tenant| assembled(tenant, subjects, providers, patience)));
    }
    all
}

fn placed(tenant: &str, mut problems: Problems) -> Vec<Problem> {
    let placed = problems.take().into_iter();
    placed.map(|problem| within(tenant, problem)).collect()
}

/// The tables that have the settings of a tenant.
struct Tables<'a> {
    tenant: &'a str,
    /// Its table.
    table: &'a Settings,
    /// What counts where the table has nothing.
    top: &'a Settings,
}

impl Tables<'_> {
    /// Returns a problem with the settings that count for the tenant under the name that the operator wrote: what the table
    /// has from the top is told as a problem of the top.
    fn named(&self, problem: Problem) -> Problem {
        let name = &*problem.setting;
        let own = of_a_tenant().iter().find(|setting| setting.name == name);
        let is_of_subject = |is_set: &Settings| {
            let heading = own.and_then(|setting| setting.style.heading);
            let mut subject = of_a_tenant().iter();
            subject.any(|setting| setting.style.heading == heading && is_set.is_set(setting.name))
        };
        let is_at_top = match own {
            // A provider's, or the table itself.
            None if named(name).is_none() => false,
            // The process's.
            None => true,
            Some(_) if self.table.is_set(name) => false,
            Some(_) if self.top.is_set(name) => true,
            // It is lacking: beside what it belongs to.
            Some(_) => !is_of_subject(self.table) && is_of_subject(self.top),
        };
        if !is_at_top {
            return within(self.tenant, problem);
        }
        // The top may be in order by itself.
        let is_joint = own.is_none() || is_of_subject(self.table);
        let message = match is_joint {
            true => format!("for {}: {}", tenant_table(self.tenant), problem.message),
            false => problem.message,
        };
        Problem { message, ..problem }
    }
}

/// Adds the name of the tenant's table to a problem that was found in it.
fn within(tenant: &str, problem: Problem) -> Problem {
    let table = tenant_table(tenant);
    let setting = match &*problem.setting {
        "" => table,
        name => format!("{table}.{name}"),
    };
    Problem { setting, ..problem }
}

fn assembled(
    (tenant, sealing): (Tenant, Sealing),
    TenantSubjects {
        migration,
        seal: _,
        vault: _,
        tokens,
        limits,
    }: TenantSubjects,
    providers: Vec<ProviderOptions>,
    patience: Duration,
) -> TenantConfig {
    let LimitSettings {
        max_token_bytes,
        max_row_bytes,
        max_providers,
        max_identities,
        max_pending_of_client,
        max_pending,
    } = limits;
    let rules = Rules {
        tenant,
        limits: Limits {
            token_bytes: max_token_bytes,
            row_bytes: max_row_bytes,
            providers: max_providers,
            identities: max_identities,
            pending: PendingLimits {
                of_client: max_pending_of_client,
                of_tenant: max_pending,
            },
            type_names: migration.legacy_provider.type_names(),
        },
        refresh_lifetime: tokens.refresh_lifetime,
        refresh_in_grace: tokens.refresh_in_grace,
        providers: Providers::new(providers),
        witness: Witness::default(),
        patience,
        persistence: Rules::PERSISTENCE,
    };
    TenantConfig {
        rules,
        migration,
        sealing,
    }
}
