//! Finds the repository, the tools that `scripts/tools` gets, and the program that cargo built.

use std::{
    env,
    path::{Path, PathBuf},
};

/// Returns the root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
}

/// Returns the path of a tool in `.tools/bin`, if it is there.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let path = root().join(".tools/bin").join(name);
    path.exists().then_some(path)
}

/// Returns the path of the program `token-broker` that cargo built for the running test or
/// benchmark.
///
/// Newer versions of cargo pass its path to a running test. Otherwise the program is in the parent
/// of the directory of the running test: `target/debug/deps/rpc-0a1b` belongs to
/// `target/debug/token-broker`.
///
/// # Panics
///
/// Panics if the program isn't there. Cargo builds it for the tests and benchmarks of the package
/// `token-broker`.
pub(crate) fn broker_program() -> PathBuf {
    if let Some(path) = env::var_os("CARGO_BIN_EXE_token-broker") {
        return path.into();
    }
    let test = env::current_exe().expect("the path of this program");
    let mut directories = test.ancestors().skip(1);
    let profile = directories.find(|directory| !directory.ends_with("deps"));
    let program = profile.expect("a directory").join("token-broker");
    assert!(
        program.exists(),
        "{} isn't built: run `cargo build` with the same profile first",
        program.display()
    );
    program
}
