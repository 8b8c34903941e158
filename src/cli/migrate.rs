//! `token-broker migrate`: migrates the data of older software without serving.

use clap::Args;

use super::{
    Configured, DONE, REFUSED, complain,
    redis::{Words, report_of},
    report::ReportArgs,
};
use crate::{
    config::Config,
    store::{
        Error,
        redis::{
            RedisStore,
            maintenance::migration::{Migration, Report, progress},
        },
    },
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
    #[command(flatten)]
    report: ReportArgs,
    #[command(flatten)]
    pub(super) configured: Configured,
}

/// Migrates, prints the report, and returns the exit code.
pub(super) fn run(args: &MigrateArgs, config: Config) -> u8 {
    let allow_unmigrated = config.migration.allow_unmigrated;
    let words = Words {
        no_redis: "there is nothing to migrate in memory",
        afterwards: "; what was done stays done; run the command again to continue",
    };
    let migrated = report_of(config, args.report, &words, async |store, config| {
        migrate(args, &store, config).await
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

async fn migrate(args: &MigrateArgs, store: &RedisStore, config: Config) -> Result<Report, Error> {
    let migration = Migration::new(store, config.migration.legacy_provider);
    let progress = progress::on_stderr();
    let report = if args.dry_run {
        migration.dry_run(progress.as_ref()).await
    } else if args.finish {
        migration
            .finish(config.migration.allow_unmigrated, progress.as_ref())
            .await
    } else {
        migration.run(progress.as_ref()).await
    };
    progress.end();
    report
}
