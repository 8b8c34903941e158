//! Tests which module names which, by reading the code. The order of the modules is that of the front page,
//! `src/lib.rs`.
//!
//! Every path in `src/` counts: in `use`, in code, in types, in macros and in tests next to the code. It is
//! followed through `crate`, `self`, `super`, imports, renames, globs and re-exports to the module that defines the
//! item. Doc comments don't count, so they may link upwards.
//!
//! This file also checks the size of the files, because it also matters for a readable tree.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "layering/names.rs"]
mod names;
#[path = "layering/spawned.rs"]
mod spawned;
#[path = "layering/tree.rs"]
mod tree;

use std::{collections::BTreeSet, fs, path::Path};

use names::{Named, Names};
use tree::{Source, Tree};

/// The top-level modules from the top down, each with the modules that it may name. Any other name points upwards,
/// or its layer hasn't been decided yet.
const LAYERS: &[(&str, &[&str])] = &[
    (
        "cli",
        &[
            "server", "config", "rpc", "access", "tokens", "refresh", "store", "vault", "seal",
            "tls", "audit", "outbound", "traces", "error", "meter", "proto", "reading", "stderr",
            "types",
        ],
    ),
    (
        "server",
        &[
            "config",
            "rpc",
            "access",
            "identities",
            "authorizations",
            "tokens",
            "refresh",
            "store",
            "tls",
            "audit",
            "traces",
            "error",
            "meter",
            "proto",
            "reading",
            "upheld",
            "types",
        ],
    ),
    (
        "config",
        &[
            "access", "tokens", "refresh", "store", "vault", "seal", "tls", "audit", "outbound",
            "traces", "error", "reading", "types",
        ],
    ),
    (
        "rpc",
        &[
            "access",
            "identities",
            "authorizations",
            "tokens",
            "refresh",
            "store",
            "audit",
            "traces",
            "error",
            "meter",
            "proto",
            "types",
        ],
    ),
    ("access", &["error", "types"]),
    ("identities", &["store", "error", "types"]),
    ("authorizations", &["store", "error", "types"]),
    ("tokens", &["refresh", "store", "audit", "error", "types"]),
    (
        "refresh",
        &[
            "store", "audit", "outbound", "traces", "error", "meter", "reading", "types",
        ],
    ),
    (
        "store",
        &[
            "seal", "traces", "error", "meter", "reading", "stderr", "upheld", "types",
        ],
    ),
    ("vault", &["seal", "outbound", "reading", "types"]),
    ("seal", &["meter", "reading", "types"]),
    ("tls", &["spiffe", "meter", "reading", "types"]),
    ("spiffe", &["types"]),
    ("audit", &["error", "types"]),
    ("outbound", &["traces", "types"]),
    ("traces", &["meter", "upheld", "types"]),
    ("error", &["types"]),
    ("meter", &["types"]),
    ("reading", &[]),
    ("proto", &[]),
    ("stderr", &[]),
    ("upheld", &[]),
    ("types", &[]),
];

/// A wall inside a layer: the module `of`, except for `but`, names nothing in `not`, except for `except`.
struct Wall {
    of: &'static str,
    but: &'static [&'static str],
    not: &'static str,
    except: &'static [&'static str],
}

const REDIS: &str = "store::redis";
const LINK: &str = "store::redis::link";
const MAINTENANCE: &str = "store::redis::maintenance";
const MIGRATION: &str = "store::redis::maintenance::migration";
const CHECK: &str = "store::redis::maintenance::check";
const RESEAL: &str = "store::redis::maintenance::reseal";

const WALLS: &[Wall] = &[
    // The domain and the gRPC interface know no backend.
    wall("rpc", REDIS),
    wall("tokens", REDIS),
    wall("rpc", "store::memory"),
    wall("tokens", "store::memory"),
    // Callers may redeem tokens themselves, and tell what the provider answered; and the gate asks whether a call may wait.
    // Refreshing is the domain's.
    Wall {
        except: &[
            "refresh::lease",
            "refresh::completion",
            "refresh::provider::answer",
            "refresh::waits",
        ],
        ..wall("rpc", "refresh")
    },
    // The trait knows none either. Otherwise a re-export in `store` would hide a backend from the two rules above.
    Wall {
        but: &[REDIS],
        ..wall("store", REDIS)
    },
    // What is known of a provider needs no store.
    wall("refresh", REDIS),
    wall("refresh", "store::memory"),
    wall("refresh::provider", "store"),
    wall("refresh::breaker", "store"),
    wall("refresh::gate", "store"),
    // One link to Redis serves all tenants, so it knows no tenant's keys and rows.
    Wall {
        except: &[
            LINK,
            "store::redis::options",
            "store::redis::largest",
            "store::redis::scripts::Script",
            "store::redis::scripts::Call",
        ],
        ..wall(LINK, REDIS)
    },
    wall(CHECK, MIGRATION),
    wall(MIGRATION, CHECK),
    wall(RESEAL, MIGRATION),
    wall(RESEAL, CHECK),
    wall(MIGRATION, RESEAL),
    wall(CHECK, RESEAL),
    // The code that spells keys and rows needs no connection.
    wall("store::redis::row", LINK),
    wall("store::redis::row", MAINTENANCE),
    wall("store::redis::keyspace", LINK),
    wall("store::redis::keyspace", MAINTENANCE),
];

