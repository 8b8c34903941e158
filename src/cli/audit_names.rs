//! `token-broker audit name`: tells whoever has an id and the audit key by which name it stands in events.

use std::{
    fmt::Write as _,
    io::{self, Read},
    path::PathBuf,
};

use clap::{Args, Subcommand};

use super::{USAGE, complain, out, path};
use crate::{
    audit::{Name, Names},
    types::{IdError, ProviderName, SecretBytes, SessionId, Tenant, UserId},
};

/// The options of `audit name`.
#[derive(Args, Clone, Debug)]
pub(super) struct NameArgs {
    /// The file with the audit key
    #[arg(long, value_name = "FILE", value_parser = path())]
    audit_key_file: PathBuf,
    /// The tenant that the ids belong to
    #[arg(long, value_name = "TENANT")]
    tenant: Tenant,
    #[command(subcommand)]
    sort: Sort,
}

/// What the ids on stdin are.
#[derive(Subcommand, Clone, Debug)]
enum Sort {
    /// Name rows: stdin has the ids of their sessions
    Row {
        /// The provider of the rows
        #[arg(long, value_name = "PROVIDER", value_parser = provider)]
        provider: ProviderName,
    },
    /// Name sessions
    Session,
    /// Name users
    User,
}

fn provider(text: &str) -> Result<ProviderName, IdError> {
    ProviderName::new(text)
}

/// Prints the name of each id on stdin, and returns the exit code. No message quotes an id.
pub(super) fn run(args: &NameArgs) -> u8 {
    match named(args) {
        Ok(names) => out(&names),
        Err(wrong) => {
            complain(&wrong);
            USAGE
        }
    }
}

fn named(args: &NameArgs) -> Result<String, String> {
    let names = Names::from_file(&args.audit_key_file)
        .map_err(|wrong| format!("--audit-key-file: {wrong}"))?;
    let mut ids = Vec::new();
    let read = io::stdin().read_to_end(&mut ids);
    let ids = SecretBytes::new(ids);
    read.map_err(|error| format!("stdin can't be read: {error}"))?;
    let ids = str::from_utf8(&ids).map_err(|_| "stdin is not UTF-8".to_owned())?;
    let mut text = String::new();
    for (at, id) in ids.lines().enumerate() {
        let name = name(&names, args, id);
        let name = name.map_err(|wrong| format!("line {} of stdin: the id {wrong}", at + 1))?;
        // Writing to a string doesn't fail.
        writeln!(text, "{name}").ok();
    }
    Ok(text)
}

fn name(names: &Names, args: &NameArgs, id: &str) -> Result<Name, IdError> {
    let tenant = &args.tenant;
    Ok(match &args.sort {
        Sort::Row { provider } => names.row(tenant, &SessionId::new(id)?, provider),
        Sort::Session => names.session(tenant, &SessionId::new(id)?),
        Sort::User => names.user(tenant, &UserId::new(id)?),
    })
}
