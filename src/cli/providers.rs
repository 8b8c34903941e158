//! `token-broker providers`: prints presets and what came out of the configuration, and tries a provider.

use std::collections::HashMap;

use clap::{Args, Subcommand};

use super::{
    Configured, DONE, FAILED, REFUSED, USAGE, complain, of_a_tenant, out,
    redis::{Words, on_redis},
    refuse, runtime, unknown_variables, with_keys,
};
use crate::{
    config::{Config, TenantConfig, listed_presets, meant, span},
    outbound::Endpoint,
    refresh::{
        Cleared, Kept, clear,
        provider::{Authentication, Trial, Verdict, Why},
    },
    store::{self, Sealed, redis::maintenance::records::rows_with_records},
    types::ProviderName,
};

/// The options of `providers`.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct ProvidersArgs {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    configured: Configured,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// Read the files, find the endpoints and connect to one provider. Redeems nothing, and sends no request to its
    /// token endpoint; exit code 0 if all that works
    Test(Box<TestArgs>),
    /// Take back what one provider refused of late, when its refusals were a mistake: its refresh tokens may be sent again.
    /// Tokens in doubt stay as they are
    ClearRefused(Box<ClearRefusedArgs>),
}

#[derive(Args, Clone, Debug)]
struct ClearRefusedArgs {
    /// The name of the provider
    #[arg(value_name = "NAME")]
    name: String,
    /// How long ago the first mistaken refusal was, as in `90m`
    #[arg(long, value_name = "SPAN")]
    since: String,
    /// Change nothing; say how many refusals would be taken back
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    configured: Configured,
}

#[derive(Args, Clone, Debug)]
struct TestArgs {
    /// The name of the provider
    #[arg(value_name = "NAME")]
    name: String,
    /// Also ask to redeem a token that no provider gave out, to learn whether the client is accepted. The provider may
    /// log that
    #[arg(long)]
    with_made_up_token: bool,
    #[command(flatten)]
    configured: Configured,
}

/// Prints or tries, and returns the exit code.
pub(super) fn run(args: &ProvidersArgs) -> u8 {
    match &args.action {
        None => list(&args.configured),
        Some(Action::Test(args)) => of_a_tenant(&args.configured, |_, tenant| test(args, &tenant)),
        Some(Action::ClearRefused(args)) => with_keys(&args.configured, |config, tenant| {
            clear_refused(args, config, &tenant)
        }),
    }
}

fn list(args: &Configured) -> u8 {
    let unknown = unknown_variables();
    let listed = args.settings().and_then(|settings| {
        settings.clone().resolve()?;
        Ok(settings.listed_tables())
    });
    match listed {
        Ok(listed) => out(&format!(
            "# Presets: set preset = \"NAME\" in the table of a provider.\n\n{}\n# Configured:\n{listed}",
            listed_presets()
        )),
        Err(problems) => refuse(&problems, &unknown),
    }
}

fn test(args: &TestArgs, tenant: &TenantConfig) -> u8 {
    let name = ProviderName::new(&*args.name).ok();
    let Some(found) = name.and_then(|name| tenant.rules.providers.get(&name)) else {
        let all = tenant.rules.providers.iter();
        let names = all.map(|found| found.provider.options().name.as_str());
        complain(&format!(
            "no provider of this name is configured{}",
            meant(&args.name, names)
        ));
        return USAGE;
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("can't start: {error}"));
            return FAILED;
        }
    };
    let trial = runtime.block_on(found.provider.try_out(args.with_made_up_token));
    match out(&report(&trial)) {
        DONE => {
            let authentication = &found.provider.options().authentication;
            verdict(&trial.verdict, authentication)
        }
        code => code,
    }
}

