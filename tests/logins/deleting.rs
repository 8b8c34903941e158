//! `DeleteUser` is killed between every two of its commands, while others log that user in, link identities and store rows: no
//! identity points at nobody, and a repeated `DeleteUser` finds all that is left.

use std::{collections::BTreeMap, env, time::Instant};

use crate::{
    deletion::{Ended, World},
    flaws::Flaw,
};

/// Kills a broker before each command, until a deletion is done. Returns how many commands that took.
async fn before_every_command(world: &World) -> Result<usize, String> {
    for command in 1.. {
        let name = format!("alice-{command}");
        if world.deletion(&name, command, false).await? == Ended::Done {
            return Ok(command - 1);
        }
    }
    unreachable!("a deletion ends")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_is_killed_between_every_two_commands_of_delete_user() {
    let (world, begun) = (World::start(None).await, Instant::now());
    let commands = before_every_command(&world).await.unwrap();
    assert!(
        commands > 5,
        "`DeleteUser` takes more than {commands} commands"
    );
    let rounds: usize = env::var("LOGIN_KILLS").map_or(0, |rounds| rounds.parse().unwrap());
    let mut ended = BTreeMap::new();
    for round in 0..rounds {
        let kill_before = 1 + round % (commands + 1);
        let name = format!("bob-{round}");
        let deletion = world.deletion(&name, kill_before, false);
        let how = deletion
            .await
            .unwrap_or_else(|wrong| panic!("round {round}: {wrong}"));
        *ended.entry(format!("{how:?}")).or_insert(0) += 1;
    }
    println!(
        "{commands} commands; then {rounds} rounds: {ended:?}; {:?} in all",
        begun.elapsed()
    );
}

/// The control: an index that is emptied in a step before its rows are deleted leaves rows behind that nobody finds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_is_emptied_first_would_have_been_noticed() {
    let world = World::start(None).await;
    let wrong = world.deletion("alice", usize::MAX, true).await.unwrap_err();
    assert!(
        wrong.contains("upstream:alice-") && wrong.ends_with("is left"),
        "{wrong}"
    );
}

/// The control: a login or a link that doesn't look at the user's record.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_or_link_of_a_deleted_user_would_have_been_noticed() {
    for (flaw, due) in [
        (
            Flaw::ResolveForgetsRecords,
            "ResolveUser: a deleted user logs in",
        ),
        (
            Flaw::LinkForgetsRecords,
            "LinkIdentity: a deleted user gets an identity",
        ),
    ] {
        let world = World::start(Some(flaw)).await;
        let wrong = before_every_command(&world).await.unwrap_err();
        assert_eq!(wrong, due);
    }
}
