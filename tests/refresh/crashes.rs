//! A broker dies between two steps of a refresh, and another one goes on. `docs/refresh.md` has the outcomes as a table.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use futures_util::future::join_all;
use testkit::{
    rotating_provider::{Fault, RotatingProvider, Rules},
    waiting::found,
};
use token_broker::{
    error::Error,
    refresh::provider::{Replay, Rotation},
    store::MemoryStore,
    tokens::Wanted,
    types::ReauthReason,
};
use tokio::sync::Semaphore;

use crate::{
    brokers::{Process, Shared, access_token, expired, key, options, redis},
    failpoints::{Fate, Step},
};

/// Longer than any test.
const FOR_EVER: Duration = Duration::from_secs(3600);
const GRACE: Duration = Duration::from_secs(600);
/// So few brokers come to their points at once that none has to renew its lease on the way. A renewal looks, too.
static FEW: Semaphore = Semaphore::const_new(4);

/// Where the broker dies.
#[derive(Clone, Copy, Debug)]
enum Point {
    At(Step, bool),
    /// The request is at the provider, which never acts on it.
    Unserved,
    /// The provider has redeemed the token, and the answer is on its way.
    Redeemed,
}

const POINTS: [(&str, Point); 9] = [
    ("before the first look", Point::At(Step::Look(0), false)),
    (
        "before the look of the taking",
        Point::At(Step::Look(1), false),
    ),
    (
        "before the taking is written",
        Point::At(Step::Change(0), false),
    ),
    (
        "after the taking is written, nothing sent",
        Point::At(Step::Change(0), true),
    ),
    (
        "the request is sent, the provider doesn't act on it",
        Point::Unserved,
    ),
    ("the provider has redeemed the token", Point::Redeemed),
    ("the answer has arrived", Point::At(Step::Look(2), false)),
    (
        "before the result is written",
        Point::At(Step::Change(1), false),
    ),
    (
        "after the result is written",
        Point::At(Step::Change(1), true),
    ),
];

/// What a provider is like, and what its settings say.
#[derive(Clone, Copy, Debug)]
struct Setting {
    name: &'static str,
    rotation: Rotation,
    replay: Replay,
}

const SETTINGS: [Setting; 4] = [
    Setting {
        name: "`strict`",
        rotation: Rotation::Strict,
        replay: Replay::AsRotationAllows,
    },
    Setting {
        name: "`strict`, `replay = \"never\"`",
        rotation: Rotation::Strict,
        replay: Replay::Never,
    },
    Setting {
        name: "`grace`",
        rotation: Rotation::Grace(GRACE),
        replay: Replay::AsRotationAllows,
    },
    Setting {
        name: "`none`",
        rotation: Rotation::None,
        replay: Replay::AsRotationAllows,
    },
];

/// Lets a broker die at a point of a refresh, and returns what another one makes of it.
async fn outcome(data: impl Shared, setting: Setting, point: Point) -> String {
    let rules = Rules {
        rotates: setting.rotation != Rotation::None,
        grace: match setting.rotation {
            Rotation::Grace(grace) => grace,
            Rotation::Strict | Rotation::None => Duration::ZERO,
        },
        ..Rules::default()
    };
    let provider = RotatingProvider::start(rules).await;
    let options = {
        let mut options = options(&provider);
        options.rotation = setting.rotation;
        options.replay = setting.replay;
        options
    };
    let mut first = Process::start(data.open(), options.clone());
    let second = Process::start(data.open(), options);
    let key = key("s");
    first.put(&key, expired(&provider.log_in())).await.unwrap();

    match point {
        Point::At(step, is_after) => {
            let fate = if is_after {
                Fate::StopsAfter
            } else {
                Fate::StopsBefore
            };
            first
                .store
                .fail(move |at| (at == step).then(|| fate.clone()));
        }
        Point::Unserved => provider.fail(|number| Fault {
            before: if number == 0 {
                FOR_EVER
            } else {
                Duration::ZERO
            },
            ..Fault::default()
        }),
        Point::Redeemed => provider.fail(|number| Fault {
            after: if number == 0 {
                FOR_EVER
            } else {
                Duration::ZERO
            },
            ..Fault::default()
        }),
    }
    let few = FEW.acquire().await.unwrap();
    let call = first.get(&key, Wanted::default());
    match point {
        Point::At(..) => first.store.stopped().await,
        Point::Unserved => provider.requested(1).await,
        Point::Redeemed => {
            let what = "the provider redeems the token";
            found(what, || (provider.tally().redemptions == 1).then_some(())).await;
        }
    }
    first.dies();
    drop(call);
    drop(few);

    let got = second.get(&key, Wanted::default()).await;
    let tally = provider.tally();
    let sent = match tally.requests {
        0 => "never sent".to_owned(),
        1 => "sent once".to_owned(),
        2 => "sent twice".to_owned(),
        requests => format!("{requests} requests"),
    };
    let revoked = if provider.revoked() > 0 {
        ", login revoked"
    } else {
        ""
    };
    let what = match &got {
        Ok(stored) if rules.rotates => {
            assert!(provider.accepts(access_token(stored)));
            "refreshed"
        }
        Ok(stored) => {
            assert_ne!(access_token(stored), "old");
            "refreshed"
        }
        Err(Error::ReauthRequired(ReauthReason::InDoubt)) => "**in doubt**",
        Err(Error::ReauthRequired(ReauthReason::Refused)) => "**refused**",
        Err(error) => return format!("{error:?}"),
    };
    // What the caller was told is what the row says.
    let row = second.read(&key).await.unwrap().row;
    assert_eq!(row.reauth.is_some(), got.is_err());
    format!("{what}, {sent}{revoked}")
}

/// Returns the table, with each outcome on data of its own.
async fn table<D: Shared>(data: impl Fn() -> D) -> String {
    let data = &data;
    let line = |(name, point): (&'static str, Point)| async move {
        let cells = SETTINGS.map(|setting| outcome(data(), setting, point));
        let cells = join_all(cells).await;
        format!("| {name} | {} |", cells.join(" | "))
    };
    let lines = join_all(POINTS.map(line)).await;
    let names = SETTINGS.map(|setting| setting.name).join(" | ");
    let mut table = String::new();
    writeln!(table, "| the broker dies | {names} |").unwrap();
    writeln!(table, "|---|---|---|---|---|").unwrap();
    for line in lines {
        writeln!(table, "{line}").unwrap();
    }
    table
}

fn in_docs() -> String {
    let page = include_str!("../../docs/refresh.md");
    let start = page.find("| the broker dies |").unwrap();
    let lines = page[start..]
        .lines()
        .take_while(|line| line.starts_with('|'));
    lines.flat_map(|line| [line, "\n"]).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_crash_has_the_outcome_that_the_docs_name() {
    // Most of it is waiting.
    let in_memory = table(|| Arc::new(MemoryStore::new()));
    let (in_memory, on_redis) = tokio::join!(in_memory, table(redis));
    assert_eq!(in_memory, in_docs());
    assert_eq!(on_redis, in_docs());
}
