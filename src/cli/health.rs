//! `token-broker health`: a probe for containers that have no shell and no other client.

use std::time::Duration;

use clap::Args;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::{DONE, FAILED, USAGE, complain, runtime};

/// The options of `health`.
#[derive(Args, Debug)]
pub(super) struct HealthArgs {
    /// Address and port of the broker
    #[arg(
        long,
        env = "TOKEN_BROKER_HEALTH_ADDR",
        default_value = "127.0.0.1:50051",
        value_name = "ADDR:PORT"
    )]
    addr: String,
    /// The service to ask about: empty for the broker as a whole, or `liveness`, or `tokenbroker.v1.TokenBroker`
    #[arg(long, default_value = "", value_name = "NAME")]
    service: String,
    /// How long to wait for an answer
    #[arg(long, default_value = "2s", value_name = "SPAN")]
    timeout: String,
}

/// Asks the broker for its health once, and returns the exit code.
pub(super) fn run(args: &HealthArgs) -> u8 {
    let Ok(timeout) = humantime::parse_duration(&args.timeout) else {
        complain("timeout: is not a span of time, like 2s");
        return USAGE;
    };
    let port = args
        .addr
        .rsplit_once(':')
        .map(|(_, port)| port.parse::<u16>());
    if !matches!(port, Some(Ok(_))) {
        complain(&format!(
            "addr: {:?} is not an address and port, like 127.0.0.1:50051",
            args.addr
        ));
        return USAGE;
    }
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("can't start: {error}"));
            return FAILED;
        }
    };
    match runtime.block_on(ask(args, timeout)) {
        Ok(ServingStatus::Serving) => DONE,
        Ok(status) => {
            complain(status.as_str_name());
            FAILED
        }
        Err(message) => {
            complain(&message);
            FAILED
        }
    }
}

async fn ask(args: &HealthArgs, timeout: Duration) -> Result<ServingStatus, String> {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", args.addr))
        .map_err(|error| format!("addr: {error}"))?;
    let asked = async {
        let channel = endpoint
            .connect()
            .await
            .map_err(|_| format!("no broker at {}", args.addr))?;
        let request = HealthCheckRequest {
            service: args.service.clone(),
        };
        let answer = HealthClient::new(channel).check(request).await;
        answer
            .map(|answer| answer.into_inner().status())
            .map_err(|status| match status.code() {
                tonic::Code::NotFound => format!("there is no service {:?}", args.service),
                _ => format!("{}: {}", status.code(), status.message()),
            })
    };
    let out_of_time = |_| format!("no answer from {} within {timeout:?}", args.addr);
    tokio::time::timeout(timeout, asked)
        .await
        .map_err(out_of_time)?
}
