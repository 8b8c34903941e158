//! Steps that are broken on purpose: a proxy puts another script in the place of the broker's, as an implementation would be
//! that looks first and writes afterwards, or that forgets something.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use testkit::{
    redis_server::RedisServer,
    resp_proxy::{Command, Fate, RespProxy},
};
use tokio::sync::Barrier;

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// `ResolveUser` looks for the identity, and makes user and identity in a later step.
    ResolveLooksFirst,
    /// `Consume` looks whether somebody has taken the authorization, and takes it in a later step.
    ConsumeLooksFirst,
    /// `Consume` hands out without taking.
    ConsumeLeavesIt,
    /// `Create` counts nobody's but the tenant's.
    CreateForgetsClients,
    /// `Create` keeps an authorization for an hour, whatever its ttl.
    CreateKeepsTooLong,
    /// A script that comes late writes all the same.
    LateCounts,
    /// `ResolveUser` doesn't look whether the user of an identity has a record.
    ResolveForgetsRecords,
    /// `LinkIdentity` doesn't look whether the user has a record.
    LinkForgetsRecords,
}

/// Makes a user without looking whether there is one.
const MAKE: &str = r#"
local now = redis.call('TIME')[1]
redis.call('SET', KEYS[2], ARGV[3] .. now .. ',"updated_at":' .. now .. '}')
redis.call('SET', KEYS[1], ARGV[4] .. now .. ',"last_used_at":' .. now .. '}')
redis.call('SADD', KEYS[3], KEYS[1])
return 'created'"#;

/// Takes an authorization without looking whether it is there.
const TAKE: &str = r#"
redis.call('SET', KEYS[1], '{"taken":"' .. ARGV[4] .. '"}', 'PX', 60000)
redis.call('ZREM', KEYS[2], KEYS[1])
redis.call('ZREM', KEYS[3], KEYS[1])
return 1"#;

/// Finds the user of an identity, whether there is such a user or not.
const FIND: &str = r#"
local link = redis.call('GET', KEYS[1])
local user = link and string.match(link, '"user_id":"([^"]+)"')
if user then return { 'found', user } end"#;

/// Links an identity to whomever the call names.
const LINK: &str = r#"
redis.call('SET', KEYS[1], ARGV[4] .. '1,"last_used_at":0}')
redis.call('SADD', KEYS[3], KEYS[1])
return 'linked'"#;

/// How many have looked before one goes on.
const TOGETHER: usize = 3;

/// Starts a proxy in front of `server` that breaks a step. Brokers that have it for their Redis have that flaw.
pub async fn planted(server: &RedisServer, flaw: Flaw) -> RespProxy {
    let (looks, together) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(Barrier::new(TOGETHER)),
    );
    let redis = server.connect().await;
    RespProxy::start(server.port(), move |command| {
        let (looks, together) = (Arc::clone(&looks), Arc::clone(&together));
        let mut redis = redis.clone();
        async move {
            let Some(call) = Call::of(&command) else {
                return Fate::Forward;
            };
            let script = match (flaw, call) {
                (Flaw::ResolveLooksFirst, Call::Resolve) => MAKE,
                (Flaw::ConsumeLooksFirst, Call::Take) => TAKE,
                (Flaw::ConsumeLeavesIt, Call::Take) => return with_script(command, "return 1"),
                (Flaw::CreateForgetsClients, Call::Create) => {
                    return with_argument(command, 6, b"1000000");
                }
                (Flaw::CreateKeepsTooLong, Call::Create) => {
                    return with_argument(command, 5, b"3600000");
                }
                (Flaw::ResolveForgetsRecords, Call::Resolve) => {
                    return with_script(command, &[FIND, MAKE].concat());
                }
                (Flaw::LinkForgetsRecords, Call::Link) => return with_script(command, LINK),
                (Flaw::LateCounts, Call::Resolve) => {
                    let last = command.args.len() - 1;
                    let mut args = command.args;
                    args[last] = Vec::new();
                    return Fate::Replace(args);
                }
                _ => return Fate::Forward,
            };
            let mut look = redis::cmd("GETRANGE");
            look.arg(&command.args[3]).arg(0).arg(8);
            let held: String = look.query_async(&mut redis).await.unwrap();
            if looks.fetch_add(1, Ordering::SeqCst) < TOGETHER {
                together.wait().await;
            }
            let is_free = match call {
                Call::Resolve => held.is_empty(),
                _ => held.starts_with("{\"broker"),
            };
            match is_free {
                true => with_script(command, script),
                false => Fate::Forward,
            }
        }
    })
    .await
}

/// A call of one of the scripts of logins.
#[derive(Clone, Copy)]
enum Call {
    Resolve,
    Link,
    Create,
    Take,
}

impl Call {
    /// Tells the script by its keys and the number of its arguments.
    fn of(command: &Command) -> Option<Self> {
        let is_script = matches!(command.name().as_str(), "EVALSHA" | "EVAL");
        let key = command.args.get(3).filter(|_| is_script)?;
        let key = str::from_utf8(key).ok()?.strip_prefix(crate::PREFIX)?;
        let keys: usize = str::from_utf8(&command.args[2]).ok()?.parse().ok()?;
        let args = command.args.len() - 3 - keys;
        match (key.split(':').next()?, keys, args) {
            // The third argument is the new user's record, or the user's id.
            ("provider", 3, _) if command.args[8].starts_with(b"{") => Some(Self::Resolve),
            ("provider", 3, _) => Some(Self::Link),
            ("pending", 5, 10) => Some(Self::Create),
            ("pending", 5, 6) => Some(Self::Take),
            _ => None,
        }
    }
}

fn with_script(mut command: Command, script: &str) -> Fate {
    command.args[0] = b"EVAL".to_vec();
    command.args[1] = script.as_bytes().to_vec();
    Fate::Replace(command.args)
}

/// Replaces the argument of this number, counted from 1 behind the keys.
fn with_argument(mut command: Command, number: usize, value: &[u8]) -> Fate {
    let keys: usize = str::from_utf8(&command.args[2]).unwrap().parse().unwrap();
    command.args[2 + keys + number] = value.to_vec();
    Fate::Replace(command.args)
}
