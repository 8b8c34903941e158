//! What is done to a broker's surroundings, so that calls fail for reasons that no request brings about.

use std::{fs, os::unix::fs::symlink};

use prost::Message;
use serde_json::Value;
use testkit::waiting::until;
use token_broker::{proto::v1, seal::MasterKey, types::KeyName};

use crate::{
    caller::Caller,
    commands::{Printed, of_the_settings},
    round::all,
    rpcs::Round,
    world::{PATIENCE, World},
};

/// What the ids in a round have in them whose data is damaged.
const DAMAGED: &str = "damaged";

/// Replaces everything that Redis has of a session, a user and a login by secrets, in several spellings. Returns what commands
/// print of it.
pub async fn of_damage(world: &World) -> Printed {
    let mut printed = Printed::default();
    let secrets = &world.secrets;
    let auth = world.auth().await;
    let [one, other] = &secrets.damage;
    let [quoted, also] = secrets.damage.each_ref().map(|text| Value::from(&**text));
    for text in [
        one.clone().into_bytes(),
        [b"\xff", one.as_bytes()].concat(),
        format!(r#"{{"access_token":{quoted},"expires_at":{also}}}"#).into_bytes(),
        format!(r#"{{"access_token":[{quoted}],{also}:1,"version":{also}}}"#).into_bytes(),
        format!(r#"{{"access_token":{quoted},"refresh_token":{also}"#).into_bytes(),
        format!(r#"{{"sealed":{quoted},"key":{also}}}"#).into_bytes(),
        [other, "\n", one].concat().into_bytes(),
    ] {
        let round = Round {
            session: format!("{}-{DAMAGED}", secrets.session),
            user: DAMAGED.to_owned(),
            state: format!("{}-{DAMAGED}", secrets.state),
            subject: DAMAGED.to_owned(),
            ..Round::good(secrets)
        };
        let mut connection = world.redis.connect().await;
        let known = written(&auth, &round).await;
        let mut keys: Vec<Vec<u8>> = Vec::new();
        for id in [DAMAGED, &known] {
            let all = redis::cmd("KEYS").arg(format!("*{id}*")).to_owned();
            keys.extend(all.query_async::<Vec<_>>(&mut connection).await.unwrap());
        }
        for key in &keys {
            let set = redis::cmd("SET").arg(key).arg(&text).to_owned();
            () = set.query_async(&mut connection).await.unwrap();
        }
        for command in ["check", "keys status"] {
            let of_it = of_the_settings(world, command).await;
            printed.stdout.extend(of_it.stdout);
            printed.stderr.extend(of_it.stderr);
        }
        // The state that is still pending is that of the last request.
        let consume = v1::ConsumeRequest {
            state: format!("{}2", round.state),
            provider: None,
        };
        let consume = ("PendingAuthorizations/Consume", consume.encode_to_vec());
        let requests = Round { known, ..round }.requests();
        for (rpc, request) in requests.into_iter().skip(1).chain([consume]) {
            auth.call(rpc, request, PATIENCE).await;
        }
        () = redis::cmd("DEL")
            .arg(keys)
            .query_async(&mut connection)
            .await
            .unwrap();
    }
    printed
}

/// Has a row, a user and logins written. Returns the id of the user.
async fn written(auth: &Caller, round: &Round) -> String {
    let mut user = None;
    for (rpc, request) in round.requests() {
        if [
            "TokenBroker/Store",
            "Identities/ResolveUser",
            "PendingAuthorizations/Create",
        ]
        .contains(&rpc)
        {
            let answer = auth
                .call(rpc, request, PATIENCE)
                .await
                .expect("it is written");
            if rpc == "Identities/ResolveUser" {
                user = Some(v1::ResolveUserResponse::decode(&*answer).unwrap().user_id);
            }
        }
    }
    user.unwrap()
}

/// Takes the sealing key away, and gives it back.
pub async fn of_another_key(world: &World) {
    let auth = world.auth().await;
    let of = |end: &str| Round {
        session: format!("{}-{end}", world.secrets.session),
        state: format!("{}-{end}", world.secrets.state),
        user: end.to_owned(),
        ..Round::good(&world.secrets)
    };
    let (sealed, kept) = (of("sealed").requests(), of("kept").requests());
    let call = async |(rpc, request): &(&str, Vec<u8>)| {
        let answer = auth.call(rpc, request.clone(), PATIENCE).await;
        answer.is_some()
    };
    let (store, get) = (0, 1);
    assert!(call(&sealed[store]).await && call(&kept[store]).await);
    let another = MasterKey::generate(&KeyName::new("another").unwrap()).unwrap();
    world.write("seal-keys", str::from_utf8(&another.line()).unwrap());
    until("the key is missing", async || !call(&kept[get]).await).await;
    for request in &sealed[get..] {
        call(request).await;
    }
    world.write("seal-keys", &world.secrets.sealing_line());
    until("the key is there", async || call(&kept[get]).await).await;
}

/// Fills the disk with the audit trail, and empties it.
pub async fn of_a_full_disk(world: &World) {
    let auth = world.auth().await;
    let round = Round {
        session: format!("{}-unwritten", world.secrets.session),
        ..Round::good(&world.secrets)
    };
    let (trail, aside) = (world.file("audit.jsonl"), world.file("aside.jsonl"));
    // In one step: the broker would make a file anew that is gone.
    fs::hard_link(&trail, &aside).unwrap();
    let full = world.file("full");
    symlink("/dev/full", &full).unwrap();
    fs::rename(&full, &trail).unwrap();
    all(&auth, &round, PATIENCE).await;
    fs::rename(&aside, &trail).unwrap();
    world.serves().await;
}