const fn wall(of: &'static str, not: &'static str) -> Wall {
    Wall {
        of,
        but: &[],
        not,
        except: &[],
    }
}

/// The most lines that a file of `src/` may have: any file, nine of ten files, and half of the files.
const LINES: [usize; 3] = [600, 400, 150];

/// Libraries that a part of `src/` must not know, by the beginning of the file's path.
const FOREIGN: &[(&str, &[&str])] = &[
    ("tokens/", &["tonic", "prost", "redis", "http"]),
    ("audit/", &["tonic", "prost", "redis", "http"]),
    ("access/", &["tonic", "prost", "redis", "http"]),
    ("types/", &["tonic", "prost", "redis", "http"]),
    ("error.rs", &["tonic", "prost", "redis", "http"]),
    ("refresh/", &["tonic", "prost", "redis"]),
    ("store/", &["tonic", "prost", "http"]),
    ("rpc/", &["redis"]),
    ("config/", &["tonic", "prost", "http"]),
    ("tls/", &["tonic", "prost", "redis", "http"]),
];

/// The lines of a file that name a library that the file must not know.
fn foreign<'t>(path: &str, text: &'t str) -> Vec<&'t str> {
    let barred = FOREIGN.iter().filter(|(begin, _)| path.starts_with(begin));
    let barred: Vec<_> = barred.flat_map(|(_, libraries)| *libraries).collect();
    let names = |line: &str, library: &str| {
        let code = line.split("//").next().unwrap_or_default();
        code.match_indices(&format!("{library}::")).any(|(at, _)| {
            let before = code[..at].chars().next_back();
            before.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '_' | ':'))
        })
    };
    let is_wrong = |line: &&str| barred.iter().any(|library| names(line, library));
    text.lines().filter(is_wrong).collect()
}

#[test]
fn the_domain_knows_neither_grpc_nor_redis() {
    for Source { file, text, .. } in &Tree::read().sources {
        let found = foreign(file.trim_start_matches("src/"), text);
        assert!(found.is_empty(), "{file}: {found:#?}");
    }
    for (path, line) in [
        ("tokens/mod.rs", "use tonic::Status;"),
        ("store/memory.rs", "    fn code() -> tonic::Code {"),
        ("rpc/status.rs", "let cmd = redis::cmd(\"GET\");"),
        ("error.rs", "use http::StatusCode;"),
    ] {
        assert_eq!(foreign(path, line), [line], "{path}");
    }
    for (path, line) in [
        ("store/redis/rows.rs", "let cmd = redis::cmd(\"GET\");"),
        ("tokens/mod.rs", "// not tonic::Status"),
        ("rpc/mod.rs", "use crate::store::redis::Redis;"),
    ] {
        assert!(foreign(path, line).is_empty(), "{path}: {line}");
    }
}

/// Parsers of PEM pass over what they don't know, so that only one place uses them, and asks what they have left out.
#[test]
fn pem_is_read_in_one_place() {
    let tree = Tree::read();
    let parses = |source: &&Source| source.text.contains("PemObject");
    let (here, elsewhere): (Vec<_>, Vec<_>) = tree
        .sources
        .iter()
        .filter(parses)
        .map(|source| &source.file)
        .partition(|file| file.starts_with("src/types/pem"));
    assert!(!here.is_empty(), "nobody reads PEM");
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
}

#[test]
fn arrows_point_down() {
    let names = Names::of(&Tree::read());
    let wrong = violations(&names);
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));

    let across = names.named.iter().filter(|name| !name.is_inside());
    assert!(across.count() > 300, "hardly anything was read");
}

#[test]
fn every_module_has_its_layer() {
    let tree = Tree::read();
    let listed: Vec<_> = LAYERS.iter().map(|(module, _)| *module).collect();
    let front = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let told: Vec<_> = front
        .lines()
        .filter_map(|line| line.strip_prefix("//! | [`")?.split('`').next())
        .collect();
    assert_eq!(told, listed, "the table on the front page");
    let listed: BTreeSet<_> = listed.into_iter().collect();
    assert_eq!(tree.top_level(), listed, "the modules in src/");
    for module in WALLS.iter().flat_map(|wall| [wall.of, wall.not]) {
        assert!(tree.has(module), "a wall for {module}, which isn't there");
    }
}

