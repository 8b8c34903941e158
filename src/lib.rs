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
//! | an error reason | a variant in [`error`]; the compiler then asks for its code and reason in `rpc/status.rs`, and whether repeating helps. A line in `docs/guarantees.md`, section 2.5, and in the proto; a case in `tests/rpc/reasons.rs` |
//! | a field of a row | `types/row.rs`, its size in `Row::size` included; its JSON in `store/redis/row/read.rs` and `write.rs`; if callers see it, the proto, and `parts.rs` and `response.rs` in `rpc/token_broker/`; `docs/guarantees.md`, sections 2.1 and 3, and `docs/data-layout.md` |
//! | an RPC | the proto; a method in `rpc/token_broker/mod.rs` with its request and response beside it; an operation in [`tokens`]; its rules in `tests/conformance/cases/`, each with a line in `tests/conformance/suite.rs`; `tests/rpc/every_rpc.rs` |
//! | a call of the store | a method of a trait in `store/mod.rs`, and in each of its implementations: `store/memory.rs`, `store/redis/rows.rs` or `store/redis/identities.rs`, `store/observed.rs` (with its `Operation`), `store/shared.rs`, and `tests/conformance/naive/store.rs` |
//! | a gRPC service | a `.proto` in `proto/`, named in `build.rs`; a file or folder in `rpc/`; a line in `server/assemble.rs` and a name in `server/health.rs`; a domain module beside [`tokens`] if it isn't about rows |
//! | a setting | a field in the struct of its subject in `config/settings/`; the flag, the variable, the file's key and the table in `docs/configuration.md` come from it. It is used where `server/assemble.rs` makes the part that it is for; `docs/operations.md`, if it is a limit |
//! | a metric | what is measured where it happens: for the store `store/observed.rs`, which counts and times each operation, for calls `rpc/observe.rs`. [`server`] reads it; today it does so once, when it stops |
//! | a decorator | a file in `store/`, such as `observed.rs`, with the traits of the store that it wraps; put around the store in `server/assemble.rs` |
//! | a backend | a file or folder in `store/` with all traits of `store/mod.rs`; a line in `tests/conformance/main.rs`; an arm in `server/assemble.rs`, and its name in `config/settings/storage.rs` |
//! | a Redis topology | a `Deployment` in `store/redis/options.rs`, and its scheme in `config/redis_url.rs`; who tells its primaries, a file in `store/redis/link/topology/` that its `mod.rs` asks; servers in `testkit/`, a line each in `tests/conformance/shared_servers.rs` and `main.rs`; `docs/redis.md` |
//! | an answer of Redis that is an error | `store/redis/link/wire/error_class.rs`, and the table in `docs/redis.md` |
//! | a Lua script | a file in `store/redis/scripts/`, or in `scripts/maintenance/`, and a line in `store/redis/scripts.rs`. A command that no script has used yet is a right: `deploy/redis/broker.acl`, which `tests/deployments/rights.rs` holds to be needed |
//! | a key in Redis | `store/redis/keyspace`, where every key and hash tag is made; `docs/data-layout.md` |
//! | an invariant | `docs/guarantees.md`, section 3.2, counted in `tests/guarantees.rs`; a case in `tests/conformance/cases/` named after it, its line in `tests/conformance/suite.rs`, and a flaw in `tests/conformance/naive/` that `teeth.rs` gives to it; `testkit/src/audit.rs` and a damage for `check`, if it can be seen in the data |
//! | a damage for `check` of a row or an index | a `FindingKind` in `store/redis/maintenance/check/finding.rs`; the fault in `check_row.lua` and `rows.rs`, or in `check_index.lua` and `indexes.rs`; planted in `tests/check/damage.rs`; `docs/check.md` |
//! | a sort of key that `check` doesn't look at yet | before that: what its name says, in `store/redis/keyspace/parse.rs` and `store/redis/maintenance/check/walk.rs`; a script that judges it, and a file beside `rows.rs` that the walk calls; a count in `report.rs` |
//! | a limit on what a tenant stores | a number in `tokens/limits.rs`, which the tenant's `Rules` carry to [`tokens`]; its setting in `config/settings/tokens.rs`. What has to hold under concurrency is checked in the store's atomic step: the number of providers goes along in `Put`. A process has one tenant and one set of `Rules` today, made in `config/mod.rs` |
//! | a limit on calls | `rpc/admission.rs` |
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
