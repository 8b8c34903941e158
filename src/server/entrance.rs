//! The ways to the services: all of them for callers, and health alone for probes.

use std::{collections::HashSet, sync::Arc};

use tonic::{
    codec::CompressionEncoding::Gzip,
    service::{LayerExt, Routes},
};
use tower::Layer;

use super::{
    assemble::Server,
    connection::Entrance,
    handshake::Handshakes,
    services::{Services, Shared},
};
use crate::{
    authorizations::{AuthorizationOptions, Authorizations},
    config::ServerOptions,
    identities::{UserOptions, Users},
    proto::{self, v1},
    rpc::{
        AccessTokensService, Admission, CallLimits, FrontDoor, IdentitiesService, PaceLayer,
        PendingAuthorizationsService, RefusalLayer, ShortMessagesLayer, SideDoor, StreamsLayer,
        TenantDoors, TokenBrokerService,
    },
    store::{FullStore, Observed},
    tokens::{Tenants, Tokens},
};

/// The descriptors of all services except reflection, and of the messages that tools need.
const DESCRIPTORS: [&[u8]; 3] = [
    v1::FILE_DESCRIPTOR_SET,
    tonic_health::pb::FILE_DESCRIPTOR_SET,
    // Tools need these to show the details of errors.
    tonic_types::pb::FILE_DESCRIPTOR_SET,
];

/// The descriptors of reflection. tonic's reflection service registers them itself.
const REFLECTION: [&[u8]; 2] = [
    tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
    tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
];

/// How large a message to health or reflection may be, in bytes.
const ASIDE_BYTES: usize = 16 * 1024;
/// How many connections `health-listen` serves, and how many calls and streams over all of them.
pub(super) const HEALTH_CONNECTIONS: usize = 64;
/// For so many connections of a listener there is a place for one stream of `Watch`.
const PART_THAT_WATCHES: usize = 2;
/// How many streams of reflection may be open.
const REFLECTION_STREAMS: usize = 64;

impl<S: FullStore> Server<S> {
    /// Returns the way to all services, for connections that are ready after `handshakes`.
    pub(super) fn entrance(
        &self,
        handshakes: Handshakes,
    ) -> Result<Entrance<impl Shared + use<S>>, tonic_reflection::server::Error> {
        let options = self.options;
        let doors = self.tenants.iter().map(|tenancy| {
            let name = tenancy.tokens.tenant().clone();
            (name, tenancy.door.clone())
        });
        let doors: Arc<TenantDoors> = Arc::new(doors.collect());
        let door = |service| {
            FrontDoor::new(
                service,
                (self.guard.clone(), self.audit.clone(), self.traces.clone()),
                Arc::clone(&self.of_nobody),
                (self.admission.clone(), Arc::clone(&doors)),
                options.call_timeout,
                options.max_message_bytes,
            )
        };
        let tokens = self.of_each_tenant(Arc::clone);
        let users = self.of_each_tenant(|tokens| Arc::new(users_of(tokens)));
        let pending = self.of_each_tenant(|tokens| Arc::new(pending_of(tokens)));
        let refusals = RefusalLayer {
            message_limit: options.max_message_bytes,
        };
        // What tonic generates for each service shares no trait with the others.
        macro_rules! own {
            ($generated:ident::$server:ident, $service:expr) => {{
                let server = v1::$generated::$server::new($service)
                    .accept_compressed(Gzip)
                    .max_decoding_message_size(options.max_message_bytes)
                    .max_encoding_message_size(usize::MAX);
                door(v1::$generated::SERVICE_NAME).layer(refusals.layer(server))
            }};
        }
        let broker = TokenBrokerService::new(Arc::clone(&tokens));
        let access = AccessTokensService::new(tokens);
        let identities = IdentitiesService::new(users);
        let authorizations = PendingAuthorizationsService::new(pending);
        let streaming = proto::streaming_methods(&[&DESCRIPTORS[..], &REFLECTION].concat())?;
        let others = self.others(&streaming)?;
        let streams = StreamsLayer::new(streaming, self.stopping.clone());
        Ok(Entrance {
            services: Services {
                broker: own!(token_broker_server::TokenBrokerServer, broker),
                access: own!(access_tokens_server::AccessTokensServer, access),
                identities: own!(identities_server::IdentitiesServer, identities),
                authorizations: own!(
                    pending_authorizations_server::PendingAuthorizationsServer,
                    authorizations
                ),
                others: PaceLayer::new(self.admission.clone()).layer(streams.layer(others)),
            },
            admission: self.admission.clone(),
            options,
            handshakes,
        })
    }

