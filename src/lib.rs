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
//! | [`cli`] | the commands `serve`, `migrate`, `check`, `keys`, `policy`, `audit`, `providers` and `health`, one file each; exit codes, logging | all below |
//! | [`server`] | the running broker: assembly, listening, health, connections, how it stops | all below |
//! | [`config`] | what an operator writes → what the program uses; all wrong values are told at once | `access`, `tokens`, `refresh`, `store`, `vault`, `seal`, `tls`, `audit`, `outbound`, `traces`, `error`, `reading`, `types` |
//! | [`rpc`] | the gRPC face, a file or folder a service: request → domain call → answer, errors → statuses; what every call passes through | `access`, `identities`, `authorizations`, `tokens`, `store`, `audit`, `traces`, `error`, `meter`, `proto`, `types`; of `refresh`, leases, what a provider answered, and whether a call may wait |
//! | [`access`] | the callers: how each is known, what it may do, the policy in force | `error`, `types` |
//! | [`identities`] | the domain of users: which identity is whose | `store`, `error`, `types` |
//! | [`authorizations`] | the domain of logins: authorization requests that wait for a callback | `store`, `error`, `types` |
//! | [`tokens`] | the domain: what each operation means, carry-forward, lifetimes, limits, paging | `refresh`, `store`, `audit`, `error`, `types` |
//! | [`refresh`] | redeeming refresh tokens once, whatever happens: the rules of the record that all brokers share, the driver, who waits; one provider: its settings, requests, answers; breaker and limits | `store`, `audit`, `outbound`, `traces`, `error`, `meter`, `reading`, `types` |
//! | [`store`] | one trait a noun, decorators, and the backends `memory` and [`redis`](store::redis) | `seal`, `traces`, `error`, `meter`, `reading`, `stderr`, `upheld`, `types` |
//! | [`vault`] | a key management service that unwraps sealing keys: the Transit engine of HashiCorp Vault | `seal`, `outbound`, `reading`, `types` |
//! | [`seal`] | sealing keys and envelopes: bytes in, bytes out | `meter`, `reading`, `types` |
//! | [`tls`] | TLS on the broker's own port: certificates and where they come from, who vouches for clients, what ends when | `spiffe`, `meter`, `reading`, `types` |
//! | [`spiffe`] | SPIFFE's Workload API: asking an agent on this machine for certificates and bundles | `types` |
//! | [`audit`] | the audit trail: events, their chain, who writes them and where to, and how files are verified | `error`, `types` |
//! | [`outbound`] | requests over HTTP to other services: one connection, one request, one bounded answer | `traces`, `types` |
//! | [`traces`] | traces of calls: spans, which of them there are, and who sends them to a collector | `meter`, `upheld`, `types` |
//! | [`error`] | what can go wrong, with two faces: the caller's and the operator's | `types` |
//! | [`meter`] | numbers about the process: atomics that all others fill and metrics are read from | `types` |
//! | [`reading`] | reading files that may be on a disk that doesn't answer, and following those that change, by one set of rules | nothing |
//! | [`proto`] | the generated code, which prints no secret | nothing |
//! | [`stderr`] | the process's stderr, whose reader holds up nobody | nothing |
//! | [`upheld`] | work in the background that goes on after a panic | nothing |
//! | [`types`] | the words: ids, `Secret`, `Row`, `Version`, `Tenant` | nothing |
//!
//! Arrows point down this table only. `rpc` and `tokens` know the traits of `store`, and no backend: the
//! domain knows neither gRPC nor Redis, and a store makes no decision that a caller could argue with.
//! `tests/layering.rs` reads the code and holds the table, and the walls between its modules and the libraries.
//!
//! [`store::redis`] has three rooms. `link/` is the process's way to Redis, shared by all tenants: it knows
//! servers and requests, and no tenant's keys. The files beside it are the stores: `process.rs` has what the
//! process shares (`Redis`) and a tenant's handle to it (`RedisStore`), the others what that handle does, by a
//! key space and Lua scripts. [`maintenance`](store::redis::maintenance) goes through all keys of a tenant:
//! migration, check and sealing again, which don't know each other.
//!
//! Whatever the backend, the store that [`tokens`] and [`refresh`] see is a [`store::Sealed`]: it seals what is written and
//! opens what is read. The backend behind it sees envelopes, versions, and hashes of refresh tokens, and needs no key.
//!
//! # The way of one `Store`
//!
//! 1. `server/` accepts the connection, within the limit on connections. [`tls`] does the handshake, and verifies the client's
//!    certificate. hyper serves the connection, and each request says who is at the other end ([`types::Peer`]).
//! 2. `rpc/` makes a call of the request when its headers are there: [`access`] says who calls and whether that is allowed, it is admitted (or refused as `OVERLOADED` or
//!    `MIGRATING`), gets its deadline, and is observed. tonic decodes the message, within the limits on its size and on
//!    the bytes in flight.
//! 3. The request is taken apart into typed ids and secrets. Everything that is wrong with it is answered in one
//!    `BadRequest`.
//! 4. [`tokens`] checks sizes, looks for a refresh token to carry forward, works out how long the row lives, draws
//!    a version, and asks the store for one conditional write.
//! 5. [`store::redis`] names the keys and spells the row, and calls `scripts/put.lua`. The link sends it to the
//!    primary. The script checks the conditions and changes row, session index and user index in one atomic
//!    step. Where writes have to be durable, `WAIT` follows on the same connection.
//! 6. The store says what happened. [`tokens`] decides what an outcome means, `store/error.rs` maps a failure,
//!    and `rpc/status.rs` gives an error its code, reason and details. The call is in flight until its answer has left
//!    the process.
//!
//! If the answer is lost, [`tokens`] looks for the version that it drew (`store/repeat.rs`), and never writes twice.
//!
//! If the process dies before the script was sent, nothing has happened; if it dies later, either nothing has or all
//! of it, never a part. A caller that got no answer can't know which.
//!
//! # The way of one refresh
//!
//! 1. [`tokens`] (`access.rs`) reads the row, and hands it out if [`refresh::due`] says that it is good.
//! 2. Otherwise the caller joins the refresh of that row in this process, or begins one (`refresh/flights.rs`). It runs apart
//!    from its callers.
//! 3. `refresh/redeem.rs` looks at row and record as of one instant. [`refresh::rules`] says whether the token may be taken,
//!    `refresh/decide.rs` what else is to be done. While another broker has the token, it waits for an announcement.
//! 4. The provider's endpoint, the credentials and the connection are made ready (`refresh/provider/`). Then the token is
//!    taken: the record is written if nothing has changed since the look. The lease counts from before the look.
//! 5. The token is sent, once. What the answer means is in `refresh/provider/answer/`.
//! 6. `refresh/attempt.rs` writes what became of it until it is written: tokens are merged into whatever row holds the token.
//!    The same write announces the end to those who wait on other brokers.
//!
//! # Where a new thing goes
//!
//! `docs/contributing.md` lists, for each kind of change, the files that it touches.
//!
//! # Where what comes next has its place
//!
//! None of this is built. It says which walls stand where they do because of it.
//!
//! - **Shards:** the key space gives a session's keys the tag of their shard. What the process shares serves every slot, so that
//!   a tenant may hold a link to several.

pub mod access;
pub mod audit;
pub mod authorizations;
pub mod cli;
pub mod config;
pub mod error;
pub mod identities;
pub mod meter;
pub mod outbound;
pub mod proto;
pub mod reading;
pub mod refresh;
pub mod rpc;
pub mod seal;
pub mod server;
pub mod spiffe;
pub mod stderr;
pub mod store;
pub mod tls;
pub mod tokens;
pub mod traces;
pub mod types;
pub mod upheld;
pub mod vault;
