//! A provider that answers with what it was sent, and other secrets, in every place of an answer.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use testkit::token_endpoint::{Behaviour, End, TokenEndpoint};

use crate::secrets::Secrets;

/// The provider whose answers are as they should be.
pub const GOOD: &str = "good";
/// The provider that never answers.
pub const HANGS: &str = "hangs";

/// Returns the answers that aren't as they should be, each for a provider of its own.
fn answers(secrets: &Secrets) -> Vec<Behaviour> {
    let (sent, secret) = (json(&secrets.refresh), json(&secrets.client_secret));
    let new = json(&secrets.new_access);
    // A header has no characters that would end it.
    let header = |name: &str| format!("{name}: {} {}", secrets.refresh, secrets.client_secret);
    let url: String = percent(&secrets.refresh);
    let key = json(&secrets.client.key);
    vec![
        Behaviour::json(
            400,
            &format!(r#"{{"error":"invalid_grant","error_description":{sent},"s":{secret}}}"#),
        ),
        Behaviour::json(400, &format!(r#"{{"error":{sent},"error_uri":{secret}}}"#)),
        Behaviour::json(
            401,
            &format!(r#"{{"error":"invalid_client","error_description":{secret}}}"#),
        ),
        Behaviour::json(400, &format!(r#"{{"error":[{sent},{secret}]}}"#)),
        Behaviour::json(
            200,
            &format!(r#"{{"error":{sent},"access_token":{secret}}}"#),
        ),
        Behaviour::json(
            200,
            &format!(r#"{{"access_token":[{new}],{sent}:{secret}}}"#),
        ),
        Behaviour::json(
            200,
            &format!(r#"{{"access_token":{new},"expires_in":{sent}}}"#),
        ),
        Behaviour::json(
            200,
            &format!(r#"{{"access_token":{new},"token_type":{sent},"scope":{sent}}}"#),
        ),
        Behaviour::json(
            200,
            &format!(r#"{{"access_token":{new},"refresh_token":{sent}"#),
        ),
        Behaviour::json(
            200,
            &format!(r#"{{"access_token":{new},"id_token":{sent}}}"#),
        ),
        Behaviour::json(500, &key),
        Behaviour::answer(500, &[&header("X-Sent")], &secrets.refresh),
        Behaviour::answer(
            302,
            &[&format!("Location: https://x.example/?token={url}")],
            &secrets.client_secret,
        ),
        Behaviour::answer(401, &[&header("WWW-Authenticate")], &secrets.client_secret),
        Behaviour::answer(429, &[&header("Retry-After")], &secrets.refresh),
        Behaviour::answer(200, &[&header("Content-Encoding")], &secrets.refresh),
        Behaviour::raw(format!(
            "HTTP/1.1 {} {}\r\n\r\n",
            secrets.refresh, secrets.client_secret
        )),
        Behaviour::raw(secrets.refresh.clone()),
        Behaviour::raw(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{new}{sent}"
        )),
    ]
}

/// Returns the tables of the control's providers, whose names are parts of secrets. What is configured isn't one.
pub fn of_the_control(
    secrets: &Secrets,
    endpoint: &TokenEndpoint,
    files: &std::path::Path,
) -> String {
    let good = table(GOOD, 0, endpoint, files);
    let names = secrets.names().into_values();
    let tables = names.map(|name| {
        good.replace(
            &format!("[providers.{GOOD}]"),
            &format!("[providers.{}]", json(&name)),
        )
    });
    tables.collect()
}

/// Starts the provider. Returns it, and the tables of all its parts in the configuration.
pub async fn start(
    secrets: &Secrets,
    files: &std::path::Path,
) -> (TokenEndpoint, String, Vec<String>) {
    let endpoint = TokenEndpoint::start().await;
    let (mut tables, mut odd) = (String::new(), Vec::new());
    for (number, answer) in answers(secrets).into_iter().enumerate() {
        let name = format!("odd{number}");
        endpoint.behave(&format!("/token/{name}"), [answer]);
        tables += &table(&name, number, &endpoint, files);
        odd.push(name);
    }
    let claims = URL_SAFE_NO_PAD.encode(r#"{"iss":"https://idp.example","sub":"s"}"#);
    let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    let signature = URL_SAFE_NO_PAD.encode(&secrets.id);
    let good = format!(
        r#"{{"access_token":{},"refresh_token":{},"id_token":"{head}.{claims}.{signature}","token_type":"Bearer","expires_in":3600}}"#,
        json(&secrets.new_access),
        json(&secrets.new_refresh)
    );
    endpoint.behave("/token/good", [Behaviour::json(200, &good)]);
    let hangs = Behaviour {
        end: End::Hang,
        ..Behaviour::raw("")
    };
    endpoint.behave("/token/hangs", [hangs]);
    endpoint.behave("/revoke", [Behaviour::answer(503, &[], &secrets.refresh)]);
    for name in [HANGS, GOOD] {
        tables += &table(name, 0, &endpoint, files);
    }
    // Who keeps the only place keeps it from all.
    tables += "max-concurrent = 1\n";
    (endpoint, tables, odd)
}

/// The client shows itself in each of the ways that there are.
fn table(name: &str, number: usize, endpoint: &TokenEndpoint, files: &std::path::Path) -> String {
    let path = |file: &str| files.join(file).display().to_string();
    let client = match number % 3 {
        0 => format!(
            "client-authentication = \"client_secret_basic\"\nclient-secret-file = \"{}\"",
            path("client-secret")
        ),
        1 => format!(
            "client-authentication = \"client_secret_post\"\nclient-secret-file = \"{}\"",
            path("client-secret")
        ),
        _ => format!(
            "client-authentication = \"private_key_jwt\"\nprivate-key-file = \"{}\"\nprivate-key-algorithm = \"ES256\"",
            path("provider.key")
        ),
    };
    // Who answers may take its time on a busy machine.
    let timeout = if name == HANGS { "1s" } else { "10s" };
    format!(
        "[providers.{name}]\ntoken-endpoint = \"{}\"\nrevocation-endpoint = \"{}\"\nrevoke-on-delete = true\n\
         client-id = \"client\"\nreplay = \"never\"\ntimeout = \"{timeout}\"\n{client}\n",
        endpoint.url(&format!("/token/{name}")),
        endpoint.url("/revoke"),
    )
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
