//! Destinations that can't be used: `--check-config` finds them as a start does, with exit code 2, and changes nothing.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use testkit::broker_process::{BrokerProcess, program};

use crate::world::World;

const POLICY: &str =
    "[callers.a]\nspiffe-ids = [\"spiffe://a.test/a\"]\nroles = [\"sidecar\"]\nproviders = \"*\"\n";

/// A folder with all that may be in a destination's place.
fn world() -> World {
    let world = World::new();
    let at = |name: &str| world.folder().join(name);
    fs::create_dir(at("folder")).unwrap();
    symlink(".", at("alias")).unwrap();
    symlink("no/file", at("dangling")).unwrap();
    symlink("later.jsonl", at("to-later")).unwrap();
    symlink("a.jsonl.3", at("to-full")).unwrap();
    fs::write(at("old.jsonl"), "{\"seq\":1}\n").unwrap();
    fs::hard_link(at("old.jsonl"), at("twin.jsonl")).unwrap();
    fs::write(at("junk"), "root:x:0:0\n").unwrap();
    fs::write(at("events.1"), POLICY).unwrap();
    world
}

/// The settings of a broker with these destinations. A name that isn't a whole path is in the folder.
fn settings(world: &World, files: &[&str], more: &[&str]) -> Vec<String> {
    let mut all = world.with_key(&[&["--audit", "required", "--backend", "memory"], more].concat());
    for &file in files {
        let path = match file {
            "-" => file.to_owned(),
            _ => world.folder().join(file).display().to_string(),
        };
        all.extend(["--audit-file".to_owned(), path]);
    }
    all
}

/// Runs the program to its end. One that would serve is stopped, and ends with 124.
fn run(settings: &[String], more: &[&str]) -> Output {
    let mut command = Command::new("timeout");
    command.env_clear().arg("10").arg(program().get_program());
    command.args(settings).args(more).output().unwrap()
}

/// What is in a folder, and below it.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let kind = entry.file_type().unwrap();
        all.insert(
            entry.path(),
            kind.is_file().then(|| fs::read(entry.path()).unwrap()),
        );
        if kind.is_dir() {
            all.extend(contents(&entry.path()));
        }
    }
    all
}

#[test]
fn a_destination_that_cannot_be_used_is_a_mistake_in_the_settings() {
    let world = world();
    let policy = world.folder().join("events.1").display().to_string();
    let before = contents(world.folder());
    let cases: &[(&[&str], &[&str], &str)] = &[
        (&["no/a.jsonl"], &[], "can't be written: No such file"),
        (&["junk/a.jsonl"], &[], "can't be written: Not a directory"),
        (&["folder"], &[], "can't be written: it is a directory"),
        (&["dangling"], &[], "can't be written: No such file"),
        (&["junk"], &[], "holds something else than audit events"),
        (&["key"], &[], "holds something else than audit events"),
        (
            &["a.jsonl", "folder/../a.jsonl"],
            &[],
            "entry 2 leads to the file of entry 1, too",
        ),
        (
            &["a.jsonl", "alias/a.jsonl"],
            &[],
            "entry 2 leads to the file of entry 1, too",
        ),
        (
            &["to-later", "later.jsonl"],
            &[],
            "entry 2 leads to the file of entry 1, too",
        ),
        (
            &["old.jsonl", "b.jsonl", "twin.jsonl"],
            &[],
            "entry 3 leads to the file of entry 1, too",
        ),
        (
            &["-", "/dev/stdout"],
            &[],
            "entry 2 leads to the file of entry 1, too",
        ),
        (
            &["a.jsonl", "a.jsonl.1"],
            &[],
            "entry 2 has a name that full files of entry 1 get",
        ),
        (
            &["a.jsonl.20", "alias/a.jsonl"],
            &[],
            "entry 2 gives its full files the name of the file of entry 1",
        ),
        (
            &["a.jsonl", "to-full"],
            &[],
            "entry 2 has a name that full files of entry 1 get",
        ),
        // The chain of a new file begins after that of NAME.1, also if other software renames files.
        (
            &["a.jsonl", "a.jsonl.1"],
            &["--audit-file-size", "0"],
            "entry 2 has a name that full files of entry 1 get",
        ),
        (
            &["events"],
            &["--policy", &policy],
            "gives its full files the name of the file of policy",
        ),
    ];
    for &(files, more, told) in cases {
        let settings = settings(&world, files, more);
        let checked = run(&settings, &["--check-config"]);
        assert!(
            contents(world.folder()) == before,
            "{files:?}: a file was made or changed"
        );
        let served = run(&settings, &["--listen", "127.0.0.1:0"]);
        assert!(
            contents(world.folder()) == before,
            "{files:?}: a file was made or changed"
        );
        for done in [checked, served] {
            let says = String::from_utf8(done.stderr).unwrap();
            assert_eq!(done.status.code(), Some(2), "{files:?}: {says}");
            let first = says.lines().next().unwrap();
            assert!(first.contains("--audit-file: "), "{files:?}: {says}");
            assert!(first.contains(told), "{files:?}: {says}");
            assert!(!says.contains("another process"), "{files:?}: {says}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_can_be_used_is_left_as_it_is_by_a_check() {
    let world = world();
    let made = Command::new("mkfifo")
        .arg(world.folder().join("pipe"))
        .status();
    assert!(made.unwrap().success());
    fs::write(world.folder().join("torn.jsonl"), "{\"seq\":1}\n{\"se").unwrap();
    for files in [
        &["a.jsonl", "b.jsonl", "-"][..],
        &["b.jsonl", "b.jsonl.01", "b.jsonl.1x", "b.jsonl1"],
        &["c.jsonl", "folder/c.jsonl", "folder/c.jsonl.1.1"],
        &["to-later"],
        &["pipe"],
        &["torn.jsonl", "old.jsonl", "/dev/null"],
    ] {
        let settings = settings(&world, files, &[]);
        let before = contents(world.folder());
        let checked = run(&settings, &["--check-config"]);
        let says = String::from_utf8(checked.stderr).unwrap();
        assert_eq!(checked.status.code(), Some(0), "{files:?}: {says}");
        assert!(
            contents(world.folder()) == before,
            "{files:?}: a file was made or changed"
        );
        let settings: Vec<_> = settings.iter().map(String::as_str).collect();
        let broker = BrokerProcess::start(&settings);
        // What another process does isn't a matter of the settings.
        if files == ["to-later"] {
            let settings: Vec<_> = settings.iter().map(|&text| text.to_owned()).collect();
            let checked = run(&settings, &["--check-config"]);
            assert_eq!(checked.status.code(), Some(0));
            let second = run(&settings, &["--listen", "127.0.0.1:0"]);
            let says = String::from_utf8(second.stderr).unwrap();
            assert_eq!(second.status.code(), Some(1), "{says}");
            assert!(says.contains("another process writes it"), "{says}");
        }
        assert!(broker.terminate().success());
    }
}
