//! What becomes of requests at the door.

use std::{
    collections::{BTreeSet, VecDeque},
    pin::Pin,
    sync::Mutex,
};

use futures_util::FutureExt;
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::{Code, Status, codegen::Bytes};
use tracing::Span;

use super::{
    super::admission::{CallLimits, be_late},
    *,
};
use crate::{
    access::{Credential, Policy, Rights, Role, TokenSha256},
    proto::v1::FILE_DESCRIPTOR_SET,
    types::{Channel, ProviderSet, Reach, Right, Source, lock},
};

const SERVICE: &str = "tokenbroker.v1.TokenBroker";
const TOKEN: &str = "a-token-of-a-caller-that-is-known";
/// How large a message may be, in bytes.
const LIMIT: usize = 256 * 1024;

/// A service that keeps the messages that reach it.
#[derive(Clone, Default)]
struct Inner(Arc<Mutex<Vec<Bytes>>>);

impl Inner {
    fn messages(&self) -> Vec<Bytes> {
        let mut messages = lock(&self.0);
        std::mem::take(&mut *messages)
    }
}

impl Service<Request<Body>> for Inner {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let body = request.into_body().collect().now_or_never();
        let message = body.expect("all of it is there").unwrap().to_bytes();
        self.0.lock().unwrap().push(message);
        ready(Ok(Response::default()))
    }
}

/// A door, and the connection of a caller that it knows.
struct Hall {
    entrance: Entrance<Inner>,
    inner: Inner,
    caller: Arc<Caller>,
    tenant: Arc<TenantShare>,
    connection: Arc<Share>,
}

impl Hall {
    fn new() -> Self {
        let admission = Admission::new(CallLimits {
            calls: 100,
            bytes: 100 * LIMIT,
            largest: LIMIT,
            of_a_tenant: None,
        });
        let share = admission.tenant();
        share.open();
        let name: Arc<Tenant> = Arc::new("a:b".parse().unwrap());
        let rights = Rights {
            roles: vec![Role::AuthServer],
            reach: Reach {
                providers: ProviderSet::All,
                client: None,
            },
            ..Rights::default()
        };
        let caller = Caller::new("known".to_owned(), Arc::clone(&name), rights);
        let mut policy = Policy::default();
        let credential = Credential::Bearer(TokenSha256::of(TOKEN.as_bytes()));
        policy.add(caller.clone(), vec![credential]).unwrap();
        let door = TenantDoor {
            share: Arc::clone(&share),
            figures: Arc::default(),
            scope: Span::none(),
        };
        let doors = Arc::new(TenantDoors::from([((*name).clone(), door)]));
        let connection = admission.share(Source::default());
        let door = FrontDoor::new(
            SERVICE,
            (Guard::of(policy), Audit::off(), Traces::off()),
            Arc::default(),
            (admission, doors),
            Duration::from_secs(10),
            LIMIT,
        );
        let inner = Inner::default();
        Self {
            entrance: door.layer(inner.clone()),
            inner,
            caller: Arc::new(caller),
            tenant: share,
            connection,
        }
    }

    /// Makes a call with this body.
    fn call(&mut self, encoding: &'static str, body: Sent) -> impl Future<Output = Code> + use<> {
        let request = Request::post(format!("/{SERVICE}/Get"))
            .header(AUTHORIZATION, format!("Bearer {TOKEN}"))
            .header("grpc-encoding", encoding)
            .extension(Arc::clone(&self.connection))
            .extension(Arc::new(Peer {
                channel: Channel::Tls,
                address: None,
                certificate: None,
                right: Right::default(),
            }))
            .body(Body::new(body));
        let answer = self.entrance.call(request.unwrap());
        answer.map(|answer| {
            let Ok(answer) = answer;
            let status = Status::from_header_map(answer.headers());
            status.map_or(Code::Ok, |status| status.code())
        })
    }
}

/// Returns a message as gRPC frames it.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], message].concat()
}

/// The body of a request, as a client sends it.
struct Sent {
    parts: VecDeque<Bytes>,
    end: End,
}

