//! Values that look right to the operator.

use std::{fs::File, path::Path, process::Command, sync::mpsc, thread, time::Duration};

use super::{from_toml, problems};
use crate::config::span;

fn make_pipe(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status();
    assert!(made.unwrap().success());
}

/// Whoever reads a configuration as usual waits for ever for who writes to the pipe, and reads zeros until memory ends.
#[test]
fn nothing_in_the_place_of_the_configuration_holds_up_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let [pipe, large, latin] = ["pipe", "large", "latin"].map(|name| dir.path().join(name));
    make_pipe(&pipe);
    File::create(&large)
        .unwrap()
        .set_len((16 << 20) + 1)
        .unwrap();
    std::fs::write(&latin, b"tenant = \"\xfc\"").unwrap();
    for (path, told) in [
        (pipe, "takes too long"),
        ("/dev/zero".into(), "larger than 16 MiB"),
        (large, "larger than 16 MiB"),
        (latin, "not UTF-8"),
        (dir.path().to_owned(), "directory"),
    ] {
        let (done, is_done) = mpsc::channel();
        let read = path.clone();
        thread::spawn(move || done.send(crate::config::read(&read).resolve().unwrap_err()));
        let problems = is_done.recv_timeout(Duration::from_secs(20)).unwrap();
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        let named = path.display().to_string();
        assert!(
            problems[0].contains(told) && problems[0].contains(&named),
            "{problems:?}"
        );
    }
}

/// `--config <(...)` is a pipe, which keeps a configuration off the disk.
#[test]
fn a_configuration_may_come_from_a_pipe() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    make_pipe(&pipe);
    let end = pipe.clone();
    let writes = thread::spawn(move || std::fs::write(end, "backend = \"memory\""));
    let config = crate::config::read(&pipe).resolve();
    writes.join().unwrap().unwrap();
    config.unwrap();
}

#[test]
fn an_m_alone_is_neither_minutes_nor_months() {
    for setting in ["call-timeout", "refresh-lifetime"] {
        for text in ["30M", "1h 5M", "5 M"] {
            let told = problems(&format!("{setting} = \"{text}\""));
            assert!(told[0].contains("write m for minutes"), "{told:?}");
            assert!(!told[0].contains(text), "{told:?}");
        }
        for good in ["30m", "2months", "1min 3s", "1month"] {
            let written = from_toml(&format!("{setting} = \"{good}\""));
            assert!(written.resolve().is_ok(), "{good}");
        }
    }
    assert!(span("2M").unwrap_err().contains("write m for minutes"));
    assert!(span("soon").unwrap_err().contains("like 500ms"));
}

#[test]
fn a_span_is_listed_as_it_was_understood() {
    for (text, shown) in [
        ("90s", "call-timeout = \"90s\"  # file, 1m 30s"),
        ("10s", "call-timeout = \"10s\"  # file"),
    ] {
        let written = from_toml(&format!("call-timeout = \"{text}\""));
        let list = written.listed(&written.clone().resolve().unwrap());
        assert!(list.lines().any(|line| line == shown), "{list}");
    }
}

#[test]
fn quotation_marks_around_a_value_are_told_of() {
    for line in [
        r#"redis-url = "\"redis://a\"""#,
        r#"listen = "'127.0.0.1:1'""#,
        r#"call-timeout = "\"5s\"""#,
    ] {
        let told = problems(line);
        assert!(told[0].contains("quotation marks"), "{told:?}");
        assert_eq!(told.len(), 1, "{told:?}");
    }
    let password = "redis-url = \"redis://a\"\nredis-password = \"'S3cr3t'\"";
    let config = from_toml(password).resolve().unwrap();
    let told = config.warnings[0].to_string();
    assert!(
        told.starts_with("redis-password: is in quotation marks"),
        "{told}"
    );
    assert!(!told.contains("S3cr3t"), "{told}");
    for good in ["\\\"", "it's", "'a\\\"", "a'b'"] {
        let line = format!("redis-url = \"redis://a\"\nredis-password = \"{good}\"");
        let config = from_toml(&line).resolve().unwrap();
        assert!(config.warnings.is_empty(), "{good}");
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_password() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "\u{feff}S3cr3t\n").unwrap();
    let path = file.path().display();
    let told = problems(&format!(
        "redis-url = \"redis://a\"\nredis-password-file = \"{path}\""
    ));
    assert!(told[0].contains("byte order mark"), "{told:?}");
    assert!(!told[0].contains("S3cr3t"), "{told:?}");
}
