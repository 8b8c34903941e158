//! One `DeleteUser`, in a process that is killed before one of its commands to Redis, while logins, links and rows of that user
//! come through another broker.

use std::{
    process::Command as Program,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use testkit::{
    redis_server::RedisServer,
    requests::{get_request, store_request, tokens},
    resp_proxy::{Command, Fate, RespProxy},
    snapshot::{Content, Snapshot},
};
use token_broker::proto::v1::{
    DeleteUserRequest, GetUserRequest, LinkIdentityRequest, ListIdentitiesRequest,
};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    PREFIX,
    brokers::{Broker, PATIENT, at_port, reason, resolve},
    flaws::{Flaw, planted},
};

/// Where the user's identities are.
const PROVIDERS: [&str; 3] = ["okta", "github", "more"];

/// A Redis, and the broker that the others call.
pub struct World {
    redis: RedisServer,
    others: Arc<Broker>,
    _proxy: Option<RespProxy>,
}

/// The broker that deletes.
#[derive(Default)]
struct Victim {
    pid: OnceLock<u32>,
    is_killed: AtomicBool,
}

impl Victim {
    fn kill(&self) {
        self.is_killed.store(true, Ordering::SeqCst);
        let kill = format!("kill -KILL {}", self.pid.get().unwrap());
        Program::new("sh").args(["-c", &kill]).status().unwrap();
    }
}

/// How a deletion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its broker was killed.
    Killed,
    /// It was done before.
    Done,
}

impl World {
    /// Starts a Redis and a broker, which may have a flaw.
    pub async fn start(flaw: Option<Flaw>) -> Self {
        let redis = RedisServer::start();
        let mut proxy = None;
        if let Some(flaw) = flaw {
            proxy = Some(planted(&redis, flaw).await);
        }
        let port = proxy.as_ref().map_or(redis.port(), RespProxy::port);
        let others = Arc::new(Broker::start(&[at_port(port)], &PATIENT).await);
        Self {
            redis,
            others,
            _proxy: proxy,
        }
    }

    /// Deletes a user who has rows and identities through a broker of its own. That is killed before the command of this
    /// number, of those that concern the user. `empties_first` makes it empty the user's index in a step of its own.
    ///
    /// # Errors
    /// Returns what is wrong then.
    pub async fn deletion(
        &self,
        name: &str,
        kill_before: usize,
        empties_first: bool,
    ) -> Result<Ended, String> {
        let user = self.user_with_everything(name).await;
        let meanwhile = Meanwhile::start(&self.others, name, &user);
        let victim = Arc::new(Victim::default());
        let proxy = self
            .killing(&user, kill_before, empties_first, &victim, &meanwhile)
            .await;
        let broker = Broker::start(&[at_port(proxy.port())], &PATIENT).await;
        victim.pid.set(broker.pid()).unwrap();
        let request = DeleteUserRequest {
            user_id: user.clone(),
        };
        let deleted = broker.rows().delete_user(request.clone()).await;
        drop(broker);
        meanwhile.stop().await?;

        let ended = match deleted {
            Ok(_) => Ended::Done,
            Err(_) if victim.is_killed.load(Ordering::SeqCst) => Ended::Killed,
            Err(status) => return Err(format!("`DeleteUser`: {}", reason(&status))),
        };
        let newcomers = self.sound(name, &user, ended).await?;
        for user_id in newcomers.into_iter().chain([user.clone()]) {
            let request = DeleteUserRequest { user_id };
            let again = self.others.rows().delete_user(request).await;
            again.map_err(|status| format!("deleting again: {}", reason(&status)))?;
        }
        self.nothing_is_left(&user)?;
        Ok(ended)
    }

    /// Makes a user with two identities and two rows.
    async fn user_with_everything(&self, name: &str) -> String {
        let (user, _) = resolve(self.others.channel(), "okta", name).await.unwrap();
        let linked = link(&self.others, "github", name, &user).await;
        linked.unwrap();
        for session in ["a", "b"] {
            store(&self.others, &format!("{name}-{session}"), &user)
                .await
                .unwrap();
        }
        user
    }

    /// Starts the proxy of the broker that deletes. Between every two of its commands that concern the user, each of the
    /// others makes a call.
    async fn killing(
        &self,
        user: &str,
        kill_before: usize,
        empties_first: bool,
        victim: &Arc<Victim>,
        meanwhile: &Meanwhile,
    ) -> RespProxy {
        let seen = Arc::new(AtomicUsize::new(0));
        let (user, victim) = (user.to_owned(), Arc::clone(victim));
        let (calls, redis) = (meanwhile.calls.clone(), self.redis.connect().await);
        RespProxy::start(self.redis.port(), move |command| {
            let is_own = concerns(&command, &user);
            let number = match is_own {
                true => seen.fetch_add(1, Ordering::SeqCst) + 1,
                false => 0,
            };
            let index = format!("{PREFIX}user:upstream:{user}");
            let deletes_rows = command
                .args
                .get(3)
                .is_some_and(|key| key == index.as_bytes())
                && command.args[2] != b"1";
            let (victim, calls, mut redis) = (Arc::clone(&victim), calls.clone(), redis.clone());
            async move {
                if !is_own {
                    return Fate::Forward;
                }
                for mut calls in calls {
                    let now = *calls.borrow();
                    // One of these two has begun since.
                    calls.wait_for(|calls| *calls >= now + 2).await.unwrap();
                }
                let is_emptied = empties_first && deletes_rows;
                if is_emptied {
                    let delete = redis::cmd("DEL").arg(index).to_owned();
                    delete.exec_async(&mut redis).await.unwrap();
                }
                if number < kill_before && !is_emptied {
                    return Fate::Forward;
                }
                victim.kill();
                Fate::CutBefore
            }
        })
        .await
    }