/// What comes after all parts of a body.
enum End {
    Whole,
    /// Nothing, for any time.
    Missing,
    /// The client has reset the stream because it doesn't need it any more.
    Left,
    Failed,
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match (self.parts.pop_front(), &self.end) {
            (Some(part), _) => Poll::Ready(Some(Ok(Frame::data(part)))),
            (None, End::Whole | End::Left) => Poll::Ready(None),
            (None, End::Missing) => Poll::Pending,
            (None, End::Failed) => Poll::Ready(Some(Err(Status::internal("reset")))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.parts.is_empty() && matches!(self.end, End::Whole)
    }
}

/// Returns a body that comes in parts of this size.
fn parts(bytes: &[u8], size: usize, end: End) -> Sent {
    let parts = bytes.chunks(size).map(Bytes::copy_from_slice);
    Sent {
        parts: parts.collect(),
        end,
    }
}

#[tokio::test]
async fn a_message_arrives_whole_whatever_the_parts_that_it_comes_in() {
    let mut hall = Hall::new();
    let message = framed(&[7; 1_000]);
    for size in [1, 3, 6, 999, 2_000] {
        let code = hall
            .call("identity", parts(&message, size, End::Whole))
            .await;
        assert_eq!(code, Code::Ok, "{size}");
        assert_eq!(hall.inner.messages(), [&message[..]], "{size}");
    }
}

#[tokio::test]
async fn a_request_is_one_message() {
    let mut hall = Hall::new();
    let two = [framed(b"one"), framed(b"two")].concat();
    for size in [1, 8, 9, 100] {
        let code = hall.call("gzip", parts(&two, size, End::Whole)).await;
        assert_eq!(code, Code::InvalidArgument, "{size}");
    }
    assert!(hall.inner.messages().is_empty());
    // tonic says of a message how large it is that is too large, and needs no more of it for that.
    let large = framed(&vec![0; LIMIT + 1])[..10].to_vec();
    hall.call("identity", parts(&large, 7, End::Missing)).await;
    assert_eq!(hall.inner.messages().len(), 1);
}

/// A call whose client leaves before it had its turn does nothing, and counts as one that is refused.
#[tokio::test(start_paused = true)]
async fn who_leaves_many_calls_is_read_more_slowly() {
    const CALLS: usize = 600;
    let mut hall = Hall::new();
    let message = framed(b"x");
    for _ in 0..CALLS {
        assert_eq!(
            hall.call("identity", parts(&message, 9, End::Whole)).await,
            Code::Ok
        );
    }
    assert_eq!(hall.inner.messages().len(), CALLS);
    assert_eq!(hall.connection.paused_until(), None);
    for number in 0..CALLS {
        let sends = match number % 3 {
            0 => parts(&message, 9, End::Left),
            1 => parts(&message[..3], 9, End::Failed),
            _ => parts(&message[..3], 9, End::Missing),
        };
        let answered = hall.call("identity", sends).now_or_never();
        assert_eq!(answered.is_some(), number % 3 < 2);
    }
    assert!(hall.inner.messages().is_empty());
    assert!(hall.connection.paused_until().is_some());
}

/// hyper tells of a stream that was reset after its end when the call waits. On a late thread, it does so before its turn.
#[tokio::test(start_paused = true)]
async fn who_leaves_a_late_thread_is_served_nothing() {
    let mut hall = Hall::new();
    let now = Instant::now();
    let call = |hall: &Hall| {
        let of = hall.tenant.of_caller(&hall.caller);
        hall.connection.admit(&hall.tenant, of).unwrap()
    };
    let _many: Vec<_> = (0..20).map(|_| call(&hall)).collect();
    let whole = || parts(&framed(b"x"), 9, End::Whole);
    assert_eq!(hall.call("identity", whole()).await, Code::Ok);
    for _ in 0..50 {
        be_late(now);
    }
    assert_eq!(hall.call("identity", whole()).await, Code::Ok);
    assert_eq!(hall.inner.messages().len(), 2);
    for _ in 0..600 {
        // It is dropped where hyper would find that the stream was reset.
        assert_eq!(hall.call("identity", whole()).now_or_never(), None);
    }
    assert!(hall.inner.messages().is_empty());
    assert!(hall.connection.paused_until().is_some());
}

/// What is compressed may swell to the largest message. So it waits for its turn as one of those does.
#[tokio::test(start_paused = true)]
async fn a_compressed_message_is_not_decoded_before_its_turn() {
    let mut hall = Hall::new();
    let now = Instant::now();
    for _ in 0..50 {
        be_late(now);
    }
    let large = || {
        let of = hall.tenant.of_caller(&hall.caller);
        let permit = hall.connection.admit(&hall.tenant, of).unwrap();
        permit.hold(LIMIT).unwrap();
        permit
    };
    let (first, _other) = (large(), large());
    first.turn().await;
    let message = framed(b"x");
    let plain = hall.call("identity", parts(&message, 9, End::Whole));
    assert_eq!(plain.now_or_never(), Some(Code::Ok), "it is one of few");
    assert_eq!(hall.inner.messages().len(), 1);
    let mut packed = Box::pin(hall.call("gzip", parts(&message, 9, End::Whole)));
    assert_eq!(packed.as_mut().now_or_never(), None);
    assert!(hall.inner.messages().is_empty());
    first.answered(0).unwrap();
    assert_eq!(packed.await, Code::Ok);
    assert_eq!(hall.inner.messages().len(), 1);
    assert_eq!(now.elapsed(), Duration::ZERO, "nobody ran out of patience");
}

/// The RPCs are those of the proto, and each is found, so that no call passes the door unjudged.
#[test]
fn each_rpc_of_the_proto_is_judged() {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let mut found = BTreeSet::new();
    for file in set
        .file
        .iter()
        .filter(|file| file.package() == "tokenbroker.v1")
    {
        for service in &file.service {
            let full = format!("{}.{}", file.package(), service.name());
            for method in &service.method {
                let path = format!("/{full}/{}", method.name());
                let rpc = rpc_at(&full, &path).unwrap_or_else(|| panic!("{path}"));
                let name = format!("{}/{}", service.name(), method.name());
                assert_eq!(rpc.full_name(), name);
                found.insert(rpc);
            }
        }
    }
    assert_eq!(found, Rpc::ALL.iter().copied().collect());
}

#[test]
fn other_paths_lead_nowhere() {
    let service = "tokenbroker.v1.TokenBroker";
    for path in [
        "",
        "/",
        "/tokenbroker.v1.TokenBroker",
        "/tokenbroker.v1.TokenBroker/",
        "/tokenbroker.v1.TokenBroker/get",
        "/tokenbroker.v1.TokenBroker/Get/",
        "/tokenbroker.v1.TokenBroker//Get",
        "/tokenbroker.v1.TokenBroker/GetAccessToken",
        "/tokenbroker.v1.AccessTokens/Get",
    ] {
        assert_eq!(rpc_at(service, path), None, "{path}");
    }
}
