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
//! | [`cli`] | the commands `serve`, `migrate`, `check`, `keys`, `providers` and `health`, one file each; exit codes, logging | all below |
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
//! | [`meter`] | numbers about the process: atomics that all others fill and metrics are read from | nothing |
//! | [`reading`] | reading files that may be on a disk that doesn't answer | nothing |
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
//! | thing | place |
//! |---|---|
//! | an error reason | a variant in [`error`], with its `operator_detail` and `retry_after` there; the compiler then asks for its code and reason in `rpc/status.rs`, where its metadata is, too. If a failure of the store causes it, it comes a longer way: what Redis answered is classed in `store/redis/link/wire/error_class.rs`, becomes a store error in `store/redis/link/mod.rs` if it surely did nothing, else in `retry.rs` or `exclusive.rs` beside it, and is mapped in `store/error.rs`; `store/repeat.rs` has to know whether it tells what became of a write whose answer was lost. If a condition of a write causes it: `PutOutcome` in `store/mod.rs`, `put.lua`, both stores, and `tokens/store.rs`. A value in `proto/tokenbroker/v1/error_reason.proto`, a line in `docs/errors.md` and in `docs/guarantees.md`, section 2.5; a case in `tests/rpc/reasons.rs` or `flow_reasons.rs`, and the list in `tests/rpc/refusal.rs` if repeating helps |
//! | a field of a row | `types/row.rs`, with `Row::size`; its JSON in `store/redis/row/read.rs` and `write.rs`, with its name in `FIELDS` there; if callers see it, the proto, and `parts.rs` and `response.rs` in `rpc/token_broker/`; `docs/guarantees.md`, sections 2.1 and 3, and `docs/data-layout.md`. It stays readable when the row is sealed: add it to what the envelope is bound to, in `store/sealed/row.rs`, behind all others and only where it is set, so that older rows still open; `tests/seal/edited.rs` then asks for an edit of it |
//! | a field of a record | `types/record.rs`, with its JSON in `store/redis/record.rs`; `docs/data-layout.md` |
//! | an RPC | the proto; its name in `access/rpc.rs`, where the compiler then asks which providers it concerns, and in `access/role.rs` which roles have it; a method in the `mod.rs` of its service (`rpc/token_broker/`, `rpc/access_tokens/`, `rpc/identities/`, `rpc/pending_authorizations/`) with `request.rs` and `response.rs` beside it, which checks what its caller reaches; a line in `tests/rpc/callers/world.rs`; those about refreshes by auth servers are in `coordination.rs` there; an operation in [`tokens`], [`identities`] or [`authorizations`]; its rules in `tests/conformance/cases/`, each with a line in `tests/conformance/suite.rs`; `tests/rpc/every_rpc.rs`, and `tests/rpc/fields.rs`, `refresh_fields.rs` or `flow_fields.rs`; `tests/canaries/rpcs.rs`; `examples/service_config.json` if it may be repeated, and `withheld` in `rpc/audited.rs`; `docs/guarantees.md`, sections 2.1 to 2.4. A message prints nothing unless `proto/harmless.rs` names it |
//! | a role, or something that a caller is known by | `access/role.rs` or `access/credential.rs`, with `access/policy.rs`, and in `access/ways.rs` what a broker needs to know somebody by it; a key in `config/policy/`; `docs/access.md` (`UPDATE_DOCS=1 cargo test --lib reference` writes the table of roles) |
//! | a call of the store | a method of a trait in `store/mod.rs`, and in each of its implementations: `store/memory/mod.rs` or `store/memory/records.rs`, `store/redis/rows.rs`, `store/redis/records.rs`, `store/redis/identities.rs` or `store/redis/process.rs` (`Health`), `store/observed.rs` (with its `Operation`), `store/sealed/mod.rs`, `store/shared.rs`, and `tests/conformance/naive/store.rs` |
//! | a gRPC service | a `.proto` in `proto/`, named in `build.rs`; a file or folder in `rpc/`; in `server/entrance.rs` a line, with its door; an arm in `server/services.rs`; a name in `server/health.rs`; a domain module beside [`tokens`] if it isn't about rows |
//! | a setting | a field in the struct of its subject in `config/settings/`: flag, variable, file key and the table in `docs/configuration.md` come from it (`UPDATE_DOCS=1 cargo test --lib reference` writes the table). `config/mod.rs` hands it on, `config/redis.rs` if it is about Redis; what must hold between settings is in `config/together.rs`. `ServerOptions` in `config/settings/server.rs` goes on whole, to `server/assemble.rs` (calls), `server/connection.rs` (HTTP/2, TCP) and `server/run.rs` (the end) |
//! | a listener | `server/listeners.rs`, and an accepting of its own in `server/run.rs`; its setting in `config/settings/listen.rs`, and what must hold between it and TLS in `config/listen.rs`; its connections in the reserve of descriptors (`server/assemble.rs`); a case in `tests/tls/listeners.rs` |
//! | a file of TLS | a `TlsPart` in `tls/options.rs`, read in `tls/files.rs`, and used in `tls/material.rs`; its setting in `config/settings/tls.rs`, handed on in `config/listen.rs`; broken in `tests/tls/reload.rs`; `docs/tls.md` |
//! | something else that an agent gives by SPIFFE's Workload API | its field in `spiffe/wire.rs` and `spiffe/mod.rs`; what it means in `tls/offer.rs`; the played agent in `testkit/`, and a broken one in `tests/tls/svid_broken.rs` |
//! | a reason for which a connection ends | an event in `server/events.rs`. Who makes room: `server/activity.rs` and `server/source.rs`. If the right of its client ends, `types/right.rs` has to know before |
//! | a setting of a provider | a field in `config/settings/provider.rs`, from which `docs/providers.md` gets its line (`UPDATE_DOCS=1 cargo test --lib reference`); its value in `refresh/provider/options.rs`; what must hold between settings in `config/providers.rs`; what is known of common providers in `config/presets.toml` |
//! | a meaning of a provider's answer | `refresh/provider/answer/classify.rs`, or `read.rs` beside it where the form is new; a case in `tests/provider/answers.rs`, and the table in `docs/providers.md` |
//! | a file that an operator names | opened and read by `types/open_file.rs`, which waits for no pipe and bounds what it reads; one with a secret through `types/secret_file.rs`; one that may be on a disk that hangs, and all that are read again while the broker runs, through [`reading`] |
//! | a text of a row, or a rule for one | `types/text.rs`, for what is handed in and for what is read alike; that of an id in `types/id.rs` |
//! | a metric | a number in the struct of whoever does the work, of a type in `meter/`: `CallFigures` in `rpc/figures.rs` counts what every call's caller is told, `Figures` in `store/observed.rs` the store, `refresh/counts.rs` a provider, `ConnectionFigures` in `server/connections.rs`, `LinkFigures` in `store/mod.rs` the way to Redis, `Trust` in `meter/trust.rs` what guards the broker. Its name and labels in the file of its subject in `server/metrics/`, a new file with a `Collector` that `Server::metrics` adds; its line in `docs/monitoring.md`, which `tests/monitoring.rs` asks for; an event that moves it in `tests/rpc/metrics.rs` |
//! | a span, or something that it says | `traces::child` where the work is done, and `traces::during` while it runs; what it says is a variant in `traces/attribute.rs`, which holds no text that a caller or a row has; the table in `docs/tracing.md` |
//! | something else that is sealed | its own kind of `AssociatedData`, with everything that it belongs to and that stays readable beside it; the envelope is a text; a decorator beside `store/sealed/`, for the trait of its store |
//! | another service that wraps sealing keys, such as AWS KMS | a file or folder beside `vault/` with the trait of `seal/kms.rs`, which has one request a method, over `outbound/`; its settings in a file beside `config/settings/vault.rs`, and `config/vault.rs` picks the service that is set. A scheme of its own stands before its keys in the file |
//! | a decorator | a file in `store/`, such as `observed.rs`, with the traits of the store that it wraps; put around the store in `server/assemble.rs`. One for a test of the whole program is put there by a `Decorate` |
//! | a backend | a file or folder in `store/` with all traits of `store/mod.rs`; its harness in `tests/conformance/backend.rs` and a line in `tests/conformance/main.rs`; an arm in `server/assemble.rs`, and its name in `config/settings/storage.rs` |
//! | a Redis topology | a `Deployment` in `store/redis/options.rs`, made in `config/redis_url.rs` and `config/redis.rs`; a `Mode` in `store/redis/link/topology/servers.rs`; what tells its primaries: a file in `store/redis/link/topology/`, asked by `store/redis/link/topology/mod.rs`. It tells `primaries.rs`, where a primary is followed when the *address* changes, or (`primary.rs`) another process answers there; `server_set.rs` tells migration and check which servers to walk. Its settings in `config/settings/redis.rs`; one that is found wrong is an `AtFault` in `store/redis/link/wire/at_fault.rs`, spelled in `config/at_fault.rs`. Servers in `testkit/`, a line each in `tests/conformance/shared_servers.rs` and `main.rs`; `docs/redis.md` |
//! | an answer of Redis that is an error | a class in `store/redis/link/wire/error_class.rs`; whether sending again helps, in `store/redis/link/retry.rs`; whether the connection is of use afterwards, in `store/redis/link/wire/connection.rs`; what a primary that answers so is suspected of, in `store/redis/link/topology/mod.rs`; the table in `docs/redis.md` |
//! | a Lua script | a file in `store/redis/scripts/`, or in `scripts/maintenance/`, and a line in `store/redis/scripts.rs`; what scripts share is in `scripts/lib/`, one part a file: a line `-- uses:` names the parts that a script needs, and `scripts/parts.rs` lists all. A script decodes no JSON: it looks at the head of a row with `look`, and asks `store/redis/telling.rs` about any other row. A command that no script used before is a right: add it to `deploy/redis/broker.acl` and to `scripts/probe.lua`, which tries it at the start, and have `tests/deployments/rights.rs` use it, which fails for a right that isn't needed or that the start doesn't miss |
//! | a key in Redis | `store/redis/keyspace/`, where Rust makes every key and hash tag; scripts that meet a key by its name spell it once more (`fence.lua`, which alone makes the fence, `is_grace.lua`, `user_index.lua`, `check_index.lua`, `delete_rows.lua`); `docs/data-layout.md` |
//! | an invariant | `docs/guarantees.md`, section 3.2, counted in `tests/guarantees.rs`. It is kept in each store: `store/memory/state.rs`, and for Redis the scripts that write rows (`put.lua`, `migrate_row.lua`) or remove them, or change indexes, with what they share in `scripts/lib/`. What no script can keep is kept in Rust: by who goes through a user's rows (`store/redis/user_rows.rs`), the spelling of keys (`store/redis/keyspace/`), reading a row (`store/redis/row/`), the link (what a failover does), or [`tokens`]. A case in `tests/conformance/cases/` named after it, its line in `tests/conformance/suite.rs`, and a flaw in `tests/conformance/naive/` that `teeth.rs` gives to it; `testkit/src/audit.rs` and a damage for `check`, if it can be seen in the data |
//! | a damage for `check` of a row or an index | a `FindingKind` in `store/redis/maintenance/check/finding.rs`; what can be told from a row's bytes in `rows.rs`; its places in indexes in `check_row.lua`; an index's members in `check_index.lua` and `indexes.rs`; how a line relates it to an index in `text.rs`; planted in `tests/check/damage.rs`; `docs/check.md`. `--repair` mends indexes, in those scripts, and never changes a row |
//! | a damage for `check` of another sort of key | first teach the walk its name: `store/redis/keyspace/parse.rs` and `store/redis/maintenance/check/walk.rs`; then a script that judges it, a file beside `rows.rs` that the walk calls, and a count in `report.rs` and `text.rs`; then a `FindingKind` as above |
//! | a limit on what a tenant stores | the number in `Limits` in `tokens/limits.rs`, which is part of a tenant's `Rules` in `tokens/mod.rs`; its setting in `config/settings/tokens.rs`, handed on in `config/mod.rs`. What has to hold under concurrency is checked in the store's atomic step: the number of providers goes along in `Put` |
//! | a setting that each tenant has for itself | a field in a subject of `TenantSubjects` in `config/settings/mod.rs`, and its value in `config/tenants.rs`, which makes one `TenantConfig` of each table; `docs/tenants.md`. What is made of it is in `server/tenancy.rs` (a tenant as it is served, and the upkeep of its data) and in `server/assemble.rs` |
//! | a limit on what one tenant takes from others | `TenantShare` in `rpc/admission/tenant.rs`; its figures in `server/assemble.rs` |
//! | a limit on what one caller takes from others of its tenant | `CallerShare` in `rpc/admission/caller.rs`, which is found by the name that the policy gives. When a busy thread works for its calls: `rpc/admission/turns.rs`; how fast they are refused: `pace.rs` beside it; its places in the audit trail: `audit/share.rs`; its connections: `server/activity.rs` |
//! | a field of an audit event | `audit/event.rs`, spelled in `audit/line.rs`; what fills it is in `rpc/notes.rs` if a handler knows it, else in `rpc/audited.rs`. What belongs to no call is told through `audit/witness.rs`. `docs/audit.md` |
//! | a destination of audit events | a file in `audit/` with the trait of `audit/sink.rs`; a variant of `Destination` in `audit/options.rs`, opened in `audit/trail.rs`, written in `config/audit.rs` |
//! | a limit on calls | how many, how many bytes, and what one connection may have of both: `rpc/admission/`; how many wait for providers: there too, and for one provider in `refresh/gate.rs`, which asks both; how long: `rpc/deadline.rs` until there is an answer, `rpc/stream_limit.rs` until it has left; how large: `server/entrance.rs`; HTTP/2: `server/connection.rs`; connections: `server/connections.rs`; probes and tools: `rpc/side_door.rs`; how fast anybody is refused: `rpc/admission/pace.rs`, where `server/socket.rs` reads one call after the other. What isn't refused at the front door is counted in `rpc/paced.rs`, and what HTTP/2 refuses in `server/begun.rs` |
//! | a change to the proto | it may break no client of what was released: `tests/proto/breaking` compares it with `tests/proto/released`, and with `--release` makes the copy for the next release |
//! | an example client | a folder in `examples/` with a README whose two blocks build and run it; its name in `tests/examples/client.py` |
//! | something that reads bytes that others wrote | a target in `fuzz/src/targets/`, with its name in the `mod.rs` there, seeds in `fuzz/seeds/` and a flaw to plant; its line in `tests/README.md` |
//! | a task or thread of its own | what the broker can't do without runs `upheld.rs`; why any other may end is a line in `tests/layering/spawned.rs` |
//! | a helper for tests | `testkit/`, which has tests of its own |
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