#[test]
fn the_front_page_and_contributing_name_files_that_are_there() {
    let front = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let contributing = fs::read_to_string(root().join("docs/contributing.md")).unwrap();
    let (today, _) = front.split_once("# Where what comes next").unwrap();
    let quoted: Vec<_> = [today, contributing.as_str()]
        .into_iter()
        .flat_map(|page| page.split('`').skip(1).step_by(2))
        .collect();
    let paths = quoted
        .into_iter()
        .filter(|path| path.contains('/') && !path.contains(' '));
    let exists = |path: &str| {
        ["", "src", "src/store/redis"].iter().any(|folder| {
            let path = root().join(folder).join(path);
            path.exists() || path.with_extension("rs").exists()
        })
    };
    let (there, gone): (Vec<_>, Vec<_>) = paths.partition(|path| exists(path));
    assert!(gone.is_empty(), "{gone:?}");
    assert!(there.len() > 200, "only {} paths", there.len());
}

#[test]
fn planted_upward_names_are_found() {
    // The module of a new file, its text, and what must be reported. The names needn't exist.
    let planted = [
        ("types", "use crate::store::X;", "store::X"),
        ("types", "fn f() -> crate::error::X { loop {} }", "error::X"),
        ("store", "use super::super::tokens::X;", "tokens::X"),
        (
            "store",
            "use crate::{types::X, tokens::{self as t, Y}};",
            "tokens::Y",
        ),
        (
            "error",
            "mod a { fn f() { super::super::super::cli::x(); } }",
            "cli::x",
        ),
        ("tokens", "use crate::proto::X;", "proto::X"),
        ("config", "use crate::proto::X;", "proto::X"),
        (
            "config",
            "#[cfg(test)] mod tests { use crate::cli::x; }",
            "cli::x",
        ),
        (
            "tokens",
            "use crate::store; fn f(_: store::redis::X) {}",
            "store::redis::X",
        ),
        (
            "rpc",
            "use crate::store as s; type T = s::redis::X;",
            "store::redis::X",
        ),
        (
            "store",
            "fn f() { tracing::info!(x = %crate :: cli :: x(), \"\"); }",
            "cli::x",
        ),
        (
            "store",
            "macro_rules! m { () => { use $crate::{types::X, cli::x}; } }",
            "cli::x",
        ),
        ("tokens", "#[derive(crate::rpc::X)] struct S;", "rpc::X"),
        ("store", "pub use super::redis::X;", "store::redis::X"),
        ("store", "pub use crate::*;", "*"),
        ("store", "use crate::rpc::*;", "rpc::*"),
        (LINK, "use super::super::row::X;", "store::redis::row::X"),
        (
            LINK,
            "use crate::store::redis::scripts::X;",
            "store::redis::scripts::X",
        ),
        (
            CHECK,
            "use super::super::migration::X;",
            "store::redis::maintenance::migration::X",
        ),
        (
            MIGRATION,
            "use crate::store::redis::maintenance::check::X;",
            "store::redis::maintenance::check::X",
        ),
        (
            "store::redis::row",
            "use super::super::link::X;",
            "store::redis::link::X",
        ),
    ];
    let mut tree = Tree::read();
    for (at, (module, text, _)) in planted.iter().enumerate() {
        tree = tree.with_file(module, &format!("planted_{at}.rs"), text);
    }
    let found = violations(&Names::of(&tree));
    for (at, (_, text, expected)) in planted.iter().enumerate() {
        let (file, named) = (format!("/planted_{at}.rs:"), format!("names {expected}"));
        let told = found
            .iter()
            .any(|line| line.contains(&file) && line.ends_with(&named));
        assert!(told, "{text}: {found:#?}");
    }
}

#[test]
fn a_name_is_followed_through_imports() {
    let tree = Tree::read()
        .with("types", "pub struct X;")
        .with_file(
            "store",
            "middle.rs",
            "pub use crate::types::planted::X as Y;",
        )
        .with_file("cli", "by_name.rs", "use crate::store::middle::Y;")
        .with_file(
            "cli",
            "by_glob.rs",
            "use crate::store::middle::*; type T = Y;",
        )
        .with_file(
            "cli",
            "by_module.rs",
            "use crate::store::middle as m; type T = m::Y;",
        )
        .with_file(
            "cli",
            "through_parent.rs",
            "use super::by_name::Y as Z; mod a { use super::Z; }",
        );
    let names = Names::of(&tree);
    let of_x = names
        .named
        .iter()
        .filter(|name| name.target.join("::") == "types::planted::X");
    let modules: Vec<_> = of_x.map(|name| name.module.join("::")).collect();
    let expected = [
        "store::middle",
        "cli::by_name",
        "cli::by_glob",
        "cli::by_module",
        "cli::through_parent",
        "cli::through_parent::a",
    ];
    assert_eq!(modules, expected);
}

