//! Tries the seeds of each fuzz target once, without a fuzzer: what was found stays mended, and the targets fit the code.
//! `scripts/fuzz` goes on from there.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says where"
)]

#[path = "../fuzz/src/input.rs"]
mod input;
#[path = "../fuzz/src/targets/mod.rs"]
mod targets;

use std::{collections::BTreeSet, fs, path::Path};

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds"))
}

#[test]
fn what_has_to_hold_holds_for_all_seeds() {
    let (mut tried, mut kept) = (0, BTreeSet::new());
    for of_a_target in fs::read_dir(folder()).unwrap() {
        let path = of_a_target.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let target = targets::named(&name).unwrap_or_else(|| panic!("there is no target {name}"));
        for seed in fs::read_dir(path).unwrap() {
            let seed = seed.unwrap().path();
            println!("{}", seed.display());
            if target(&fs::read(seed).unwrap()).is_some() {
                kept.insert(name.clone());
            }
            tried += 1;
        }
    }
    // The fuzzer would begin with nothing.
    let with_seeds: Vec<_> = kept.iter().map(String::as_str).collect();
    assert_eq!(with_seeds.join(", "), targets::names());
    assert!(tried > 40, "{tried}");
}
