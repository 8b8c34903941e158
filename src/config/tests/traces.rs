//! The settings of traces.

use std::io::Write as _;

use super::from_toml;

/// The settings at fault, and all that is told of them.
fn wrong(text: &str) -> (Vec<String>, String) {
    let problems = from_toml(text).resolve().unwrap_err();
    let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
    let names = problems.into_iter().map(|problem| problem.setting);
    (names.collect(), told.join("\n"))
}

#[test]
fn without_a_collector_nothing_is_traced_and_nothing_else_is_set() {
    assert!(from_toml("").resolve().unwrap().traces.is_none());
    for line in [
        "traces-one-in = 5",
        "traces-of-callers = 1",
        "traces-ca = \"/ca\"",
        "traces-header-file = \"/header\"",
        "traces-service = \"s\"",
        "traces-instance = \"i\"",
    ] {
        let (names, told) = wrong(line);
        assert_eq!(names.len(), 1, "{told}");
        assert!(
            line.starts_with(&names[0]) && told.contains("no effect"),
            "{told}"
        );
    }
}

#[test]
fn what_is_wrong_is_told_with_its_setting_and_not_quoted() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"authorization: hunter2").unwrap();
    let header = format!("traces-header-file = {:?}", file.path());
    let ca = format!("traces-ca = {:?}", file.path());
    let at = "traces-endpoint = \"http://127.0.0.1:4317\"";
    let elsewhere = "traces-endpoint = \"http://collector:4317\"";
    for (endpoint, line, name) in [
        ("traces-endpoint = \"hunter2:4317\"", "", "traces-endpoint"),
        (at, "traces-one-in = -1", "traces-one-in"),
        (at, "traces-one-in = \"hunter2\"", "traces-one-in"),
        (at, "traces-of-callers = -1", "traces-of-callers"),
        (at, "traces-ca = \"/hunter2\"", "traces-ca"),
        (at, &ca, "traces-ca"),
        (
            at,
            "traces-header-file = \"/hunter2\"",
            "traces-header-file",
        ),
        (elsewhere, &header, "traces-header-file"),
    ] {
        let (names, told) = wrong(&format!("{endpoint}\n{line}"));
        assert_eq!(names, [name], "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
    let config = from_toml(&format!("{at}\n{header}")).resolve().unwrap();
    let traces = config.traces.as_ref().unwrap();
    assert_eq!((traces.part, traces.asked), (0.0, 10));
    for (calls, part) in [(1, 1.0), (4, 0.25)] {
        let config = from_toml(&format!("{at}\ntraces-one-in = {calls}"));
        assert_eq!(config.resolve().unwrap().traces.unwrap().part, part);
    }
    assert!(!format!("{config:?}").contains("hunter2"));
}
