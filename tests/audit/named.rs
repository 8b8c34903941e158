//! `token-broker audit name`: whoever has an id and the key finds its events.

use std::{
    fs,
    io::Write,
    process::{Output, Stdio},
};

use testkit::broker_process::program;
use token_broker::proto::v1;

use crate::world::{World, store};

fn name(world: &World, sort: &[&str], ids: &str) -> Output {
    let of_tenant = world.with_key(&["--tenant", "default:default"]);
    let mut command = program();
    command.args(["audit", "name"]).args(of_tenant).args(sort);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = piped.stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = running.stdin.take().unwrap();
    stdin.write_all(ids.as_bytes()).unwrap();
    drop(stdin);
    running.wait_with_output().unwrap()
}

/// Returns the names, of which there has to be one an id.
fn names(world: &World, sort: &[&str], ids: &str) -> Vec<String> {
    let done = name(world, sort, ids);
    assert!(done.status.success(), "{done:?}");
    let text = String::from_utf8(done.stdout).unwrap();
    let names: Vec<_> = text.lines().map(str::to_owned).collect();
    assert_eq!(names.len(), ids.lines().count());
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_has_the_name_that_stands_in_its_events() {
    let world = World::new();
    let broker = world.start(&[]).await;
    let mut client = broker.client().await;
    store(&mut client, "s").await.unwrap();
    let all = v1::DeleteRequest {
        session_id: "s".to_owned(),
        target: Some(v1::delete_request::Target::AllProviders(true)),
        ..Default::default()
    };
    client.delete(all).await.unwrap();
    let user_id = "u".to_owned();
    client
        .delete_user(v1::DeleteUserRequest { user_id })
        .await
        .unwrap();
    let events = fs::read_to_string(world.path()).unwrap();
    for (sort, id, field) in [
        (&["row", "--provider", "p"][..], "s", "row"),
        (&["session"], "s", "session"),
        (&["user"], "u", "user"),
    ] {
        // Two others, one of which has no event.
        let found = names(&world, sort, &format!("{id}\nother\n{id}\n"));
        assert_eq!(found[0], found[2]);
        let stands = |name: &str| events.contains(&format!("\"{field}\":\"{name}\""));
        assert!(stands(&found[0]), "{sort:?}: {events}");
        assert!(!events.contains(&found[1]), "{sort:?}");
    }
}

#[test]
fn what_is_wrong_is_told_without_an_id() {
    let world = World::new();
    for (ids, told) in [
        ("good\n\n", "line 2 of stdin: the id must not be empty"),
        (
            "s3cr3t\u{1}\n",
            "line 1 of stdin: the id must not contain control characters",
        ),
    ] {
        let done = name(&world, &["session"], ids);
        let said = String::from_utf8(done.stderr).unwrap();
        assert_eq!((done.status.code(), done.stdout.len()), (Some(2), 0));
        assert!(said.contains(told) && !said.contains("s3cr3t"), "{said}");
    }
    world.give_key_the_rights(0o644);
    let done = name(&world, &["session"], "s\n");
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(2));
    assert!(
        said.contains("--audit-key-file: its rights are 0644"),
        "{said}"
    );
}
