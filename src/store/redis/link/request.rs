//! Requests to Redis, and how one is sent once.

use std::iter;

use redis::{Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};

use crate::store::{
    outstanding,
    redis::{
        link::wire::{Connection, ErrorClass},
        scripts::{Call, Script},
    },
};

/// What a request does to the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The request changes nothing that a caller could notice, and may be sent any number of times. A script that
    /// reads an index may take out members whose row is gone.
    Reads,
    /// The request changes something.
    Writes,
}

/// A request.
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// A command.
    Cmd(&'a Cmd),
    /// A script with its keys and arguments. It is called by its hash, or sent whole if Redis doesn't know
    /// the hash.
    Script(&'a Script, &'a [&'a str], &'a [&'a [u8]]),
    /// Commands that are sent all at once. If one fails, its error is in the list of answers.
    Cmds(&'a [Cmd]),
    /// Commands that Redis carries out as of one instant, with MULTI and EXEC. If one fails, its error is in the list
    /// of answers. The caller has another way if Redis refuses them all.
    Transaction(&'a [Cmd]),
    /// Scripts that are called all at once. If one fails, its error is in the list of answers.
    Calls(&'a [Call<'a>]),
}

/// A connection, what a request over it holds, and a command that follows each request.
pub struct Channel<H> {
    connection: Connection,
    /// What is held until Redis has answered, also if the caller leaves earlier.
    held: Option<H>,
    effect: Effect,
    /// The command that follows each request. Its answer comes last.
    then: Option<Cmd>,
}

/// Which connections a request goes over, so that it isn't held up by what it needn't wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Reads whose answer is as large as a row, or smaller.
    Reads,
    /// Reads whose answer is as large as many rows. Small answers don't queue behind them.
    LargeReads,
    /// Whatever may write. Redis holds up the connection of such a request while writes are paused, as before a planned
    /// failover, or at a shutdown that waits for replicas. Reads go on.
    Writes,
    /// Scripts that read. Their answer may be large, and Redis holds them up as it does writes.
    ScriptReads,
}

impl Traffic {
    /// All kinds.
    pub const ALL: [Self; 4] = [
        Self::Reads,
        Self::LargeReads,
        Self::Writes,
        Self::ScriptReads,
    ];
}

impl Request<'_> {
    /// Sends the request once. Returns one answer, or one for each command or call, and then the answer to
    /// the command that follows.
    pub async fn send<H: Send + 'static>(
        self,
        channel: &mut Channel<H>,
    ) -> RedisResult<Vec<Value>> {
        match self {
            Self::Cmd(cmd) => channel.one(cmd.clone()).await,
            Self::Script(script, keys, args) => {
                let call = script.by_hash(&channel.latest(), keys, args);
                match channel.one(call).await {
                    // Nothing was done. Redis was restarted, or another server took over.
                    Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                        let call = script.by_source(&channel.latest(), keys, args);
                        channel.one(call).await
                    }
                    answer => answer,
                }
            }
            Self::Cmds(cmds) => channel.all(cmds.to_vec()).await,
            Self::Transaction(cmds) => channel.transaction(cmds).await,
            Self::Calls(calls) => {
                let latest = channel.latest();
                let all = calls.iter().map(|call| call.by_hash(&latest)).collect();
                let mut answers = channel.all(all).await?;
                let unknown: Vec<_> = (0..calls.len())
                    .filter(|&at| is_unknown_script(&answers[at]))
                    .collect();
                if !unknown.is_empty() {
                    let latest = channel.latest();
                    let again = unknown.iter().map(|&at| calls[at].by_source(&latest));
                    let mut again = channel.all(again.collect()).await?;
                    if again.len() > unknown.len() {
                        // The second answer to the command that follows replaces the first one.
                        answers.truncate(calls.len());
                        answers.extend(again.pop());
                    }
                    for (at, answer) in unknown.into_iter().zip(again) {
                        answers[at] = answer;
                    }
                }
                Ok(answers)
            }
        }
    }

    /// Whether the request calls scripts. Such a request waits until a slot has moved. When a script on the
    /// importing node reads a key that hasn't arrived yet, the node behaves as if the key didn't exist.
    pub fn runs_scripts(&self) -> bool {
        matches!(self, Self::Script(..) | Self::Calls(_))
    }

    /// Whether the caller has another way if Redis refuses the request.
    pub fn is_dispensable(&self) -> bool {
        matches!(self, Self::Transaction(_))
    }

    /// Returns which connections the request goes over.
    pub fn traffic(&self, effect: Effect) -> Traffic {
        match (effect, self) {
            (Effect::Writes, _) => Traffic::Writes,
            (Effect::Reads, Self::Script(..) | Self::Calls(_)) => Traffic::ScriptReads,
            (Effect::Reads, Self::Cmds(_) | Self::Transaction(_)) => Traffic::LargeReads,
            (Effect::Reads, Self::Cmd(cmd)) => match name(cmd) {
                b"EVAL" | b"EVALSHA" => Traffic::Writes,
                b"MGET" => Traffic::LargeReads,
                _ => Traffic::Reads,
            },
        }
    }

    /// Returns one part of the request, so that it can be sent again alone.
    pub fn part(&self, at: usize) -> Option<Request<'_>> {
        match self {
            Self::Cmds(cmds) => Some(Request::Cmd(cmds.get(at)?)),
            Self::Calls(calls) => {
                let call = calls.get(at)?;
                Some(Request::Script(call.script, &call.keys, &call.args))
            }
            _ => None,
        }
    }
}

