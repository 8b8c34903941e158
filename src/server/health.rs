//! The service `grpc.health.v1`, which answers probes and load balancers.

use std::{convert::Infallible, time::Duration};

use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

use crate::{proto::v1::token_broker_server::SERVICE_NAME, store::Health as StoreHealth};

/// The name of the health service that is SERVING as long as the process runs. An orchestrator that
/// probes it doesn't restart healthy brokers during an outage of the store.
pub const LIVENESS: &str = "liveness";

/// The services whose status follows the store. The broker as a whole is last, so that its status is
/// only set once the others have theirs.
const FOLLOWING: [&str; 2] = [SERVICE_NAME, ""];

/// How long to wait before the store is asked again. The broker notices an outage, or its end, within
/// twice this pause plus the store's own timeout.
const PAUSE: Duration = Duration::from_millis(250);
/// How long the store may take to answer before it counts as unreachable.
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

    /// Sets the first statuses, before a client can ask. tonic-health would begin with SERVING.
    pub(super) async fn begin(&self) {
        self.set(ServingStatus::NotServing).await;
        self.0
            .set_service_status(LIVENESS, ServingStatus::Serving)
            .await;
    }

    /// Follows the state of the store for ever.
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

    /// Reports NOT_SERVING, so that clients go to other brokers. Streams of `Watch` stay open.
    pub(super) async fn stop(&self) {
        self.set(ServingStatus::NotServing).await;
    }

    async fn set(&self, status: ServingStatus) {
        for service in FOLLOWING {
            self.0.set_service_status(service, status).await;
        }
    }
}
