//! Two callers of a policy, who store and read: each answer has its event in each sink that the settings name, a file and the
//! standard output.

use std::{collections::BTreeSet, fs};

use token_broker::audit::verify::verify;

use crate::{
    two_callers::{Answer, Pairs, collected, denials, missing, told},
    world::World,
};

/// The sinks of a broker: `-`, and what stands for the file.
const SINKS: [&[&str]; 3] = [&["FILE"], &["-"], &["FILE", "-"]];

/// The sinks as the settings name them.
fn named<'a>(sinks: &[&'a str], file: &'a str) -> Vec<&'a str> {
    let named = sinks.iter().map(|&sink| match sink {
        "FILE" => file,
        other => other,
    });
    named.collect()
}

/// Fails if an answer isn't in what went to each of the sinks, or if a chain is broken. Returns what went to each.
fn assert_complete(
    world: &World,
    sinks: &[&str],
    printed: &str,
    answers: &BTreeSet<Answer>,
    ends: bool,
) -> Vec<String> {
    let mut texts = Vec::new();
    for &sink in sinks {
        let path = match sink {
            "-" => world.folder().join("printed"),
            _ => world.path(),
        };
        if sink == "-" {
            fs::write(&path, printed).unwrap();
        }
        let text = fs::read_to_string(&path).unwrap();
        let missing = missing(answers, &text);
        assert!(
            missing.is_empty(),
            "{sink} of {sinks:?}: {} of {} answers have no event, such as {:?}",
            missing.len(),
            answers.len(),
            missing[0]
        );
        let report = verify(&[path], &[]).unwrap();
        assert!(report.is_whole(), "{sink} of {sinks:?}: {report:?}");
        assert_eq!(report.is_ended, ends, "{sink} of {sinks:?}: {report:?}");
        texts.push(text);
    }
    if !sinks.contains(&"-") {
        assert_eq!(printed, "", "events went where they don't belong");
    }
    texts
}

#[tokio::test(flavor = "multi_thread")]
async fn sigkill_loses_no_event_of_a_token_that_was_read() {
    for sinks in SINKS {
        let world = World::new();
        let file = world.path().display().to_string();
        let mut before = BTreeSet::new();
        for round in 0..2 {
            let (broker, pipe) = world
                .start_with_policy("required", &named(sinks, &file))
                .await;
            let printed = collected(pipe);
            let pairs = Pairs::start(&broker, &format!("{round}")).await;
            pairs.reach(300 + 200 * round).await;
            // It is killed when it is dropped.
            drop(broker);
            let (answers, _) = pairs.stop().await;
            let printed = printed.join().unwrap();
            assert_complete(&world, sinks, &printed, &answers, false);
            // The file has those of all rounds.
            before.extend(answers);
            if sinks.contains(&"FILE") {
                assert_complete(&world, &["FILE"], "", &before, false);
            }
        }
    }
}

/// At an end in order nothing is lost, also of the denials that have no events of their own.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_in_order_writes_what_two_callers_did() {
    for sinks in SINKS {
        let world = World::new();
        let file = world.path().display().to_string();
        let (broker, pipe) = world
            .start_with_policy("required", &named(sinks, &file))
            .await;
        let printed = collected(pipe);
        let pairs = Pairs::start(&broker, "s").await;
        pairs.reach(500).await;
        assert!(broker.terminate().success());
        let (answers, denied) = pairs.stop().await;
        let printed = printed.join().unwrap();
        for text in assert_complete(&world, sinks, &printed, &answers, true) {
            let (own, counted) = denials(&text);
            assert!(own >= 10 && own < denied, "{own} of {denied}");
            // A denial may have been on its way when the connection ended.
            assert!(own + counted >= denied, "{own} and {counted} of {denied}");
            // Both have the same lines.
            if sinks.len() == 1 {
                planted_gaps_are_noticed(&answers, &text);
            }
        }
    }
}

/// Changes a line.
type Change = fn(&str) -> String;

/// The control of what is compared: one event that isn't there, or says something else, is missed. Of each RPC and caller.
fn planted_gaps_are_noticed(answers: &BTreeSet<Answer>, text: &str) {
    let kinds: BTreeSet<_> = answers
        .iter()
        .map(|(caller, rpc, ..)| (caller, rpc))
        .collect();
    assert_eq!(kinds.len(), 4, "{kinds:?}");
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    for (caller, rpc) in kinds {
        let of_kind = |answer: &&Answer| (&answer.0, &answer.1) == (caller, rpc);
        let gone = answers.iter().find(of_kind).unwrap();
        let at = lines
            .iter()
            .position(|line| told(line).as_ref() == Some(gone));
        let with = |change: Change| {
            let mut lines = lines.clone();
            let line = &mut lines[at.unwrap()];
            *line = change(line);
            lines.join("\n")
        };
        let flaws: [(&str, Change); 4] = [
            ("dropped", |_| String::new()),
            ("cut off", |line| line[..line.len() - 2].to_owned()),
            ("another's", |line| {
                line.replace(r#""caller":""#, r#""caller":"x"#)
            }),
            ("withheld", |line| {
                line.replace(r#","prev""#, r#","answer":"withheld","prev""#)
            }),
        ];
        for (flaw, change) in flaws {
            let found = missing(answers, &with(change));
            assert!(found.iter().eq([gone]), "{flaw}: {found:?}");
        }
    }
}

/// The standard output is a pipe that nobody reads: no answer leaves beyond what fits into it, whatever the file has.
#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_that_nobody_reads_closes_the_broker() {
    for sinks in [&["-"][..], &["FILE", "-"]] {
        let world = World::new();
        let file = world.path().display().to_string();
        let (broker, pipe) = world
            .start_with_policy("required", &named(sinks, &file))
            .await;
        let pairs = Pairs::start(&broker, "s").await;
        pairs.are_refused().await;
        drop(broker);
        let (answers, _) = pairs.stop().await;
        assert!(!answers.is_empty());
        let printed = collected(pipe).join().unwrap();
        assert_complete(&world, sinks, &printed, &answers, false);
    }
}

/// The control: a broker whose answers wait for no event. The same calls, the same pipe, the same end, and answers lack theirs.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_wait_for_no_event_are_noticed() {
    let world = World::new();
    let (broker, pipe) = world.start_with_policy("best-effort", &["-"]).await;
    let pairs = Pairs::start(&broker, "s").await;
    // More than there is room for in the pipe, 64 KiB.
    pairs.reach(500).await;
    drop(broker);
    let (answers, _) = pairs.stop().await;
    let printed = collected(pipe).join().unwrap();
    assert!(printed.lines().filter_map(told).count() > 0);
    let missing = missing(&answers, &printed);
    assert!(
        missing.len() > 100,
        "{} of {}",
        missing.len(),
        answers.len()
    );
}