#[test]
fn what_names_nothing_above_is_left_alone() {
    let harmless = "
        //! [`crate::cli`], and `crate::rpc::Calls`.
        /// See [`run`](crate::cli::run).
        pub(crate) struct S;
        pub(in crate::store) use crate::types::Row;
        use super::Store;
        fn f(cli: u8) -> String {
            // crate::cli
            let server = \"crate::cli::run\";
            format!(\"{cli} {server} crate::cli\")
        }
    ";
    let tree = Tree::read();
    let before = violations(&Names::of(&tree));
    let after = violations(&Names::of(&tree.with("store", harmless)));
    assert_eq!(before, after);
}

#[test]
fn files_are_small() {
    let sizes: Vec<_> = Tree::read().sources.iter().map(Source::lines).collect();
    too_large(&sizes).unwrap();
    let long = |lines, times| [vec![10; 10 - times], vec![lines; times]].concat();
    too_large(&long(601, 1)).unwrap_err();
    too_large(&long(401, 2)).unwrap_err();
    too_large(&long(151, 6)).unwrap_err();
    too_large(&long(400, 1)).unwrap();
}

/// Returns what breaks a rule, one line per violation.
fn violations(names: &Names) -> Vec<String> {
    let told = names.named.iter().filter(|name| breaks_a_rule(name));
    let mut told: Vec<_> = told.map(ToString::to_string).collect();
    told.sort_unstable();
    told.dedup();
    told
}

fn breaks_a_rule(name: &Named) -> bool {
    let (from, to) = (name.module.join("::"), name.target.join("::"));
    if let (Some(of), Some(named)) = (name.module.first(), name.target.first())
        && of != named
    {
        // Another test reports a module without a layer.
        let layer = LAYERS.iter().find(|(module, _)| module == of);
        if layer.is_some_and(|(_, may)| !may.contains(&named.as_str())) {
            return true;
        }
    }
    let in_any = |path: &str, modules: &[&str]| modules.iter().any(|module| is_in(path, module));
    WALLS.iter().any(|wall| {
        is_in(&from, wall.of)
            && !in_any(&from, wall.but)
            && is_in(&to, wall.not)
            && !in_any(&to, wall.except)
    })
}

fn is_in(path: &str, module: &str) -> bool {
    path.strip_prefix(module)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn too_large(sizes: &[usize]) -> Result<(), String> {
    let [most, nine_in_ten, half] = LINES;
    let above = |lines| sizes.iter().filter(|&&size| size > lines).count();
    let files = sizes.len();
    if above(most) > 0 {
        return Err(format!("{} files have more than {most} lines", above(most)));
    }
    if above(nine_in_ten) * 10 > files {
        let long = above(nine_in_ten);
        return Err(format!(
            "{long} of {files} files have more than {nine_in_ten} lines"
        ));
    }
    if above(half) * 2 > files {
        return Err(format!(
            "{} of {files} files have more than {half} lines",
            above(half)
        ));
    }
    Ok(())
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Nobody is told when a task or a thread ends by a panic. So each is begun again, or somebody has thought of its end.
#[test]
fn every_task_is_upheld_or_may_end() {
    let tree = Tree::read();
    let wrong = spawned::violations(&tree.sources);
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    for (text, expected) in [
        ("tokio::spawn(work());", 1),
        ("tasks.spawn(work());", 1),
        ("tasks\n    .spawn_on(work(), &runtime);", 1),
        ("use tokio::task::spawn_blocking; spawn_blocking(work);", 1),
        ("tasks.spawn(upheld(\"work\", work));", 0),
        ("// tokio::spawn(work())", 0),
        ("fn spawn(&self) {}", 0),
        (
            "#[cfg(test)]\nmod tests { fn f() { tokio::spawn(work()); } }",
            0,
        ),
    ] {
        assert_eq!(spawned::begun(text), expected, "{text}");
    }
    let planted = tree.with("tokens", "fn f() { tokio::spawn(async {}); }");
    let wrong = spawned::violations(&planted.sources);
    assert!(wrong[0].contains("tokens/planted.rs begins 1"), "{wrong:?}");
}
