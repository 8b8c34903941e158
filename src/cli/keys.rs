//! `token-broker keys`: makes sealing keys, has them wrapped, counts what rows are sealed with, and seals all rows with the first key.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use clap::{Args, Subcommand};

use super::{
    Configured, DONE, FAILED, REFUSED, USAGE, complain,
    new_file::write_new,
    path,
    redis::{Words, misnamed, report_of},
    report::ReportArgs,
    with_keys, wrap,
};
use crate::{
    config::{Config, TenantConfig},
    seal::{MasterKey, Proof},
    store::redis::maintenance::{
        progress,
        reseal::{Report, Reseal, SHARE},
    },
    types::KeyName,
};

/// The options of `keys`.
#[derive(Args, Clone, Debug)]
pub(super) struct KeysArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// Make a new random key: the line of a key file with its name and the key, which may be wrapped
    Generate(Box<GenerateArgs>),
    /// Have the service that wraps keys (`vault-address`) wrap all keys of `seal-keys` with the latest version of its own key,
    /// also those that are plain. They stay the same keys
    Rewrap(Box<RewrapArgs>),
    /// Count which key each row is sealed with, and the rows that aren't sealed; exit code 3 if a key is missing, or a row can't
    /// be read
    Status(Box<StatusArgs>),
    /// Seal all rows with the first key while brokers serve them; exit code 3 if some can't be
    Rotate(Box<RotateArgs>),
}

#[derive(Args, Clone, Debug)]
struct GenerateArgs {
    /// The key's name: 1 to 64 letters, digits, - and _. By default it is made of the time
    #[arg(long, value_name = "NAME")]
    id: Option<String>,
    /// Write the key to this new file, which nobody else may read, instead of printing it. A file that exists is never
    /// changed
    #[arg(long, value_name = "FILE", value_parser = path())]
    out: Option<PathBuf>,
    /// Have the service that wraps keys (`vault-address`) make the key, and print it wrapped. The key itself never leaves the
    /// service here
    #[arg(long)]
    wrap: bool,
    #[command(flatten)]
    configured: Configured,
}

#[derive(Args, Clone, Debug)]
struct RewrapArgs {
    /// Write the keys to this new file, which nobody else may read, instead of printing them. A file that exists is never
    /// changed
    #[arg(long, value_name = "FILE", value_parser = path())]
    out: Option<PathBuf>,
    /// Believe the service that the keys stay the same. Otherwise it has to unwrap each key, as it was and as it is, and both are
    /// compared
    #[arg(long)]
    unproven: bool,
    #[command(flatten)]
    configured: Configured,
}

impl RewrapArgs {
    fn proof(&self) -> Proof {
        match self.unproven {
            true => Proof::None,
            false => Proof::Unwraps,
        }
    }
}

#[derive(Args, Clone, Debug)]
struct StatusArgs {
    #[command(flatten)]
    report: ReportArgs,
    #[command(flatten)]
    configured: Configured,
}

#[derive(Args, Clone, Debug)]
struct RotateArgs {
    /// The part of Redis' time that the work takes at most, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = SHARE, value_parser = clap::value_parser!(u8).range(1..=100))]
    share: u8,
    #[command(flatten)]
    report: ReportArgs,
    #[command(flatten)]
    configured: Configured,
}

/// Does what is asked, and returns the exit code.
pub(super) fn run(args: &KeysArgs) -> u8 {
    match &args.action {
        Action::Generate(args) => generate(args),
        Action::Rewrap(args) => match wrap::rewrap(&args.configured, args.proof()) {
            Ok(text) => write(args.out.as_deref(), &text),
            Err(code) => code,
        },
        Action::Status(args) => with_keys(&args.configured, |config, tenant| {
            status(args, config, &tenant)
        }),
        Action::Rotate(args) => with_keys(&args.configured, |config, tenant| {
            rotate(args, config, &tenant)
        }),
    }
}

fn generate(args: &GenerateArgs) -> u8 {
    let name = match &args.id {
        None => name_of_now(),
        Some(id) => match KeyName::new(id) {
            Some(name) => name,
            None => {
                complain("--id: a key's name is 1 to 64 letters, digits, - and _");
                return USAGE;
            }
        },
    };
    let out = args.out.as_deref();
    if args.wrap {
        return match wrap::generate(&args.configured, &name) {
            Ok(line) => write(out, &line),
            Err(code) => code,
        };
    }
    let Some(key) = MasterKey::generate(&name) else {
        complain("the system has no randomness for a key");
        return FAILED;
    };
    let code = write(out, &key.line());
    // Who notes down a key that isn't there, as one of seal-key-fingerprints, has none.
    if code == DONE {
        complain(&format!("the key is {}", key.id()));
    }
    code
}

/// Prints keys, or writes them to a new file. Returns the exit code.
fn write(out: Option<&Path>, keys: &[u8]) -> u8 {
    let written = match out {
        None => {
            let mut out = io::stdout();
            out.write_all(keys).and_then(|()| out.flush())
        }
        Some(path) => write_new(path, keys),
    };
    match written {
        Ok(()) => DONE,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            complain(
                "--out: the file exists, and keys are never overwritten: name another one, and move the lines by hand",
            );
            REFUSED
        }
        Err(error) => {
            complain(&format!("the keys can't be written: {error}"));
            FAILED
        }
    }
}

/// Returns a name for a key that is made now.
fn name_of_now() -> KeyName {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    KeyName::of_time(now.unwrap_or_default().as_secs())
}

const WORDS: Words = Words {
    no_redis: "rows in memory are sealed by one process alone",
    afterwards: "; what was sealed stays sealed; run the command again to continue",
};

fn status(args: &StatusArgs, config: Config, tenant: &TenantConfig) -> u8 {
    let of = (config, &tenant.rules.tenant);
    let counted = report_of(of, args.report, &WORDS, async |store| {
        let progress = progress::on_stderr();
        let report = Reseal::new(&store, tenant.sealing.clone())
            .status(progress.as_ref())
            .await;
        progress.end();
        report
    });
    match counted {
        Ok(report) if report.is_misnamed() => misnamed(&report.tenant),
        Ok(report) if report.counts.key_missing + report.counts.unreadable > 0 => REFUSED,
        Ok(_) => DONE,
        Err(code) => code,
    }
}

fn rotate(args: &RotateArgs, config: Config, tenant: &TenantConfig) -> u8 {
    let of = (config, &tenant.rules.tenant);
    if tenant.sealing.keys.ring().sealing().is_none() {
        complain("seal-keys: must name a file with the key to seal with");
        return USAGE;
    }
    let rotated = report_of(of, args.report, &WORDS, async |store| {
        let progress = progress::on_stderr();
        let reseal = Reseal::new(&store, tenant.sealing.clone()).taking(args.share);
        let report = reseal.run(progress.as_ref()).await;
        progress.end();
        report
    });
    match rotated {
        Ok(report) => verdict(&report),
        Err(code) => code,
    }
}

fn verdict(report: &Report) -> u8 {
    if report.is_misnamed() {
        return misnamed(&report.tenant);
    }
    if report.is_settled() {
        return DONE;
    }
    complain("not all rows are sealed with the first key, and stay so; the report says why");
    REFUSED
}
