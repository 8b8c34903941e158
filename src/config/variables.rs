//! Variables of the environment that were meant for the broker and name no setting.

use super::{
    nearest::{did_you_mean, nearest},
    problem::Problem,
};

const PREFIX: &str = "TOKEN_BROKER_";

/// Returns a warning for each variable that begins with `TOKEN_BROKER_` and isn't among `known`. What
/// Kubernetes sets for services is left alone.
pub fn unknown_variables<'a>(
    environment: impl IntoIterator<Item = (String, String)>,
    known: impl IntoIterator<Item = &'a str>,
) -> Vec<Problem> {
    let known: Vec<_> = known.into_iter().collect();
    let mut environment: Vec<_> = environment.into_iter().collect();
    environment.sort_unstable();
    let unknown = environment.iter().filter(|(name, value)| {
        name.starts_with(PREFIX) && !known.contains(&&**name) && !is_of_a_service(name, value)
    });
    unknown
        .map(|(name, _)| {
            // The prefix would make all names similar.
            let ends = known.iter().filter_map(|known| known.strip_prefix(PREFIX));
            let meant = nearest(&name[PREFIX.len()..], ends);
            let meant = meant.map(|end| format!("{PREFIX}{end}"));
            let hint = did_you_mean(meant.as_deref());
            Problem::new(name, format!("is the variable of no setting{hint}"))
        })
        .collect()
}

/// Whether Kubernetes or Docker set the variable: they describe a service called `token-broker`, or one whose
/// name begins so, to containers in its namespace.
fn is_of_a_service(name: &str, value: &str) -> bool {
    let is_port = |text: &str| text.parse::<u16>().is_ok();
    let is_url = |text: &str| {
        ["tcp://", "udp://", "sctp://"]
            .iter()
            .any(|begin| text.starts_with(begin))
    };
    if name.ends_with("_SERVICE_HOST") {
        return true;
    }
    // A named port has a variable of its own.
    if name.contains("_SERVICE_PORT") {
        return is_port(value);
    }
    if name.ends_with("_PORT") && is_url(value) {
        return true;
    }
    name.rsplit_once("_PORT_").is_some_and(|(_, port)| {
        let mut parts = port.split('_');
        parts.next().is_some_and(is_port)
            && matches!(parts.next(), Some("TCP" | "UDP" | "SCTP"))
            && matches!(parts.next(), None | Some("ADDR" | "PORT" | "PROTO"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 3] = [
        "TOKEN_BROKER_LISTEN",
        "TOKEN_BROKER_REDIS_URL",
        "TOKEN_BROKER_REDIS_PASSWORD",
    ];

    fn warnings(environment: &[(&str, &str)]) -> Vec<String> {
        let owned = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let warnings = unknown_variables(owned, KNOWN);
        warnings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_variable_that_names_no_setting_is_warned_of_with_the_nearest_name() {
        let told = warnings(&[
            ("TOKEN_BROKER_REDIS_URI", "redis://:hunter2@a"),
            ("TOKEN_BROKER_LISTEN", "127.0.0.1:1"),
            ("TOKEN_BROKER_COLOUR", "hunter2"),
            ("TOKEN_BROKER_PORT", "50051"),
            ("TOKENBROKER_LISTEN", "x"),
            ("HOME", "/"),
        ]);
        assert_eq!(
            told,
            [
                "TOKEN_BROKER_COLOUR: is the variable of no setting",
                "TOKEN_BROKER_PORT: is the variable of no setting",
                "TOKEN_BROKER_REDIS_URI: is the variable of no setting; did you mean \
                 TOKEN_BROKER_REDIS_URL?",
            ]
        );
    }

    #[test]
    fn what_kubernetes_sets_for_a_service_is_no_mistake() {
        let told = warnings(&[
            ("TOKEN_BROKER_SERVICE_HOST", "10.0.0.7"),
            ("TOKEN_BROKER_SERVICE_PORT", "50051"),
            ("TOKEN_BROKER_SERVICE_PORT_GRPC", "50051"),
            ("TOKEN_BROKER_PORT", "tcp://10.0.0.7:50051"),
            ("TOKEN_BROKER_PORT_50051_TCP", "tcp://10.0.0.7:50051"),
            ("TOKEN_BROKER_PORT_50051_TCP_PROTO", "tcp"),
            ("TOKEN_BROKER_PORT_50051_TCP_PORT", "50051"),
            ("TOKEN_BROKER_PORT_50051_TCP_ADDR", "10.0.0.7"),
            // The service token-broker-redis.
            ("TOKEN_BROKER_REDIS_SERVICE_HOST", "10.0.0.8"),
            ("TOKEN_BROKER_REDIS_PORT", "tcp://10.0.0.8:6379"),
            ("TOKEN_BROKER_REDIS_PORT_6379_TCP_ADDR", "10.0.0.8"),
        ]);
        assert!(told.is_empty(), "{told:#?}");
    }
}
