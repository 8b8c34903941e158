//! The tasks and threads that `src/` begins, and why each of them may end.

use super::tree::Source;

/// The files that begin tasks or threads without [`upheld`](token_broker::upheld): how many, and why it does no harm that a panic
/// ends them, or how somebody learns of that.
const MAY_END: &[(&str, usize, &str)] = &[
    (
        "audit/desk.rs",
        1,
        "its end closes the desk, and whoever comes next opens another one",
    ),
    (
        "audit/trail.rs",
        1,
        "its end is logged and counted, and calls are refused",
    ),
    (
        "reading/mod.rs",
        2,
        "one reading: who waits for it panics as well, or reads again later",
    ),
    (
        "refresh/completions.rs",
        1,
        "one completion: its caller is told to repeat it",
    ),
    (
        "refresh/mod.rs",
        1,
        "one refresh: it is as if the process had died in it",
    ),
    (
        "refresh/provider/discovery.rs",
        1,
        "one fetch of metadata: the earlier metadata stays in use, and is fetched again later",
    ),
    (
        "refresh/revocation.rs",
        1,
        "one revocation: it is counted as failed",
    ),
    (
        "rpc/admission/busy.rs",
        1,
        "what was to be done when a thread has come round, once",
    ),
    ("rpc/work.rs", 1, "what remains of one call"),
    (
        "server/connection.rs",
        1,
        "one call: a panic in its work is caught before",
    ),
    ("server/probes.rs", 1, "one request"),
    (
        "server/scrape.rs",
        1,
        "one text of the metrics: whoever asked for it is told",
    ),
    (
        "server/workers.rs",
        3,
        "one connection; one attempt to reach the store; a thread, whose end ends the broker",
    ),
    (
        "stderr.rs",
        1,
        "a panic while it writes is caught, and the line is lost",
    ),
    (
        "store/memory/mod.rs",
        1,
        "a sweep: whoever finds expired rows next begins another one",
    ),
    ("store/redis/link/stand_in.rs", 2, "a server for unit tests"),
    (
        "store/redis/link/watch.rs",
        2,
        "the watch of one connection, which ends with it; and the end of a silent one",
    ),
    (
        "store/redis/link/wire/finished.rs",
        1,
        "one request whose caller has left",
    ),
    (
        "store/redis/link/wire/mod.rs",
        1,
        "what drives one connection, which ends with it",
    ),
    (
        "store/redis/maintenance/lease.rs",
        1,
        "the end of a lease, which runs out by itself",
    ),
    ("traces/tracer.rs", 1, "it begins again after a panic"),
];

/// Returns how many tasks and threads a text begins that aren't upheld. Tests don't count.
pub fn begun(text: &str) -> usize {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let code = code
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    let code: String = code.flat_map(str::split_whitespace).collect();
    let names = [
        "spawn(",
        "spawn_on(",
        "spawn_blocking(",
        "spawn_local(",
        "thread::scope(",
    ];
    let begun = names.iter().map(|name| {
        let calls = code.match_indices(name).map(|(at, _)| {
            let (before, after) = (&code[..at], &code[at + name.len()..]);
            let is_call = before.ends_with(['.', ':']) || *name == "spawn_blocking(";
            is_call && !after.starts_with("upheld(")
        });
        calls.filter(|counts| *counts).count()
    });
    begun.sum()
}

/// Returns what is wrong: a file that begins more or less than is listed.
pub fn violations(sources: &[Source]) -> Vec<String> {
    let found = sources
        .iter()
        .filter(|source| !source.module.iter().any(|module| module == "tests"));
    let found: Vec<_> = found
        .map(|source| (source.file.trim_start_matches("src/"), begun(&source.text)))
        .collect();
    let listed = |file: &str| {
        MAY_END
            .iter()
            .find(|(listed, ..)| *listed == file)
            .map_or(0, |(_, count, _)| *count)
    };
    let wrong = found.iter().filter(|(file, count)| *count != listed(file));
    let wrong = wrong.map(|(file, count)| {
        format!(
            "{file} begins {count} tasks or threads that aren't upheld, and {} are listed",
            listed(file)
        )
    });
    let gone = MAY_END
        .iter()
        .filter(|(file, ..)| !found.iter().any(|(found, _)| found == file));
    wrong
        .chain(gone.map(|(file, ..)| format!("{file} isn't there")))
        .collect()
}
