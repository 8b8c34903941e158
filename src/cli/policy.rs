//! `token-broker policy`: checks the policy, and explains what a caller may do and why.

use std::fmt::Write as _;

use clap::{Args, Subcommand};

use super::{Configured, DONE, FAILED, USAGE, complain, configured, out};
use crate::{
    access::{Caller, Concerns, Credential, Policy, Rpc, Ways},
    config::{Config, meant},
    types::ProviderSet,
};

/// The options of `policy`.
#[derive(Args, Clone, Debug)]
pub(super) struct PolicyArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// Check the file of the policy with the other settings, and list the callers, or explain what one of them may do and
    /// why. Connects to nothing. Exit code 1 if the broker can know none of them by anything
    Check(Box<CheckArgs>),
}

#[derive(Args, Clone, Debug)]
struct CheckArgs {
    /// The name of a caller
    #[arg(value_name = "CALLER")]
    caller: Option<String>,
    #[command(flatten)]
    configured: Configured,
}

/// What a list says of a caller that the broker can't know by anything.
const NO_WAY: &str = "; no way to be known here";
/// What is said of a bearer token that counts only with something else.
const BESIDE: &str = ", beside a certificate of this caller: every client has to show one";

/// Checks or explains, and returns the exit code.
pub(super) fn run(args: &PolicyArgs) -> u8 {
    let Action::Check(args) = &args.action;
    configured(&args.configured, |config| {
        check(args.caller.as_deref(), &config)
    })
}

fn check(name: Option<&str>, config: &Config) -> u8 {
    let start = config.policy.as_ref();
    let Some((policy, ways)) =
        start.and_then(|start| Some((start.guard.policy()?, start.file.ways())))
    else {
        complain("policy: must be set: without it the broker serves anybody who reaches it");
        return USAGE;
    };
    let (text, is_any_known) = match name {
        None => listed(&policy, ways),
        Some(name) => match policy.caller(name) {
            Some((caller, credentials)) => explained(caller, credentials, ways),
            None => {
                let names = policy.callers().map(|caller| caller.name.as_str());
                complain(&format!(
                    "the policy has no caller of this name{}",
                    meant(name, names)
                ));
                return USAGE;
            }
        },
    };
    match out(&text) {
        DONE if is_any_known => DONE,
        _ => FAILED,
    }
}

/// Returns a line for each caller, and whether any of them can be known here.
fn listed(policy: &Policy, ways: &Ways) -> (String, bool) {
    let (mut text, mut is_any_known) = (String::new(), false);
    for caller in policy.callers() {
        let rights = caller.roles.iter().map(|role| role.name());
        let rights = rights.chain(caller.rpcs.iter().map(Rpc::full_name));
        let rights: Vec<_> = rights.collect();
        let credentials = policy.caller(&caller.name);
        let credentials = credentials.map_or(&[][..], |(_, credentials)| credentials);
        let is_known = ways.hindrances(credentials).iter().any(Option::is_none);
        is_any_known |= is_known;
        // Writing to a string doesn't fail.
        writeln!(
            text,
            "{}: {}; providers: {}{}",
            caller.name,
            rights.join(", "),
            providers(caller),
            if is_known { "" } else { NO_WAY }
        )
        .ok();
    }
    (text, is_any_known)
}

fn providers(caller: &Caller) -> String {
    match &caller.reach.providers {
        ProviderSet::All => "all".to_owned(),
        ProviderSet::Named(names) => {
            let names: Vec<_> = names.iter().map(|name| name.as_str()).collect();
            names.join(", ")
        }
    }
}

/// Returns what a caller may do and why, and whether it can be known here.
fn explained(caller: &Caller, credentials: &[Credential], ways: &Ways) -> (String, bool) {
    let mut text = format!(
        "caller: {}\ntenant: {}\nproviders: {}\n",
        caller.name,
        caller.tenant,
        providers(caller)
    );
    if let Some(client) = &caller.client_id {
        let bound = match caller.reach.client {
            Some(_) => "; every read must be bound to it, and other clients' rows are out of reach",
            None => "",
        };
        writeln!(text, "client: {client}{bound}").ok();
    }
    text += "known by:\n";
    let hindrances = ways.hindrances(credentials);
    for (credential, why) in credentials.iter().zip(&hindrances) {
        match why {
            None if matches!(credential, Credential::Bearer(_))
                && ways.are_certificates_required() =>
            {
                writeln!(text, "  {credential}{BESIDE}").ok()
            }
            None => writeln!(text, "  {credential}").ok(),
            Some(why) => writeln!(text, "  {credential}: not here: {why}").ok(),
        };
    }
    let is_known = hindrances.iter().any(Option::is_none);
    if !is_known {
        text += "  no way to be known here: every call of this caller is refused\n";
    }
    text += "may call:\n";
    for rpc in Rpc::ALL {
        let (verdict, why) = judged(caller, *rpc);
        writeln!(text, "  {verdict:3}  {:34} {why}", rpc.full_name()).ok();
    }
    (text, is_known)
}

/// Returns whether a caller may call an RPC, and why.
fn judged(caller: &Caller, rpc: Rpc) -> (&'static str, String) {
    let by_role = caller.roles.iter().filter(|role| role.has(rpc));
    let mut given: Vec<_> = by_role
        .map(|role| format!("role {}", role.name()))
        .collect();
    if caller.rpcs.has(rpc) {
        given.push("rpcs".to_owned());
    }
    if given.is_empty() {
        return ("no", "neither a role nor rpcs gives it".to_owned());
    }
    let given = given.join(", ");
    let has_all = caller.reach.providers.is_all();
    match rpc.concerns() {
        Concerns::All if !has_all => ("no", format!("{given}, but it needs all providers")),
        Concerns::OneOrAll if !has_all => (
            "yes",
            format!("{given}; at its providers, and not for all_providers"),
        ),
        Concerns::One if !has_all => ("yes", format!("{given}; at its providers")),
        Concerns::Own if !has_all => ("yes", format!("{given}; shows its providers alone")),
        _ => ("yes", given),
    }
}
