//! What is sent to Redis, and how often it may be.

use redis::{Cmd, ErrorKind, RedisResult, ServerErrorKind, Value};

use crate::store::redis::{
    link::wire::Connection,
    scripts::{Call, Script},
};

/// What a request does to the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It changes nothing, so that it may be sent any number of times.
    Reads,
    /// It changes something.
    Writes,
}

/// A request.
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// A command.
    Cmd(&'a Cmd),
    /// A script: by its hash, or whole where Redis doesn't know the hash.
    Script(&'a Script, &'a [&'a str], &'a [&'a [u8]]),
    /// Commands, all at once. An answer that is an error stands in its place.
    Cmds(&'a [Cmd]),
    /// Scripts, all at once; the same.
    Calls(&'a [Call<'a>]),
}

/// A connection, and a command that follows each request.
pub struct Channel<'a> {
    /// What is sent over.
    pub connection: &'a mut Connection,
    /// What follows, and whose answer is given back last.
    pub then: Option<Cmd>,
}

impl Request<'_> {
    /// Sends it once and gives the answers: one, or one for each command or call.
    pub async fn send(self, channel: &mut Channel<'_>) -> RedisResult<Vec<Value>> {
        match self {
            Self::Cmd(cmd) if channel.then.is_none() => {
                Ok(vec![channel.connection.send(cmd).await?])
            }
            Self::Cmd(cmd) => channel.one(cmd.clone()).await,
            Self::Script(script, keys, args) => {
                match channel.one(script.by_hash(keys, args)).await {
                    // Nothing was done: Redis was restarted, or is another one now.
                    Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                        channel.one(script.by_source(keys, args)).await
                    }
                    answer => answer,
                }
            }
            Self::Cmds(cmds) => channel.all(cmds.to_vec()).await,
            Self::Calls(calls) => {
                let mut answers = channel
                    .all(calls.iter().map(Call::by_hash).collect())
                    .await?;
                let unknown: Vec<_> = (0..calls.len())
                    .filter(|&at| is_unknown_script(&answers[at]))
                    .collect();
                if !unknown.is_empty() {
                    let again = unknown.iter().map(|&at| calls[at].by_source()).collect();
                    let mut again = channel.all(again).await?;
                    if again.len() > unknown.len() {
                        // The last word on what follows.
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

    /// Whether scripts are among it. Those wait until a slot has moved: a node that it is on its way to
    /// takes keys that are still elsewhere for keys that don't exist, where a script asks for them.
    pub fn runs_scripts(&self) -> bool {
        matches!(self, Self::Script(..) | Self::Calls(_))
    }

    /// One part of it, to be sent again alone.
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

impl Channel<'_> {
    async fn one(&mut self, cmd: Cmd) -> RedisResult<Vec<Value>> {
        if self.then.is_none() {
            return Ok(vec![self.connection.send(&cmd).await?]);
        }
        let mut answers = self.all(vec![cmd]).await?;
        answers[0] = std::mem::take(&mut answers[0]).extract_error()?;
        Ok(answers)
    }

    async fn all(&mut self, mut cmds: Vec<Cmd>) -> RedisResult<Vec<Value>> {
        cmds.extend(self.then.clone());
        self.connection.send_all(cmds).await
    }
}

fn is_unknown_script(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript))
}
