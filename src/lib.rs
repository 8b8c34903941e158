//! A gRPC service that keeps the upstream OAuth 2.0 and OpenID Connect tokens of logged-in
//! sessions, one row for each pair of session and provider.
//!
//! This page is the map of the code. What the service does for whom is in the README; what clients
//! may rely on is in `proto/`.
//!
//! # The modules, from the outside in
//!
//! | module | what it is | knows |
//! |---|---|---|
//! | [`cli`] | the commands: `serve`, `migrate`, `check`, `health`; exit codes, logging | everything below |
//! | [`config`] | [`Settings`](config::Settings) as written → [`Config`](config::Config), all mistakes at once | types, options of the others |
//! | [`server`] | assembly: services, health, connections, shutdown | config, rpc, tokens, store |
//! | [`rpc`] | one file or folder a gRPC service: request → domain call → answer; errors → statuses | tokens, types, proto |
//! | [`tokens`] | the domain: what each operation means, carry-forward, lifetimes, limits, paging | store (the trait), types |
//! | [`store`] | the trait [`Store`](store::Store), and a backend a file or folder: `memory`, [`redis`](store::redis) with its [`migration`](store::redis::maintenance::migration) and [`check`](store::redis::maintenance::check) | types |
//! | [`types`] | the words: ids, [`Secret`](types::Secret), [`Row`](types::Row), [`Version`](types::Version) | nothing |
//! | [`error`] | what can go wrong, in one type with two faces: the caller's and the operator's | nothing |
//! | [`proto`] | generated code, and what of it may be printed | nothing |
//!
//! Arrows point down this table only. `tokens` knows no tonic and no Redis, `rpc` knows no Redis,
//! `store` knows no tonic and makes no decision that a caller could argue with.
//!
//! # The way of one `Store`
//!
//! 1. A connection was accepted by `server/connections.rs`, within the limit on connections; tonic
//!    decodes the message, within the limit on its size.
//! 2. [`rpc::TokenBrokerService`] hands the call to the [`rpc::FrontDoor`], which admits it (or
//!    answers `OVERLOADED`, `MIGRATING`), bounds it by the caller's deadline, and writes its log line.
//! 3. `rpc/token_broker/request.rs` checks every field and makes a [`tokens::StoreTokens`] of typed ids and
//!    secrets; all that is wrong is answered in one `BadRequest`.
//! 4. [`tokens::Tokens::store`] checks sizes, finds a refresh token to carry forward, computes how
//!    long the row lives, draws a version, and asks the store for one conditional
//!    [`Put`](store::Put).
//! 5. [`store::redis`] spells the keys ([`keyspace`](store::redis::keyspace)) and the row
//!    ([`row`](store::redis::row)) and calls `scripts/put.lua` by its hash. `link/` gets a
//!    connection to the server that `link/topology/` knows for the primary, and sends the call again where
//!    that is safe. The script checks the conditions and changes row, session index and user index in
//!    one atomic step. Where writes are to be durable, WAIT follows on the same connection.
//! 6. The script's word becomes a [`PutOutcome`](store::PutOutcome), that a version or an
//!    [`Error`](error::Error), and `rpc/status.rs` gives an error its code, reason and details.
//!
//! If the process dies before 5 nothing has happened; after it everything has. A caller that got no
//! answer can't know which, and may repeat the call.
//!
//! # Where a new thing goes
//!
//! | thing | place |
//! |---|---|
//! | an RPC | `proto/`, a method in `rpc/` and one in [`tokens`]; its rules in `tests/conformance/` |
//! | a gRPC service | a `.proto` and a file or folder in `rpc/`, added in `server/assemble.rs` |
//! | a backend | a file or folder in [`store`] that implements the trait, a line in `tests/conformance/main.rs`, an arm in `server/assemble.rs` |
//! | an error | a variant in [`error`]; the compiler then asks for its code and reason in `rpc/status.rs` |
//! | a setting | a field in `config/settings.rs` and a line in [`config::Settings::resolve`]; `docs/configuration.md` |
//! | something to verify in Redis | a [`FindingKind`](store::redis::maintenance::check::FindingKind), a fault in `check_row.lua` or `check_index.lua`; a planted damage in `tests/check/` |
//! | a Lua script | a file in `store/redis/scripts/` and a line in `store/redis/scripts.rs` |
//! | a key in Redis | [`store::redis::keyspace`], where every key and hash tag is made |
//! | a Redis topology | a file in `store/redis/link/topology/`, a scheme in `config/redis_url.rs` |
//! | an answer of Redis' that is an error | `store/redis/link/wire/error_class.rs`, and the table in `docs/redis.md` |
//!
//! # Where what comes next will sit
//!
//! Tried on paper, so that none of it moves what is there:
//!
//! - **Shards:** [`keyspace`](store::redis::keyspace) gets the number of shards, and the hash tag of
//!   a session's keys its shard; [`RedisStore`](store::redis::RedisStore) then has a pool for each
//!   primary that holds shards. `store/redis/user.rs`, the only code that spans sessions, loops over
//!   the shards. A [`Put::source`](store::Put::source) on another shard is re-read before the write
//!   rather than inside the script.
//! - **Sealing:** `seal/`, beside [`tokens`], which calls it right before
//!   [`Store::put`](store::Store::put) and right after each read. Carry-forward is a read and a
//!   conditional write in [`tokens`] already, so that it can open and seal in between; no script
//!   looks into a token.
//! - **Callers and policy:** `access/`, asked by the [`rpc::FrontDoor`] before a call is admitted; the tenant
//!   then comes with the caller, and [`tokens::Tokens`] is one a tenant.
//! - **Refresh:** `refresh/`, on top of [`tokens`]: leases and intents are rows' own fields, written
//!   with [`Condition::Version`](store::Condition::Version), which is what keeps a refresh from
//!   undoing a newer write (I4). [`Row::reauth`](types::Row::reauth) is where its verdict goes.
//! - **`AccessTokens`, `Identities`, `PendingAuthorizations`:** a `.proto`, a file in `rpc/` and a
//!   domain module each; identities and authorizations get a store trait of their own beside
//!   [`Store`](store::Store), implemented by the same backends.

pub mod cli;
pub mod config;
pub mod error;
pub mod proto;
pub mod rpc;
pub mod server;
pub mod store;
pub mod tokens;
pub mod types;
