//! Writes that do no harm when they are applied twice, sent again while their outcome is unknown.
//!
//! Each of them is idempotent, or first checks that the value that it was decided on is unchanged.

use redis::{Cmd, Value};

use crate::store::{
    Error,
    redis::{
        link::{Effect, Link},
        scripts::{Call, Script},
    },
    until_known,
};

/// Sends a command.
///
/// # Errors
/// Returns the errors of [`Link::write`].
pub async fn write(link: &Link, cmd: &Cmd) -> Result<Value, Error> {
    let write = || link.write(cmd);
    until_known(link.patience(), write(), write, |_| true).await
}

/// Calls a script.
///
/// # Errors
/// Returns the errors of [`Link::call`].
pub async fn call(
    link: &Link,
    script: &Script,
    keys: &[&str],
    args: &[&[u8]],
) -> Result<Value, Error> {
    let call = || link.call(script, keys, args, Effect::Writes);
    until_known(link.patience(), call(), call, |_| true).await
}

/// Calls scripts, all at once.
///
/// # Errors
/// Returns the errors of [`Link::call_each`].
pub async fn call_each(
    link: &Link,
    calls: &[Call<'_>],
    effect: Effect,
) -> Result<Vec<Value>, Error> {
    let call = || link.call_each(calls, effect);
    until_known(link.patience(), call(), call, |_| true).await
}
