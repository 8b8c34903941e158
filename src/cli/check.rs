//! `token-broker check`: verifies the tenant's data while it is served, and mends it.

use clap::Args;

use super::{Configured, DONE, FAILED, REFUSED, USAGE, complain, report::ReportArgs, runtime};
use crate::{
    config::{Backend, Config},
    error::Error,
    store::redis::{
        RedisStore,
        check::{Check, Report},
        progress,
    },
};

/// What to do, and with which settings.
#[derive(Args, Clone, Debug)]
pub(super) struct CheckArgs {
    /// Mend what can be mended: indexes only, no row is changed or deleted
    #[arg(long)]
    repair: bool,
    /// How many findings of a kind the report lists; all are counted
    #[arg(long, default_value_t = crate::store::redis::check::LISTED, value_name = "COUNT")]
    list_at_most: usize,
    #[command(flatten)]
    report: ReportArgs,
    #[command(flatten)]
    pub(super) configured: Configured,
}

/// Checks, and prints the report.
pub(super) fn run(args: &CheckArgs, config: Config) -> u8 {
    if config.backend != Backend::Redis {
        complain("backend: must be redis, there is nothing to check in memory");
        return USAGE;
    }
    let report = match runtime().map(|runtime| runtime.block_on(check(args, config))) {
        Ok(Ok(report)) => report,
        Ok(Err(error)) => {
            let detail = error.operator_detail().unwrap_or_default();
            let mended = if args.repair {
                "; what was mended stays mended, run it again to go on"
            } else {
                ""
            };
            complain(&format!("{error}: {detail}{mended}"));
            return FAILED;
        }
        Err(error) => {
            complain(&format!("can't start: {error}"));
            return FAILED;
        }
    };
    if let Err(error) = args.report.print(&report) {
        complain(&format!("can't print the report: {error}"));
        return FAILED;
    }
    verdict(&report)
}

async fn check(args: &CheckArgs, config: Config) -> Result<Report, Error> {
    let store = RedisStore::new(&config.tenant, config.redis);
    let check = Check::new(&store)
        .repairing(args.repair)
        .listing(args.list_at_most);
    let progress = progress::on_stderr();
    let report = check.run(progress.as_ref()).await;
    progress.end();
    report
}

fn verdict(report: &Report) -> u8 {
    let (unmended, mendable) = (report.unmended(), report.mendable());
    if unmended == 0 {
        return DONE;
    }
    complain(&match (mendable, unmended - mendable) {
        (_, 0) => format!("damage: {unmended}; --repair mends it"),
        (0, _) => format!("damage: {unmended}, which needs you: the report tells what to do"),
        (some, others) => format!(
            "damage: {unmended}; --repair mends {some} of it, {others} need you: the report tells what \
             to do"
        ),
    });
    REFUSED
}
