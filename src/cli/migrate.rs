//! `token-broker migrate`: brings in older data without serving.

use std::io::{self, Write};

use clap::{Args, ValueEnum};

use super::{Configured, DONE, FAILED, REFUSED, USAGE, complain, runtime};
use crate::{
    config::{Backend, Config},
    error::Error,
    store::redis::{
        RedisStore,
        migration::{Migration, Report, progress},
    },
};

/// What to do, and with which settings.
#[derive(Args, Clone, Debug)]
pub(super) struct MigrateArgs {
    /// Change nothing, and report exactly what a run would do
    #[arg(long, conflicts_with = "finish")]
    dry_run: bool,
    /// Migrate what is left and end the grace period: no other software writes any more
    #[arg(long)]
    finish: bool,
    /// How the report looks
    #[arg(long, value_enum, default_value = "text")]
    report: Format,
    #[command(flatten)]
    pub(super) configured: Configured,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Migrates, and prints the report. It names keys, which hold session ids: it goes to stdout, for
/// who asked, and never to the log.
pub(super) fn run(args: &MigrateArgs, config: Config) -> u8 {
    if config.backend != Backend::Redis {
        complain("backend: must be redis, there is nothing to migrate in memory");
        return USAGE;
    }
    let allow_unmigrated = config.allow_unmigrated;
    let report = match runtime().map(|runtime| runtime.block_on(migrate(args, config))) {
        Ok(Ok(report)) => report,
        Ok(Err(error)) => {
            let detail = error.operator_detail().unwrap_or_default();
            complain(&format!(
                "{error}: {detail}; what was done stays done, run it again to go on"
            ));
            return FAILED;
        }
        Err(error) => {
            complain(&format!("can't start: {error}"));
            return FAILED;
        }
    };
    if let Err(error) = print(&report, args.report) {
        complain(&format!("can't print the report: {error}"));
        return FAILED;
    }
    let refused = !report.is_complete() && !allow_unmigrated;
    if refused && args.finish {
        complain("the grace period goes on, because of what failed; see --allow-unmigrated");
    }
    if refused { REFUSED } else { DONE }
}

async fn migrate(args: &MigrateArgs, config: Config) -> Result<Report, Error> {
    let store = RedisStore::new(&config.tenant, config.redis);
    let migration = Migration::new(&store, config.legacy);
    let progress = progress::on_stderr();
    let report = if args.dry_run {
        migration.dry_run(progress.as_ref()).await
    } else if args.finish {
        migration
            .finish(config.allow_unmigrated, progress.as_ref())
            .await
    } else {
        migration.run(progress.as_ref()).await
    };
    progress.end();
    report
}

fn print(report: &Report, format: Format) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match format {
        Format::Text => write!(out, "{report}")?,
        Format::Json => {
            serde_json::to_writer_pretty(&mut out, report)?;
            writeln!(out)?;
        }
    }
    out.flush()
}