    /// Returns the way to the services for probes and tools. `streaming` has the paths of the methods with streams.
    fn others(
        &self,
        streaming: &HashSet<String>,
    ) -> Result<Routes, tonic_reflection::server::Error> {
        let side_door = |streams| {
            let (admission, streaming) = (self.admission.clone(), streaming.clone());
            SideDoor::new(admission, streaming, streams, self.options.call_timeout)
        };
        let probes = side_door(self.options.max_connections.div_ceil(PART_THAT_WATCHES));
        let tools = side_door(REFLECTION_STREAMS);
        let reflection_v1 = reflection()
            .build_v1()?
            .accept_compressed(Gzip)
            .max_decoding_message_size(ASIDE_BYTES);
        let reflection_v1alpha = reflection()
            .build_v1alpha()?
            .accept_compressed(Gzip)
            .max_decoding_message_size(ASIDE_BYTES);
        let others = self
            .health_through(&probes)
            .add_service(tools.named_layer(ShortMessagesLayer.named_layer(reflection_v1)))
            .add_service(tools.named_layer(ShortMessagesLayer.named_layer(reflection_v1alpha)));
        Ok(others.prepare())
    }

    /// Returns the way to health through `door`.
    fn health_through(&self, door: &SideDoor) -> Routes {
        let health = self
            .health
            .service()
            .accept_compressed(Gzip)
            .max_decoding_message_size(ASIDE_BYTES);
        Routes::new(door.named_layer(ShortMessagesLayer.named_layer(health)))
    }

    /// Returns what is made of the tokens of each tenant, by tenant.
    fn of_each_tenant<T>(
        &self,
        make: impl Fn(&Arc<Tokens<Observed<S>>>) -> Arc<T>,
    ) -> Arc<Tenants<T>> {
        let each = self.tenants.iter().map(|tenancy| &tenancy.tokens);
        let made = each.map(|tokens| (tokens.tenant().clone(), make(tokens)));
        Arc::new(made.collect())
    }

    /// Returns the way to health alone, in plain text. However busy the broker is, it has places of its own.
    pub(super) fn health_entrance(
        &self,
    ) -> Result<Entrance<impl Shared + use<S>>, tonic_reflection::server::Error> {
        let options = ServerOptions {
            max_connections: HEALTH_CONNECTIONS,
            ..self.options
        };
        let admission = Admission::new(CallLimits {
            calls: HEALTH_CONNECTIONS,
            bytes: HEALTH_CONNECTIONS * ASIDE_BYTES,
            largest: ASIDE_BYTES,
            of_a_tenant: None,
        });
        let streaming = proto::streaming_methods(&DESCRIPTORS)?;
        let door = SideDoor::new(
            admission.clone(),
            streaming.clone(),
            HEALTH_CONNECTIONS / PART_THAT_WATCHES,
            options.call_timeout,
        );
        let health = self.health_through(&door);
        let streams = StreamsLayer::new(streaming, self.stopping.clone());
        let paced = PaceLayer::new(admission.clone());
        Ok(Entrance {
            services: paced.layer(streams.layer(health.prepare())),
            admission,
            options,
            handshakes: Handshakes::default(),
        })
    }
}

/// Returns the users of a tenant.
fn users_of<S: FullStore>(tokens: &Tokens<S>) -> Users<S> {
    let rules = tokens.rules();
    let options = UserOptions {
        max_identities: rules.limits.identities,
        patience: rules.patience,
    };
    let users = Users::new(Arc::clone(tokens.store_of_tenant()), options);
    users.naming(rules.limits.type_names)
}

/// Returns the pending authorizations of a tenant.
fn pending_of<S: FullStore>(tokens: &Tokens<S>) -> Authorizations<S> {
    let rules = tokens.rules();
    let options = AuthorizationOptions {
        limits: rules.limits.pending,
        patience: rules.patience,
    };
    let pending = Authorizations::new(Arc::clone(tokens.store_of_tenant()), options);
    pending.naming(rules.limits.type_names)
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    DESCRIPTORS.into_iter().fold(
        tonic_reflection::server::Builder::configure(),
        tonic_reflection::server::Builder::register_encoded_file_descriptor_set,
    )
}
