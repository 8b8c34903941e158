//! `token-broker migrate`: migrates the data of older software without serving.

use std::io;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::{
    Configured, DONE, REFUSED, complain,
    redis::{Words, on_redis, report_of},
    report::ReportArgs,
};
use crate::{
    config::{Config, TenantConfig},
    store::redis::{
        RedisStore,
        maintenance::{
            migration::{Migration, Report, progress},
            tenants::TenantsWithData,
        },
    },
    types::Tenant,
};

/// The options of `migrate`.
#[derive(Args, Clone, Debug)]
pub(super) struct MigrateArgs {
    /// Change nothing; report exactly what a run would do
    #[arg(long, conflicts_with = "finish")]
    dry_run: bool,
    /// Migrate what is left and end the grace period. Use it once no other software writes any more
    #[arg(long)]
    finish: bool,
    /// Begin the grace period of a tenant that has none. Use it before other software writes to a
    /// tenant that only brokers have written to
    #[arg(long, conflicts_with_all = ["dry_run", "finish"])]
    begin_grace: bool,
    #[command(flatten)]
    report: ReportArgs,
    #[command(flatten)]
    pub(super) configured: Configured,
}

/// Why no grace period is begun.
const NO_GRACE: &str = "seal-keys: the tenant's rows are sealed, and other software would take them for rows without tokens: no \
    grace period is begun; end it at once with --finish, or leave legacy-provider out";

/// Migrates, prints the report, and returns the exit code.
pub(super) fn run(args: &MigrateArgs, config: Config, tenant: TenantConfig) -> u8 {
    let (name, allow_unmigrated) = (tenant.rules.tenant, tenant.migration.allow_unmigrated);
    let settings = tenant.migration;
    let sealing = tenant.sealing;
    let seals = sealing.keys.ring().sealing().is_some();
    if args.begin_grace && seals {
        complain(NO_GRACE);
        return REFUSED;
    }
    let words = Words {
        no_redis: "there is nothing to migrate in memory",
        afterwards: "; what was done stays done; run the command again to continue",
    };
    if seals && !args.finish && !args.dry_run {
        let mapping = settings.legacy_provider.clone();
        let begins = on_redis((config.clone(), &name), &words, async |store| {
            Migration::new(&store, mapping, sealing.clone())
                .would_begin_grace()
                .await
        });
        match begins {
            Ok(false) => {}
            Ok(true) => {
                complain(NO_GRACE);
                return REFUSED;
            }
            Err((code, message)) => {
                complain(&message);
                return code;
            }
        }
    }
    let migrated = report_of((config, &name), args.report, &words, async |store| {
        let migration = Migration::new(&store, settings.legacy_provider, sealing);
        migrate(args, &store, &name, &migration, allow_unmigrated).await
    });
    let report = match migrated {
        Ok(report) => report,
        Err(code) => return code,
    };
    let refused = !report.is_complete() && !allow_unmigrated;
    if refused && args.finish {
        complain(
            "the grace period continues because some of the data can't be migrated; see --allow-unmigrated",
        );
    }
    if refused { REFUSED } else { DONE }
}

/// Migrates. On SIGTERM or SIGINT it stops wherever it is, and gives its lease up.
///
/// # Errors
/// Returns what went wrong, for the operator.
async fn migrate(
    args: &MigrateArgs,
    store: &RedisStore,
    tenant: &Tenant,
    migration: &Migration,
    allow_unmigrated: bool,
) -> Result<Report, String> {
    let interrupted = interrupted().map_err(|error| format!("can't listen to signals: {error}"))?;
    let progress = progress::on_stderr();
    let migrating = async {
        if args.dry_run {
            migration.dry_run(progress.as_ref()).await
        } else if args.finish {
            migration.finish(allow_unmigrated, progress.as_ref()).await
        } else if args.begin_grace {
            migration.begin_grace(progress.as_ref()).await
        } else {
            migration.run(progress.as_ref()).await
        }
    };
    let report = tokio::select! {
        report = migrating => report.map_err(|error| error.to_string()),
        () = interrupted => Err("interrupted".to_owned()),
    };
    progress.end();
    migration.leases_given_up().await;
    if report.as_ref().is_ok_and(|report| report.is_empty)
        && let Ok(others) = TenantsWithData::beside(store).await
    {
        complain(&format!(
            "tenant: {tenant} holds no data; in this Redis {others}"
        ));
    }
    report
}

/// Returns a future that completes when SIGTERM or SIGINT arrives. From this call on, these signals don't kill the
/// process.
fn interrupted() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
