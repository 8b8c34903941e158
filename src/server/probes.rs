//! HTTP/1 for machines that bring no certificate: `/livez`, `/readyz` and `/metrics`, in plain text. Nothing else is
//! served here.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use super::{
    health::Health, metrics::CONTENT_TYPE, open::Open, scrape::Scrapes, source::Origin,
    trouble::Trouble,
};
use crate::types::Source;

/// How many connections are served at once.
pub(super) const CONNECTIONS: usize = 32;
/// How long a client may take to send its headers.
const HEADERS: Duration = Duration::from_secs(5);
/// How long a connection may last, with its one request and the answer.
const LIFE: Duration = Duration::from_secs(10);
/// How large the headers of a request may be, in bytes.
const HEADER_BYTES: usize = 16 * 1024;
/// How much longer than others a connection has while its page is made, which may take a while. Half of the time that the kubelet
/// gives a probe.
const MAKING: Duration = Duration::from_millis(500);
/// How long to wait after accepting a connection failed.
const PAUSE: Duration = Duration::from_millis(50);

/// Whether the page that a connection asked for is being made. The connection and whoever looks for room share it. It isn't any
/// more while the page is sent: who doesn't read earns no time by that.
type IsMaking = Arc<AtomicBool>;

/// Has connections make room for one more. When all places are taken, the oldest one of the source that has the most is
/// closed: a request is sent and answered soon, so that whoever needs longer has none.
async fn make_room(open: &mut Open<IsMaking>, full: &mut Trouble) {
    open.forget_ended();
    while open.count() >= CONNECTIONS {
        if let Some(times) = full.happened() {
            tracing::warn!(
                times,
                "metrics-listen: all connections are taken: the oldest ones make room"
            );
        }
        let earned = |is_making: &IsMaking| match is_making.load(Ordering::Relaxed) {
            true => MAKING,
            false => Duration::ZERO,
        };
        open.close_oldest(earned).await;
    }
}

/// Answers on `listener` for ever.
pub(super) async fn serve(
    listener: &TcpListener,
    health: &Health,
    scrapes: &Scrapes,
) -> Infallible {
    let mut open = Open::default();
    let (mut full, mut failures) = (Trouble::default(), Trouble::default());
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                make_room(&mut open, &mut full).await;
                let is_making = IsMaking::default();
                let told = (health.clone(), scrapes.clone());
                let connection = connection(stream, Arc::clone(&is_making), told);
                let served = async { _ = timeout(LIFE, connection).await };
                let origin = Origin::now(Source::of(Some(address)));
                open.add(origin, is_making, |tasks| Some(tasks.spawn(served)));
            }
            Err(error) => {
                if let Some(failures) = failures.happened() {
                    tracing::warn!(%error, failures, "metrics-listen: can't accept connections");
                }
                sleep(PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, is_making: IsMaking, (health, scrapes): (Health, Scrapes)) {
    let service = service_fn(|request: Request<Incoming>| {
        is_making.store(true, Ordering::Relaxed);
        let (health, scrapes, is_making) = (&health, &scrapes, &is_making);
        async move {
            let answer = answer(request.method(), request.uri().path(), health, scrapes).await;
            is_making.store(false, Ordering::Relaxed);
            Ok::<_, Infallible>(answer)
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(HEADER_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to metrics-listen failed");
    }
}

async fn answer(
    method: &Method,
    path: &str,
    health: &Health,
    scrapes: &Scrapes,
) -> Response<Full<Bytes>> {
    let (status, text) = match path {
        "/livez" | "/readyz" | "/metrics" if ![Method::GET, Method::HEAD].contains(method) => {
            (StatusCode::METHOD_NOT_ALLOWED, Bytes::from("GET only\n"))
        }
        "/livez" => (StatusCode::OK, Bytes::from("ok\n")),
        "/readyz" if health.serves() => (StatusCode::OK, Bytes::from("ok\n")),
        "/readyz" => (
            StatusCode::SERVICE_UNAVAILABLE,
            Bytes::from("not serving\n"),
        ),
        "/metrics" => match scrapes.text().await {
            Some(text) => (StatusCode::OK, text),
            None => (StatusCode::INTERNAL_SERVER_ERROR, Bytes::new()),
        },
        _ => (StatusCode::NOT_FOUND, Bytes::from("not found\n")),
    };
    let kind = match path {
        "/metrics" => CONTENT_TYPE,
        _ => "text/plain; charset=utf-8",
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let kind = http::HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
