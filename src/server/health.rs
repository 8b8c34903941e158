//! `grpc.health.v1`: what probes and load balancers are told.

use std::{convert::Infallible, time::Duration};

use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

use crate::{proto::v1::token_broker_server::SERVICE_NAME, store::Health as StoreHealth};

/// The service name that is SERVING as long as the process runs, so that an outage of the store
/// doesn't make an orchestrator restart healthy brokers.
pub const LIVENESS: &str = "liveness";

/// The names that follow the store: the service and, last, so that it speaks for all, the broker as a
/// whole.
const FOLLOWING: [&str; 2] = [SERVICE_NAME, ""];

/// How often the store is asked. An outage and its end are known within two of these and the
/// store's own timeout.
const PAUSE: Duration = Duration::from_millis(250);
/// How long the store may take to answer before it counts as gone.
const PATIENCE: Duration = Duration::from_millis(750);

/// The state of the health service.
#[derive(Clone, Debug)]
pub(super) struct Health(HealthReporter);

impl Health {
    pub(super) fn new() -> Self {
        Self(HealthReporter::new())
    }

    pub(super) fn service(&self) -> HealthServer<HealthService> {
        HealthServer::new(HealthService::from_health_reporter(self.0.clone()))
    }

    /// What is told before anybody can ask: tonic-health would begin with SERVING.
    pub(super) async fn begin(&self) {
        self.set(ServingStatus::NotServing).await;
        self.0
            .set_service_status(LIVENESS, ServingStatus::Serving)
            .await;
    }

    /// Tells what the store is like, for ever.
    pub(super) async fn follow(&self, store: &impl StoreHealth) -> Infallible {
        let mut last = None;
        loop {
            let works = match tokio::time::timeout(PATIENCE, store.ready()).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(error.detail().to_owned()),
                Err(_) => Err("no answer in time".to_owned()),
            };
            if last != Some(works.is_ok()) {
                last = Some(works.is_ok());
                match &works {
                    Ok(()) => tracing::info!("the store is reachable: SERVING"),
                    Err(reason) => tracing::warn!(reason, "the store is not usable: NOT_SERVING"),
                }
                let status = if works.is_ok() {
                    ServingStatus::Serving
                } else {
                    ServingStatus::NotServing
                };
                self.set(status).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Tells that nothing new should come here any more. Streams of those who watch go on.
    pub(super) async fn stop(&self) {
        self.set(ServingStatus::NotServing).await;
    }

    async fn set(&self, status: ServingStatus) {
        for service in FOLLOWING {
            self.0.set_service_status(service, status).await;
        }
    }
}
