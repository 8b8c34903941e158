//! Tests a record of refresh tokens that can't be read (guarantees, sections 2.5 and 6): nobody redeems, the answer says that
//! repeating it is useless, and the cure that `check` names works.

use testkit::{
    broker::rules,
    provider,
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    token_endpoint::{Behaviour, TokenEndpoint},
};
use token_broker::{access::Guard, proto::v1, server::Ready, tokens::Rules};
use tonic::Code;

use crate::{
    access_tokens::{after, all, one},
    refusal::refused,
    serving::{Client, OfTenant, SECRET, Serving, get, options, session, store},
};

const TOKEN: &str = "/token";

/// Stores a row with this refresh token, whose access token has expired. Returns its version.
async fn stored(client: &mut Client, refresh_token: &str) -> u64 {
    let mut request = store("s", "p");
    let tokens = request.tokens.as_mut().unwrap();
    tokens.refresh_token = refresh_token.to_owned();
    tokens.expires_at = after(-60);
    client.store(request).await.unwrap().into_inner().version
}

#[tokio::test]
async fn nobody_redeems_until_the_record_is_gone() {
    let endpoint = TokenEndpoint::start().await;
    let answer = format!(r#"{{"access_token":"fresh-{SECRET}","expires_in":3600}}"#);
    endpoint.behave(TOKEN, [Behaviour::json(200, &answer)]);
    let mut provider = provider::options("p");
    provider.endpoints.token = Some(endpoint.url(TOKEN).parse().unwrap());
    let tenant = RedisTenant::on(RedisServer::shared());
    let rules = Rules {
        providers: provider::providers([provider]),
        ..rules(tenant.name().clone())
    };
    let guard = Guard::open(tenant.name().clone());
    let of_tenant: OfTenant<_> = (tenant.store(), rules, Box::new(Ready));
    let serving = Serving::of_tenants(guard, [of_tenant], options()).await;
    let mut client = serving.client().await;
    let mut access = serving.access_tokens().await;

    let old = format!("old-{SECRET}");
    let version = stored(&mut client, &old).await;
    let record = tenant.key(&format!("broker:refresh:{}:p", session("s")));
    tenant.run::<()>(&["HSET", &record, "change", "x"]);
    let asked = access.get_access_token(one("s", "p")).await;
    refused(asked, Code::DataLoss, "RECORD_UNREADABLE");
    let begin = v1::BeginRefreshRequest {
        session_id: session("s"),
        provider: "p".to_owned(),
        version,
        attempt_id: vec![1; 16],
    };
    let begun = client.begin_refresh(begin).await;
    refused(begun, Code::DataLoss, "RECORD_UNREADABLE");
    let found = access.get_all_access_tokens(all("s")).await.unwrap();
    let failed = &found.into_inner().failed["p"];
    assert_eq!(failed.reason, "RECORD_UNREADABLE");
    assert_eq!(failed.retry_delay, None);
    // What needs no refresh works.
    client.get(get("s", "p")).await.unwrap();
    let figures = serving.metrics();
    let counted = |failure: &str| {
        let mut lines = figures.lines();
        let labels = format!(r#"operation="look",failure="{failure}"#);
        let found = lines.find(|line| line.contains("_failures_total") && line.contains(&labels));
        let value = found.and_then(|line| line.rsplit_once(' '));
        value.map_or(0.0, |(_, value)| value.parse().unwrap())
    };
    assert!(counted("record_unreadable") >= 3.0, "{figures}");
    assert!(counted("unavailable") == 0.0, "{figures}");

    // The cure. A login isn't enough by itself.
    let new = format!("new-{SECRET}");
    stored(&mut client, &new).await;
    let asked = access.get_access_token(one("s", "p")).await;
    refused(asked, Code::DataLoss, "RECORD_UNREADABLE");
    assert!(endpoint.received_at(TOKEN).is_empty());
    tenant.run::<()>(&["DEL", &record]);
    let fresh = access.get_access_token(one("s", "p")).await.unwrap();
    let token = fresh.into_inner().token.unwrap();
    assert!(token.access_token == format!("fresh-{SECRET}"));
    let sent = endpoint.received_at(TOKEN);
    assert!(sent.len() == 1 && sent[0].parameter("refresh_token") == Some(&new));
}
