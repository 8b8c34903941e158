//! HTTP/1 for machines that bring no certificate: `/livez`, `/readyz` and `/metrics`, in plain text. Nothing else is
//! served here.

use std::{collections::HashMap, convert::Infallible, time::Duration};

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
    task::{AbortHandle, Id, JoinError, JoinSet},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    health::Health,
    metrics::CONTENT_TYPE,
    scrape::Scrapes,
    source::{LEAST, Source, who_yield},
    trouble::Trouble,
};

/// How many connections are served at once.
pub(super) const CONNECTIONS: usize = 32;
/// How long a client may take to send its headers.
const HEADERS: Duration = Duration::from_secs(5);
/// How long a connection may last, with its one request and the answer.
const LIFE: Duration = Duration::from_secs(10);
/// How large the headers of a request may be, in bytes.
const HEADER_BYTES: usize = 16 * 1024;
/// How long to wait after accepting a connection failed.
const PAUSE: Duration = Duration::from_millis(50);

/// The open connections. When all places are taken, the oldest one of the source that has the most is closed: a request is
/// answered at once, so that whoever needs longer has none.
#[derive(Default)]
struct Crowd {
    serving: JoinSet<()>,
    open: HashMap<Id, (Source, Instant, AbortHandle)>,
    full: Trouble,
}

impl Crowd {
    /// Has others make room for one more.
    async fn make_room(&mut self) {
        while let Some(ended) = self.serving.try_join_next_with_id() {
            self.forget(ended);
        }
        while self.serving.len() >= CONNECTIONS {
            if let Some(times) = self.full.happened() {
                tracing::warn!(
                    times,
                    "metrics-listen: all connections are taken: the oldest ones make room"
                );
            }
            let all = self.open.values();
            let all = all.map(|(source, since, task)| (*source, *since, (task, *since)));
            let chosen = who_yield(all, 1);
            let chosen = chosen
                .first()
                .map(|(task, since)| ((*task).clone(), *since));
            if let Some((task, since)) = chosen {
                let ended = timeout_at(since + LEAST, self.serving.join_next_with_id()).await;
                if let Ok(Some(ended)) = ended {
                    self.forget(ended);
                    continue;
                }
                task.abort();
            }
            if let Some(ended) = self.serving.join_next_with_id().await {
                self.forget(ended);
            }
        }
    }

    /// Serves one more.
    fn serve(&mut self, source: Source, connection: impl Future<Output = ()> + Send + 'static) {
        let task = self.serving.spawn(async move {
            timeout(LIFE, connection).await.ok();
        });
        self.open.insert(task.id(), (source, Instant::now(), task));
    }

    fn forget(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
        self.open.remove(&id);
    }
}

/// Answers on `listener` for ever.
pub(super) async fn serve(
    listener: &TcpListener,
    health: &Health,
    scrapes: &Scrapes,
) -> Infallible {
    let (mut crowd, mut failures) = (Crowd::default(), Trouble::default());
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                crowd.make_room().await;
                let connection = connection(stream, health.clone(), scrapes.clone());
                crowd.serve(Source::of(Some(address)), connection);
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

async fn connection(stream: TcpStream, health: Health, scrapes: Scrapes) {
    let service = service_fn(|request: Request<Incoming>| {
        let (health, scrapes) = (&health, &scrapes);
        async move {
            let answer = answer(request.method(), request.uri().path(), health, scrapes);
            Ok::<_, Infallible>(answer.await)
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

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    /// Whoever has just come isn't closed before it could ask.
    #[tokio::test(start_paused = true)]
    async fn a_connection_has_its_time_also_when_all_places_are_taken() {
        let mut crowd = Crowd::default();
        let begun = Instant::now();
        for _ in 0..3 * CONNECTIONS {
            crowd.make_room().await;
            crowd.serve(Source::of(None), pending());
        }
        let took = begun.elapsed();
        assert!((2 * LEAST..3 * LEAST).contains(&took), "{took:?}");
    }
}