    /// Checks that each identity leads to a user who is there and has it. Returns the users.
    async fn sound(&self, name: &str, deleted: &str, ended: Ended) -> Result<Vec<String>, String> {
        let is_begun = !self.others.knows(deleted).await;
        if ended == Ended::Done && !is_begun {
            return Err("the user is there".to_owned());
        }
        let mut users = Vec::new();
        for provider in PROVIDERS {
            let (user, _) = resolve(self.others.channel(), provider, name)
                .await
                .map_err(|status| format!("{provider} refuses a login: {}", reason(&status)))?;
            if is_begun && user == deleted {
                return Err(format!("{provider} leads to the deleted user"));
            }
            if !self.others.knows(&user).await {
                return Err(format!("{provider} leads to nobody"));
            }
            let request = ListIdentitiesRequest {
                user_id: user.clone(),
            };
            let listed = self.others.identities().list_identities(request).await;
            let listed = listed.unwrap().into_inner().identities;
            if !listed.iter().any(|listed| listed.provider == provider) {
                return Err(format!("{provider} isn't among its user's"));
            }
            users.push(user);
        }
        for session in ["a", "b"] {
            let request = get_request(&format!("{name}-{session}"), "p");
            let is_there = self.others.rows().get(request).await.is_ok();
            if ended == Ended::Done && is_there {
                return Err(format!("row {session} is there"));
            }
        }
        Ok(users)
    }

    /// Checks that Redis holds nothing of anybody any more.
    fn nothing_is_left(&self, user: &str) -> Result<(), String> {
        let left = Snapshot::take(&mut self.redis.raw(), PREFIX);
        for (key, value) in &left.0 {
            let key = String::from_utf8_lossy(key);
            let names = match &value.content {
                Content::Text(text) => String::from_utf8_lossy(text).contains(user),
                Content::Set(_) | Content::Other(_) => true,
            };
            if names || !key.starts_with(&format!("{PREFIX}broker:")) {
                return Err(format!("{} is left", key.replace(user, "<user>")));
            }
        }
        Ok(())
    }
}

impl Broker {
    /// Whether a user has a record.
    async fn knows(&self, user: &str) -> bool {
        let request = GetUserRequest {
            user_id: user.to_owned(),
        };
        match self.identities().get_user(request).await {
            Ok(_) => true,
            Err(status) => {
                assert_eq!(reason(&status), "USER_NOT_FOUND");
                false
            }
        }
    }
}

/// What the others do again and again.
struct Meanwhile {
    is_over: Arc<AtomicBool>,
    calls: Vec<watch::Receiver<usize>>,
    tasks: JoinSet<Result<(), String>>,
}

impl Meanwhile {
    fn start(broker: &Arc<Broker>, name: &str, user: &str) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (mut calls, mut tasks) = (Vec::new(), JoinSet::new());
        for what in ["ResolveUser", "LinkIdentity", "Store"] {
            let (count, counted) = watch::channel(0);
            calls.push(counted);
            let (broker, is_over) = (Arc::clone(broker), Arc::clone(&is_over));
            let (name, user) = (name.to_owned(), user.to_owned());
            tasks.spawn(async move {
                let mut wrong = Ok(());
                while !is_over.load(Ordering::SeqCst) {
                    wrong = wrong.and(once(what, &broker, &name, &user).await);
                    count.send_modify(|count| *count += 1);
                }
                wrong.map_err(|wrong| format!("{what}: {wrong}"))
            });
        }
        Self {
            is_over,
            calls,
            tasks,
        }
    }

    async fn stop(self) -> Result<(), String> {
        self.is_over.store(true, Ordering::SeqCst);
        self.tasks.join_all().await.into_iter().collect()
    }
}

/// Makes a call. Whoever is deleted isn't told of any more, and gets no identity.
async fn once(what: &str, broker: &Broker, name: &str, user: &str) -> Result<(), String> {
    let is_gone = !broker.knows(user).await;
    match what {
        "ResolveUser" => {
            for provider in ["okta", "github"] {
                let answer = resolve(broker.channel(), provider, name).await;
                let (told, _) = answer.map_err(|status| reason(&status))?;
                if is_gone && told == user {
                    return Err("a deleted user logs in".to_owned());
                }
            }
        }
        "LinkIdentity" => match link(broker, "more", name, user).await {
            Ok(()) if is_gone => return Err("a deleted user gets an identity".to_owned()),
            Err(reason) if reason != "USER_NOT_FOUND" => return Err(reason),
            _ => {}
        },
        _ => store(broker, &format!("{name}-new"), user).await?,
    }
    Ok(())
}

async fn link(broker: &Broker, provider: &str, name: &str, user: &str) -> Result<(), String> {
    let request = LinkIdentityRequest {
        user_id: user.to_owned(),
        provider: provider.to_owned(),
        provider_subject: name.to_owned(),
    };
    let answer = broker.identities().link_identity(request).await;
    answer.map(drop).map_err(|status| reason(&status))
}

async fn store(broker: &Broker, session: &str, user: &str) -> Result<(), String> {
    let request = store_request(session, "p", tokens("at", user));
    let answer = broker.rows().store(request).await;
    answer.map(drop).map_err(|status| reason(&status))
}

/// Whether a command names the user.
fn concerns(command: &Command, user: &str) -> bool {
    let names = |arg: &Vec<u8>| arg.windows(user.len()).any(|part| part == user.as_bytes());
    command.args.iter().any(names)
}
