//! `token-broker health`: a probe for containers that have no shell and no other client.

use std::{
    error::Error as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use tokio_rustls::rustls::pki_types::ServerName;
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::{
    DONE, FAILED, USAGE, complain,
    dial::{BrokerAddress, Target},
    no_answer::{self, Means},
    runtime,
};
use crate::{
    config::{self, Listen, Settings, address},
    tls::{self, ClientFiles},
};

/// The options of `health`.
#[derive(Args, Debug)]
pub(super) struct HealthArgs {
    /// Address and port of the broker, or unix:/PATH. If unset, what its own setting `health-listen` names,
    /// or else `listen`
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
    /// The broker's setting `health-listen`
    #[arg(
        long,
        env = "TOKEN_BROKER_HEALTH_LISTEN",
        hide_env_values = true,
        value_name = "ADDR:PORT"
    )]
    health_listen: Option<String>,
    /// The broker's configuration file. `health` looks there for `health-listen` and `listen`
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
    /// Connect over TLS. Each of the following options means that, too
    #[arg(long, env = "TOKEN_BROKER_HEALTH_TLS")]
    tls: bool,
    /// Certificates (PEM) of the authorities that may vouch for the broker. If unset, the system's
    #[arg(long, env = "TOKEN_BROKER_HEALTH_CA", hide_env_values = true, value_name = "FILE", value_parser = super::path())]
    ca: Option<PathBuf>,
    /// The certificate (PEM) to show to the broker
    #[arg(long, env = "TOKEN_BROKER_HEALTH_CERT", hide_env_values = true, value_name = "FILE", value_parser = super::path(), requires = "key")]
    cert: Option<PathBuf>,
    /// The private key (PEM) of `--cert`
    #[arg(long, env = "TOKEN_BROKER_HEALTH_KEY", hide_env_values = true, value_name = "FILE", value_parser = super::path(), requires = "cert")]
    key: Option<PathBuf>,
    /// The name that the broker's certificate must be for. If unset, the host in the address
    #[arg(
        long,
        env = "TOKEN_BROKER_HEALTH_SERVER_NAME",
        hide_env_values = true,
        value_name = "NAME"
    )]
    server_name: Option<String>,
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
    let target = match args.target() {
        Ok(target) => target,
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
    let means = Means {
        has_ca: args.ca.is_some(),
        has_cert: args.cert.is_some(),
    };
    match runtime.block_on(ask(&target, means, &args.service, timeout)) {
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
    /// Returns where and how to ask, or what is wrong with the settings.
    fn target(&self) -> Result<Target, Vec<String>> {
        let (address, is_plain) = self.address()?;
        let is_wanted =
            self.tls || self.ca.is_some() || self.cert.is_some() || self.server_name.is_some();
        let tls = if is_wanted && !is_plain {
            Some(self.tls(&address).map_err(|wrong| vec![wrong])?)
        } else {
            None
        };
        Ok(Target { address, tls })
    }

    fn tls(
        &self,
        address: &BrokerAddress,
    ) -> Result<
        (
            std::sync::Arc<tokio_rustls::rustls::ClientConfig>,
            ServerName<'static>,
        ),
        String,
    > {
        let config = tls::client(&ClientFiles {
            ca: self.ca.clone(),
            identity: self.cert.clone().zip(self.key.clone()),
        })?;
        let host = match (&self.server_name, address) {
            (Some(name), _) => name.clone(),
            (None, BrokerAddress::Tcp(address)) => {
                let host = address
                    .rsplit_once(':')
                    .map_or(address.as_str(), |(host, _)| host);
                host.trim_start_matches('[')
                    .trim_end_matches(']')
                    .to_owned()
            }
            (None, BrokerAddress::Unix(_)) => {
                return Err("server-name: must be set: a Unix socket has no host".to_owned());
            }
        };
        let name = ServerName::try_from(host);
        let name =
            name.map_err(|_| "server-name: must be a host name or an IP address".to_owned())?;
        Ok((config, name))
    }

    /// Returns where to ask, and whether that is known to be in plain text.
    fn address(&self) -> Result<(BrokerAddress, bool), Vec<String>> {
        let Some(addr) = &self.addr else {
            return self.listens_on();
        };
        if addr.starts_with("unix:") {
            let parsed = Listen::parse(addr).map_err(|wrong| vec![format!("addr: {wrong}")])?;
            return Ok((address_of(parsed), false));
        }
        let tcp = match address::what_is_wrong_with_host_and_port(addr) {
            Some(wrong) => return Err(vec![format!("addr: {wrong}")]),
            None if addr.starts_with(':') => format!("{}{addr}", Ipv4Addr::LOCALHOST),
            None => addr.clone(),
        };
        Ok((BrokerAddress::Tcp(tcp), false))
    }

    /// Returns where a broker with the settings in the environment and the file can be asked, and whether that is known to
    /// be in plain text.
    fn listens_on(&self) -> Result<(BrokerAddress, bool), Vec<String>> {
        let texts = |problems: Vec<config::Problem>| -> Vec<String> {
            problems.iter().map(ToString::to_string).collect()
        };
        let listen = self.listen.iter().map(|text| ("listen", text.as_str()));
        let health = &self.health_listen;
        let health = health.iter().map(|text| ("health-listen", text.as_str()));
        let settings = Settings::from_pairs(listen.chain(health));
        let settings = settings.map_err(|problem| texts(vec![problem]))?;
        let file = self.config.as_deref().map(config::read);
        let settings = settings.or(file.unwrap_or_default());
        let (listen, health) = settings.listens_on().map_err(texts)?;
        let is_plain = health.is_some();
        let listen = health.map_or(listen, Listen::Tcp);
        if let Listen::Tcp(address) = &listen
            && address.port() == 0
        {
            let message =
                "listen: names no port to ask: set addr to the address that the broker's log shows";
            return Err(vec![message.to_owned()]);
        }
        Ok((address_of(listen), is_plain))
    }
}

/// Returns where a broker that listens there is asked, on this machine.
fn address_of(listen: Listen) -> BrokerAddress {
    let address = match listen {
        Listen::Unix(path) => return BrokerAddress::Unix(path),
        Listen::Tcp(address) => address,
    };
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    BrokerAddress::Tcp(SocketAddr::new(ip, address.port()).to_string())
}

async fn ask(
    target: &Target,
    means: Means,
    service: &str,
    timeout: Duration,
) -> Result<ServingStatus, String> {
    let addr = target.address.to_string();
    let asked = async {
        let channel = target
            .connect()
            .await
            .map_err(|error| no_answer::unreachable(target, means, &error))?;
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = HealthClient::new(channel).check(request).await;
        answer
            .map(|answer| answer.into_inner().status())
            .map_err(|status| refusal(target, means, service, &status))
    };
    let out_of_time = |_| format!("no answer from {addr} within {timeout:?}");
    tokio::time::timeout(timeout, asked)
        .await
        .map_err(out_of_time)?
}

/// Says why there is no status of health.
fn refusal(target: &Target, means: Means, service: &str, status: &Status) -> String {
    let addr = &target.address;
    match status.code() {
        Code::NotFound => format!("there is no service {service:?}"),
        Code::Unimplemented => format!("{addr} serves no health: it is no broker"),
        // The transport failed after it was connected.
        _ if status.source().is_some() => no_answer::ended(target, means, status),
        code => format!("{addr} answers {code:?}: {}", status.message()),
    }
}
