//! A gRPC service that keeps the upstream OAuth 2.0 and OpenID Connect tokens of logged-in
//! sessions, one row for each pair of session and provider.
//!
//! This page is the map of the code. The README says what the service does and for whom;
//! `docs/guarantees.md` says what callers, operators and the data may rely on.
//!
//! # The modules, from the top down
//!
//! | module | what it is | may name |
//! |---|---|---|
//! | [`cli`] | the commands `serve`, `migrate`, `check` and `health`, one file each; exit codes, logging | all below |
//! | [`server`] | the running broker: assembly, listening, health, connections, how it stops | all below |
//! | [`config`] | what an operator writes → what the program uses; all mistakes are told at once | `rpc`, `tokens`, `store`, `error`, `types` |
//! | [`rpc`] | the gRPC face, a file or folder a service: request → domain call → answer, errors → statuses; what every call passes through | `tokens`, `store`, `error`, `proto`, `types` |
//! | [`tokens`] | the domain: what each operation means, carry-forward, lifetimes, limits, paging | `store`, `error`, `types` |
//! | [`store`] | one trait a noun, decorators, and the backends `memory` and [`redis`](store::redis) | `error`, `types` |
//! | [`error`] | what can go wrong, with two faces: the caller's and the operator's | `types` |
//! | [`proto`] | the generated code, which prints no secret | nothing |
//! | [`types`] | the words: ids, `Secret`, `Row`, `Version`, `Tenant` | nothing |
//!
//! Arrows point down this table only. `rpc` and `tokens` know the traits of `store`, and no backend: the
//! domain knows neither gRPC nor Redis, and a store makes no decision that a caller could argue with.
//! `tests/layering.rs` reads the code and holds all of this.
//!
//! [`store::redis`] has three rooms. `link/` is the process's way to Redis, shared by all tenants: it knows
//! servers and requests, and no tenant's keys. The files beside it are one tenant's store: a key space, a
//! handle, and Lua scripts. [`maintenance`](store::redis::maintenance) goes through all keys of a tenant:
//! migration and check, which don't know each other.
//!
//! # The way of one `Store`
//!
//! 1. `server/` accepts the connection, within the limit on connections. tonic decodes the message, within the
//!    limit on its size.
//! 2. `rpc/` makes a call of it: it is admitted (or refused as `OVERLOADED` or `MIGRATING`), gets its deadline, and
//!    is observed.
//! 3. The request is taken apart into typed ids and secrets. Everything that is wrong with it is answered in one
//!    `BadRequest`.
//! 4. [`tokens`] checks sizes, looks for a refresh token to carry forward, works out how long the row lives, draws
//!    a version, and asks the store for one conditional write.
//! 5. [`store::redis`] names the keys and spells the row, and calls `scripts/put.lua`. The link sends it to the
//!    primary. The script checks the conditions and changes row, session index and user index in one atomic
//!    step. Where writes have to be durable, `WAIT` follows on the same connection.
//! 6. The store says what happened. [`tokens`] decides what that means, and `rpc/status.rs` gives an error
//!    its code, reason and details.
//!
//! If the process dies before the script ran, nothing has happened; if it dies later, everything has. A caller
//! that got no answer can't know which.
//!
//! # Where a new thing goes
//!
//! | thing | place |
//! |---|---|
//! | an error reason | a variant in [`error`]; the compiler then asks for its code and reason in `rpc/status.rs`. A line in `docs/guarantees.md`, section 2.5, a case in `tests/rpc/reasons.rs` |
//! | a field of a row | `types/row.rs`; its JSON in `store/redis/row/`; if callers see it, the proto, and the request and response of `rpc/token_broker`; `docs/data-layout.md` |
//! | an RPC | the proto; a method in the service's folder in `rpc/`; an operation in [`tokens`]; its rules in `tests/conformance/cases/` |
//! | a gRPC service | a `.proto` in `proto/`; a file or folder in `rpc/`; a line where [`server`] assembles the services; a domain module beside [`tokens`] if it isn't about rows |
//! | a setting | a field in the struct of its subject in `config/settings/`; the flag, the variable, the file's key and `docs/configuration.md` come from it |
//! | a metric | what is to be measured where it happens: for the store the decorator `store/observed.rs`, for calls `rpc/observe.rs`; [`server`] shows it |
//! | a decorator | a file in `store/`, such as `observed.rs`, with the traits of the store that it wraps; put around the store where [`server`] assembles it |
//! | a backend | a file or folder in `store/` with the traits; a line in `tests/conformance/main.rs`; an arm where [`server`] assembles the store |
//! | a Redis topology | a file in `store/redis/link/topology/`; a scheme in `config/redis_url.rs`; a deployment in `testkit/`, and with it a line in `tests/conformance/main.rs` |
//! | an answer of Redis that is an error | `store/redis/link/wire/error_class.rs`, and the table in `docs/redis.md` |
//! | a Lua script | a file in `store/redis/scripts/` and a line in `store/redis/scripts.rs` |
//! | a key in Redis | `store/redis/keyspace`, where every key and hash tag is made; `docs/data-layout.md` |
//! | an invariant | `docs/guarantees.md`, section 3.2; a case in `tests/conformance/cases/` named after it, and a flawed store in `tests/conformance/naive/` that fails it; a damage for `check`, if it can be seen in the data |
//! | a damage for `check` | a `FindingKind` in `store/redis/maintenance/check/kind.rs`; the fault in `check_row.lua` or `check_index.lua`; planted in `tests/check/`; `docs/check.md` |
//! | a limit on one tenant | a number in `tokens/limits.rs`, where it is checked, and its setting in `config/settings/`; for calls in flight, admission in `rpc/`. There is one tenant a process today, so that its limits are the process's |
//! | a helper for tests | `testkit/`, which has tests of its own |
//!
//! # Where what comes next has its place
//!
//! None of this is built. It says which walls stand where they do because of it.
//!
//! - **Tenants, callers, policy:** `access/`, below `rpc`, asked when a call is admitted. The tenant then comes with
//!   the caller. A tenant's store is a key space and a handle, so that many share one link.
//! - **Refresh:** `refresh/`, above [`tokens`]. What the brokers know of a refresh token gets a trait of its own in
//!   [`store`].
//! - **Identities and pending authorizations:** a `.proto`, a folder in `rpc/` and a domain module each, over traits
//!   of their own in [`store`].
//! - **Sealing:** `seal/` turns bytes into bytes, and a decorator in [`store`] calls it. Carry-forward is a read and a
//!   conditional write in [`tokens`], and no script looks into a token.
//! - **Shards:** the key space gives a session's keys the tag of their shard. A link serves many slots, so that what
//!   spans all rows of a user asks several of them.

pub mod cli;
pub mod config;
pub mod error;
pub mod proto;
pub mod rpc;
pub mod server;
pub mod store;
pub mod tokens;
pub mod types;
