//! Which policy judged a call: each that comes into force has its event, before those of the calls that it judges.

use std::fs;

use serde_json::Value;
use sha2::{Digest, Sha256};
use testkit::{
    requests::{store_request, tokens},
    waiting::until,
};

use crate::{
    two_callers::{AUTH, shown},
    world::World,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_has_its_event_before_the_calls_that_it_judges() {
    let world = World::new();
    let file = world.path().display().to_string();
    let (broker, _pipe) = world.start_with_policy("required", &[&file]).await;
    let path = world.folder().join("policy.toml");
    let first = fs::read_to_string(&path).unwrap();
    let client = broker.client().await;
    let store = async || {
        let request = store_request("s", "p", tokens("at", ""));
        let mut client = client.clone();
        client.store(shown(AUTH, request)).await.is_ok()
    };
    // An answer is withheld whose event isn't written in time, and has its event all the same.
    until("a call is answered", &store).await;
    // The same caller by another name, and by a third one. Each is in one policy alone.
    let named =
        |name: &str| first.replace(&format!("[callers.{AUTH}]"), &format!("[callers.{name}]"));
    let (second, third) = (named("second"), named("third"));
    let broken = "[callers.nobody]\n";
    for (text, name) in [(&*second, "second"), (broken, "second"), (&third, "third")] {
        let new = world.folder().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(&new, &path).unwrap();
        until("the policy is in force, or refused", || async {
            let is_answered = store().await;
            let is_told = broker.log().contains("can't be read again");
            is_answered
                && caller_of(lines(&world).last().unwrap()) == name
                && (text != broken || is_told)
        })
        .await;
    }
    assert!(broker.terminate().success());
    let (mut policies, mut callers) = (Vec::new(), Vec::new());
    for line in lines(&world) {
        match line["event"].as_str().unwrap() {
            "policy" => {
                assert_eq!(line["count"], 2);
                policies.push(line["sha256"].as_str().unwrap().to_owned());
            }
            "call" => {
                let caller = caller_of(&line);
                // A call that the policy before judged may end after it.
                let known = [AUTH, "second", "third"].map(str::to_owned);
                assert!(known[..policies.len()].contains(&caller), "{line}");
                callers.push(caller);
            }
            _ => {}
        }
    }
    assert_eq!(policies, [&first, &second, &third].map(|text| hex(text)));
    callers.dedup();
    assert_eq!(callers, [AUTH, "second", "third"]);
}

fn lines(world: &World) -> Vec<Value> {
    let text = fs::read_to_string(world.path()).unwrap();
    let whole = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    whole
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn caller_of(line: &Value) -> String {
    line["caller"].as_str().unwrap_or_default().to_owned()
}

/// As `sha256sum` prints it.
fn hex(text: &str) -> String {
    let hash = Sha256::digest(text);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
