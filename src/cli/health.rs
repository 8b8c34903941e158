//! `token-broker health`: a probe for containers that have no shell and no other client.

use std::{
    error::Error,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use tonic::{Code, Status, transport::Endpoint};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::{DONE, FAILED, USAGE, complain, runtime};
use crate::config::{self, Settings, address};

/// The options of `health`.
#[derive(Args, Debug)]
pub(super) struct HealthArgs {
    /// Address and port of the broker. If unset, those that its own setting `listen` names
    #[arg(
        long,
        env = "TOKEN_BROKER_HEALTH_ADDR",
        hide_env_values = true,
        value_name = "ADDR:PORT"
    )]
    addr: Option<String>,
    /// The broker's setting `listen`
    #[arg(
        long,
        env = "TOKEN_BROKER_LISTEN",
        hide_env_values = true,
        value_name = "ADDR:PORT"
    )]
    listen: Option<String>,
    /// The broker's configuration file. `health` looks there for `listen`
    #[arg(
        long,
        env = "TOKEN_BROKER_CONFIG",
        hide_env_values = true,
        value_name = "FILE",
        value_parser = super::path()
    )]
    config: Option<PathBuf>,
    /// The service to ask about: empty for the broker as a whole, or `liveness`, or the name of a service such as `tokenbroker.v1.TokenBroker`
    #[arg(long, default_value = "", value_name = "NAME")]
    service: String,
    /// How long to wait for an answer
    #[arg(long, default_value = "2s", value_name = "SPAN")]
    timeout: String,
}

/// Asks the broker for its health once, and returns the exit code.
pub(super) fn run(args: &HealthArgs) -> u8 {
    let timeout = match config::span(&args.timeout) {
        Ok(timeout) => timeout,
        Err(wrong) => {
            complain(&format!("timeout: {wrong}"));
            return USAGE;
        }
    };
    let addr = match args.address() {
        Ok(addr) => addr,
        Err(messages) => {
            messages.iter().for_each(|message| complain(message));
            return USAGE;
        }
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("can't start: {error}"));
            return FAILED;
        }
    };
    match runtime.block_on(ask(&addr, &args.service, timeout)) {
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

impl HealthArgs {
    /// Returns the address to ask, or what is wrong with the settings.
    fn address(&self) -> Result<String, Vec<String>> {
        let Some(addr) = &self.addr else {
            return self.listens_on();
        };
        match address::what_is_wrong_with_host_and_port(addr) {
            Some(wrong) => Err(vec![format!("addr: {wrong}")]),
            None if addr.starts_with(':') => Ok(format!("{}{addr}", Ipv4Addr::LOCALHOST)),
            None => Ok(addr.clone()),
        }
    }

    /// Returns the address at which a broker with the settings in the environment and the file can be asked.
    fn listens_on(&self) -> Result<String, Vec<String>> {
        let texts = |problems: Vec<config::Problem>| -> Vec<String> {
            problems.iter().map(ToString::to_string).collect()
        };
        let listen = self.listen.iter().map(|text| ("listen", text.as_str()));
        let settings = Settings::from_pairs(listen).map_err(|problem| texts(vec![problem]))?;
        let file = self.config.as_deref().map(config::read);
        let settings = settings.or(file.unwrap_or_default());
        let address = settings.listens_on().map_err(texts)?;
        if address.port() == 0 {
            let message =
                "listen: names no port to ask: set addr to the address that the broker's log shows";
            return Err(vec![message.to_owned()]);
        }
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        Ok(SocketAddr::new(ip, address.port()).to_string())
    }
}

async fn ask(addr: &str, service: &str, timeout: Duration) -> Result<ServingStatus, String> {
    let endpoint = Endpoint::from_shared(format!("http://{addr}"))
        .map_err(|_| format!("addr: {}", address::FORM))?;
    let asked = async {
        let channel = endpoint
            .connect()
            .await
            .map_err(|error| format!("no connection to {addr}: {}", cause(&error)))?;
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = HealthClient::new(channel).check(request).await;
        answer
            .map(|answer| answer.into_inner().status())
            .map_err(|status| refusal(addr, service, &status))
    };
    let out_of_time = |_| format!("no answer from {addr} within {timeout:?}");
    tokio::time::timeout(timeout, asked)
        .await
        .map_err(out_of_time)?
}

/// Says why there is no status of health.
fn refusal(addr: &str, service: &str, status: &Status) -> String {
    match status.code() {
        Code::NotFound => format!("there is no service {service:?}"),
        Code::Unimplemented => format!("{addr} serves no health: it is no broker"),
        // The transport failed after it was connected.
        _ if status.source().is_some() => format!(
            "{addr} accepts connections, but ended this one without an answer: it is another server, or the \
             broker is just stopping ({})",
            cause(status)
        ),
        code => format!("{addr} answers {code:?}: {}", status.message()),
    }
}

/// Returns the innermost cause of an error.
fn cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
