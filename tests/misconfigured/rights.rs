//! Commands and keys that the broker needs and doesn't get.

use std::thread;

use testkit::launch::Launch;

use super::{ends, start};

#[test]
fn a_user_may_not_do_what_it_must() {
    let users = [
        "user default on >adm ~* &* +@all",
        "user nobody on >hunter2 ~* -@all",
        "user elsewhere on >hunter2 ~other:* +@all",
        "user reader on >hunter2 ~* +@all -eval",
    ];
    let server = Launch::default()
        .file("users.acl", users.join("\n") + "\n")
        .lines(["aclfile {dir}/users.acl"])
        .login("default", "adm")
        .start();
    for user in ["nobody", "elsewhere", "reader"] {
        let url = format!("redis://{user}:hunter2@127.0.0.1:{}", server.port());
        ends(&[], &[("redis-url", Some(&url))], "redis-url", "permission");
    }
}

/// Each command that the broker needs may be renamed, or forbidden.
#[test]
fn a_command_is_missing() {
    let starts = |commands: &'static [&'static str]| {
        thread::spawn(move || {
            commands.iter().for_each(|command| lacks(command));
        })
    };
    let halves = [
        starts(&["EVAL", "EVALSHA", "SCAN", "SELECT", "WAIT", "SSCAN"]),
        starts(&["SET", "SADD", "SREM", "DEL", "PEXPIRE", "TYPE", "MGET"]),
    ];
    halves.into_iter().for_each(|half| half.join().unwrap());
    for command in ["SELECT", "SET", "INFO", "ROLE"] {
        forbids(command);
    }
}

/// The command is renamed.
fn lacks(command: &str) {
    let renamed = format!("rename-command {command} \"\"");
    let server = Launch::default().lines([renamed]).start();
    let url = format!("redis://127.0.0.1:{}/1", server.port());
    let changes = [
        ("redis-url", Some(url.as_str())),
        ("durability", Some("replicated")),
    ];
    ends(&[], &changes, "redis-url", command);
}

/// The user may not run the command.
fn forbids(command: &str) {
    let user = format!("user limited on nopass ~* &* +@all -{command}");
    let server = Launch::default()
        .file("users.acl", format!("{user}\n"))
        .lines(["aclfile {dir}/users.acl"])
        .start();
    let url = format!("redis://limited@127.0.0.1:{}/1", server.port());
    let told = command.to_lowercase();
    let (code, said) = start("serve", &[], &[("redis-url", Some(&url))]);
    assert_eq!(code, 2, "{command}: {said}");
    let said = said.to_lowercase();
    assert!(
        said.contains("redis-url: ") && said.contains(&told),
        "{command}: {said}"
    );
}
