//! `token-broker check`: verifies the tenant's data while brokers serve it, and mends it.

use clap::Args;

use super::{
    Configured, DONE, REFUSED, complain,
    redis::{Words, misnamed, report_of},
    report::ReportArgs,
};
use crate::{
    config::{Config, TenantConfig},
    store::{
        Error, Sealing,
        redis::{
            RedisStore,
            maintenance::{
                check::{Check, LISTED, Report},
                progress,
            },
        },
    },
};

/// The options of `check`.
#[derive(Args, Clone, Debug)]
pub(super) struct CheckArgs {
    /// Mend what can be mended. Only indexes are written, and the ends of what would stay for ever; no row is changed
    /// or deleted
    #[arg(long)]
    repair: bool,
    /// How many findings of each kind the report lists; it counts all of them
    #[arg(long, default_value_t = LISTED, value_name = "COUNT")]
    list_at_most: usize,
    #[command(flatten)]
    report: ReportArgs,
    #[command(flatten)]
    pub(super) configured: Configured,
}

/// Checks, prints the report, and returns the exit code.
pub(super) fn run(args: &CheckArgs, config: Config, tenant: &TenantConfig) -> u8 {
    let afterwards = if args.repair {
        "; what was mended stays mended; run the command again to continue"
    } else {
        ""
    };
    let words = Words {
        no_redis: "there is nothing to check in memory",
        afterwards,
    };
    let checked = report_of(
        (config, &tenant.rules.tenant),
        args.report,
        &words,
        async |store| check(args, &store, tenant.sealing.clone()).await,
    );
    match checked {
        Ok(report) => verdict(&report),
        Err(code) => code,
    }
}

async fn check(args: &CheckArgs, store: &RedisStore, sealing: Sealing) -> Result<Report, Error> {
    let check = Check::new(store)
        .repairing(args.repair)
        .listing(args.list_at_most)
        .opening(sealing);
    let progress = progress::on_stderr();
    let report = check.run(progress.as_ref()).await;
    progress.end();
    report
}

/// Tells the operator what is left to do, and returns the exit code.
fn verdict(report: &Report) -> u8 {
    if report.is_misnamed() {
        return misnamed(&report.tenant);
    }
    let (unmended, mendable) = (report.unmended(), report.mendable());
    if report.unmigrated() > 0 {
        complain(&format!(
            "not migrated: no call finds {} rows of the older layout; start a broker, or run `token-broker migrate`",
            report.unmigrated()
        ));
    }
    if report.counts.key_missing > 0 {
        complain(&format!(
            "sealed with keys that aren't in seal-keys: {} rows; `token-broker keys status` names the keys",
            report.counts.key_missing
        ));
    }
    if unmended == 0 {
        return if report.unmigrated() > 0 {
            REFUSED
        } else {
            DONE
        };
    }
    complain(&match (mendable, unmended - mendable) {
        (_, 0) => format!("damage: {unmended}; --repair mends it"),
        (0, _) => format!("damage: {unmended}, which needs you: the report says what to do"),
        (some, others) => format!(
            "damage: {unmended}; --repair mends {some} of it, {others} need you: the report says what \
             to do"
        ),
    });
    REFUSED
}