fn clear_refused(args: &ClearRefusedArgs, config: Config, tenant: &TenantConfig) -> u8 {
    let (Ok(provider), since) = (ProviderName::new(&*args.name), span(&args.since)) else {
        complain("the name of the provider must not be empty");
        return USAGE;
    };
    let since = match since {
        Ok(since) => since,
        Err(rule) => {
            complain(&format!("--since: {rule}"));
            return USAGE;
        }
    };
    let words = Words {
        no_redis: "memory holds no refusals of an earlier process",
        afterwards: "; what was taken back stays so; run the command again to continue",
    };
    let is_configured = tenant.rules.providers.get(&provider).is_some();
    let cleared = on_redis((config, &tenant.rules.tenant), &words, async |store| {
        let rows = rows_with_records(&store, &provider).await?;
        let store = Sealed::new(store, tenant.sealing.clone());
        // One that isn't configured any more may have left rows.
        let is_known = is_configured || !rows.is_empty();
        let (mut taken_back, mut kept) = (0_u64, HashMap::<Kept, u64>::new());
        for row in rows {
            match clear(&store, &row, since, args.dry_run).await? {
                Cleared::TakenBack => taken_back += 1,
                Cleared::Kept(why) => *kept.entry(why).or_default() += 1,
                Cleared::Nothing => {}
            }
        }
        Ok::<_, store::Error>(is_known.then_some((taken_back, kept)))
    });
    match cleared {
        Ok(Some((taken_back, kept))) => {
            let done = match args.dry_run {
                true => "refusals to take back",
                false => "refusals taken back",
            };
            let kept = |why| kept.get(&why).copied().unwrap_or_default();
            let (rows, records) = (kept(Kept::Unreadable), kept(Kept::RecordUnreadable));
            let told = out(&format!(
                "{done}: {taken_back}\nleft as they are: {} older than --since, {} for good, {} in doubt, {rows} that \
                 can't be read, {records} whose record can't be read\n",
                kept(Kept::Older),
                kept(Kept::ForGood),
                kept(Kept::InDoubt),
            ));
            match told {
                DONE if rows + records > 0 => {
                    complain(
                        "whether some were refused can't be told: `token-broker check` names what is damaged",
                    );
                    REFUSED
                }
                code => code,
            }
        }
        Ok(None) => {
            complain(
                "no provider of this name is configured, and it has no row that was ever refreshed",
            );
            USAGE
        }
        Err((code, message)) => {
            complain(&message);
            code
        }
    }
}

fn report(trial: &Trial) -> String {
    let shown = |endpoint: &Option<Endpoint>| match endpoint {
        Some(endpoint) => endpoint.to_string(),
        None => "unknown".to_owned(),
    };
    let asked = trial.asked.iter().map(|asked| match &asked.issuer {
        // The provider wrote it: whatever could move the cursor is escaped.
        Ok(issuer) => format!("metadata: {}: of the issuer {issuer:?}\n", asked.url),
        Err(why) => format!("metadata: {}: {why}\n", asked.url),
    });
    format!(
        "{}token endpoint: {}\nrevocation endpoint: {}\n",
        asked.collect::<String>(),
        shown(&trial.token_endpoint),
        shown(&trial.revocation_endpoint)
    )
}

/// Tells what came of a trial, and returns the exit code.
fn verdict(verdict: &Verdict, authentication: &Authentication) -> u8 {
    let (told, code) = match verdict {
        Verdict::Misconfigured(what) => (what.clone(), USAGE),
        Verdict::Unreachable(why) => (format!("the provider can't be reached: {why}"), FAILED),
        Verdict::Connected => ("connected; nothing was sent".to_owned(), DONE),
        Verdict::ClientAccepted => ("the provider accepts the client".to_owned(), DONE),
        Verdict::ClientRefused(why) => {
            let what = match why {
                Why::ClientError(_) | Why::ClientCertificateRefused => {
                    "the provider refuses the client"
                }
                Why::NotRedeemedStatus(_) => "the token endpoint doesn't take the request",
                _ => "the provider refuses the client or the request",
            };
            let clock = why.may_be_the_clock(authentication);
            (format!("{what}: {why}{clock}"), FAILED)
        }
        Verdict::Unclear(why) => (
            format!("the answer says nothing about the client: {why}"),
            FAILED,
        ),
    };
    match code {
        DONE => out(&format!("{told}\n")),
        code => {
            complain(&told);
            code
        }
    }
}
