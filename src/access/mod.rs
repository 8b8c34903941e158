//! Who may call, and what each caller may do (guarantees, section 8).
//!
//! A [`Policy`] names the callers. Each [`Caller`] is known by its [`Credential`]s, and has rights: [`Role`]s, which are
//! ready-made sets of RPCs, single [`Rpc`]s, providers, and perhaps a client to which its reads are kept. The [`Guard`] stands
//! at the door and holds the policy in force. What it lets in carries its caller, whose methods say what the content of a
//! call may be. [`Ways`] say which credentials a broker can take at all.
//!
//! Nothing here reads a file: `config` makes a policy of what an operator wrote, and `server` puts it in force.

mod caller;
mod credential;
mod guard;
mod policy;
mod role;
mod rpc;
#[cfg(test)]
mod tests;
mod ways;

pub use self::{
    caller::{Caller, Class, Rights},
    credential::{Credential, TokenSha256},
    guard::{Counts, Denied, Guard},
    policy::{Policy, Shown},
    role::Role,
    rpc::{Concerns, Rpc, RpcSet},
    ways::{Certificates, Hindrance, Ways},
};
