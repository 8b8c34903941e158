//! Requests to Redis, and how one is sent once.

use redis::{Cmd, ErrorKind, RedisResult, ServerErrorKind, Value};

use crate::store::redis::{
    link::wire::Connection,
    scripts::{Call, Script},
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
    /// Scripts that are called all at once. If one fails, its error is in the list of answers.
    Calls(&'a [Call<'a>]),
}

/// A connection, and a command that follows each request.
pub struct Channel<'a> {
    /// The connection.
    pub connection: &'a mut Connection,
    /// The command that follows each request. Its answer comes last.
    pub then: Option<Cmd>,
}

impl Request<'_> {
    /// Sends the request once. Returns one answer, or one for each command or call, and then the answer to
    /// the command that follows.
    pub async fn send(self, channel: &mut Channel<'_>) -> RedisResult<Vec<Value>> {
        match self {
            Self::Cmd(cmd) if channel.then.is_none() => {
                Ok(vec![channel.connection.send(cmd).await?])
            }
            Self::Cmd(cmd) => channel.one(cmd.clone()).await,
            Self::Script(script, keys, args) => {
                match channel.one(script.by_hash(keys, args)).await {
                    // Nothing was done. Redis was restarted, or another server took over.
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