impl<H: Send + 'static> Channel<H> {
    /// Returns a channel over `connection`, for requests with this effect. Each of them holds `held`, and is followed
    /// by `then`.
    pub fn new(connection: Connection, held: H, effect: Effect, then: Option<Cmd>) -> Self {
        Self {
            connection,
            held: Some(held),
            effect,
            then,
        }
    }

    /// Returns the latest moment at which a script may begin, as `lib/latest.lua` takes it. It doesn't matter for reads.
    fn latest(&self) -> Vec<u8> {
        match self.effect {
            Effect::Reads => Vec::new(),
            Effect::Writes => self.connection.latest(outstanding::end_of_call()),
        }
    }

    async fn one(&mut self, cmd: Cmd) -> RedisResult<Vec<Value>> {
        let mut answers = self.all(vec![cmd]).await?;
        if let Some(answer) = answers.first_mut() {
            *answer = std::mem::take(answer).extract_error()?;
        }
        Ok(answers)
    }

    /// Returns the answers to `cmds`, or the reason why Redis carried out none of them.
    async fn transaction(&mut self, cmds: &[Cmd]) -> RedisResult<Vec<Value>> {
        let [begin, end] = ["MULTI", "EXEC"].map(redis::cmd);
        let cmds = iter::once(&begin).chain(cmds).chain(iter::once(&end));
        let mut answers = self.all(cmds.cloned().collect()).await?;
        let executed = answers.pop().unwrap_or(Value::Nil);
        if let Value::Array(answers) = executed {
            return Ok(answers);
        }
        let has_begun = answers.first().is_some_and(|begun| *begun == Value::Okay);
        // EXEC tells only that a command before it was refused. That command's answer tells why.
        let is_over = !has_begun || is_discarded(&executed);
        let why = answers.into_iter().find(is_error).unwrap_or(executed);
        if !is_over {
            // All callers share the connection, and it might still collect commands for the transaction.
            self.connection.state().end();
        }
        why.extract_error().map(|_| Vec::new())
    }

    async fn all(&mut self, mut cmds: Vec<Cmd>) -> RedisResult<Vec<Value>> {
        cmds.extend(self.then.clone());
        // It comes back with an answer, and only then is anything else sent.
        let held = self.held.take();
        let (answers, held) = self.connection.send_holding(cmds, held).await;
        self.held = held.flatten();
        answers
    }
}

fn name(cmd: &Cmd) -> &[u8] {
    match cmd.args_iter().next() {
        Some(redis::Arg::Simple(name)) => name,
        _ => b"",
    }
}

fn is_error(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(_))
}

/// Whether this answer to EXEC says that the transaction is over.
fn is_discarded(executed: &Value) -> bool {
    let Value::ServerError(error) = executed else {
        return false;
    };
    let error = RedisError::from(error.clone());
    match ErrorClass::of(&error) {
        ErrorClass::Moved(_) | ErrorClass::Ask(_) | ErrorClass::Passing => true,
        _ => error.code() == Some("EXECABORT"),
    }
}

fn is_unknown_script(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript))
}
