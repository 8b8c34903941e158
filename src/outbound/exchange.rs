//! Sends one request over one connection and reads its answer. Nothing is repeated and no redirect is followed.

use std::{
    error::Error,
    io,
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Body, Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::{
    Fault,
    connect::Connection,
    counted::{Counted, Written},
    tls,
};
use crate::{
    traces::{self, Attribute, Kind},
    types::SecretBytes,
};

/// How long the answer is still looked for when the time for it is over.
const LAST_LOOK: Duration = Duration::from_millis(200);

/// The largest head of an answer, in bytes.
const LARGEST_HEAD: usize = 64 * 1024;

/// The answer to a request. It can't be printed: it may hold tokens.
pub struct Reply {
    /// The status of HTTP.
    pub status: u16,
    /// How long to wait before another request, where the answer says.
    pub retry_after: Option<Duration>,
    /// Whether the body is said to be a form.
    pub is_form: bool,
    /// The body, or why it couldn't be read whole.
    pub body: Result<SecretBytes, Fault>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The request didn't leave whole, or the other end surely hasn't read it.
    NotSent(Fault),
    /// The other end may have acted on the request.
    Unknown(Fault),
}

/// Sends `request` and reads the answer, whose body has at most `largest` bytes, within `limit`.
///
/// # Errors
/// Returns a [`Failure`] if there is no answer.
pub(crate) async fn exchange(
    connection: Connection,
    request: Request<Full<Bytes>>,
    limit: Duration,
    largest: usize,
) -> Result<Reply, Failure> {
    let span = traces::child("provider_request", Kind::Client);
    if let Some(span) = &span {
        span.note(Attribute::HttpMethod(method(&request)));
    }
    let reply = exchanged(connection, request, limit, largest).await;
    if let Some(span) = &span {
        match &reply {
            Ok(reply) => span.note(Attribute::HttpStatus(reply.status)),
            Err(Failure::NotSent(_)) => span.note(Attribute::Failure("not_sent")),
            Err(Failure::Unknown(_)) => span.note(Attribute::Failure("unknown")),
        }
        // The semantic conventions count answers from 400 on as failures of a client.
        if reply.as_ref().map_or(true, |reply| reply.status >= 400) {
            span.fail();
        }
    }
    reply
}

fn method(request: &Request<Full<Bytes>>) -> &'static str {
    match *request.method() {
        Method::GET => "GET",
        Method::POST => "POST",
        _ => "_OTHER",
    }
}

async fn exchanged(
    mut connection: Connection,
    request: Request<Full<Bytes>>,
    limit: Duration,
    largest: usize,
) -> Result<Reply, Failure> {
    if connection.is_closed() {
        return Err(Failure::NotSent(Fault::ConnectionClosed));
    }
    let length = request.body().size_hint().lower();
    let (counted, written) = Counted::new(connection);
    let failure = |fault| failure(fault, &written, length);
    let handshake = http1::Builder::new()
        .max_buf_size(LARGEST_HEAD)
        .handshake(TokioIo::new(counted))
        .await;
    let (mut sender, driver) = handshake.map_err(|_| failure(Fault::ConnectionClosed))?;
    let drive = async {
        // What ends the connection is told to the request.
        driver.await.ok();
        std::future::pending::<()>().await;
    };
    let exchanged = async {
        match sender.send_request(request).await {
            Ok(response) => Ok(read(response, largest).await),
            Err(error) if refuses_certificate(&error) => {
                Err(Failure::NotSent(Fault::ClientCertificateRefused))
            }
            Err(error) if error.is_parse() => Err(failure(Fault::Unreadable)),
            Err(error) if error.is_incomplete_message() => Err(failure(Fault::ConnectionLost)),
            Err(_) => Err(failure(Fault::ConnectionLost)),
        }
    };
    // If the process stood still meanwhile, the time is over and the answer is there, unread.
    let exchanged = async {
        let mut exchanged = pin!(exchanged);
        if let Ok(exchanged) = timeout(limit, &mut exchanged).await {
            return exchanged;
        }
        let exchanged = timeout(LAST_LOOK, exchanged).await;
        exchanged.unwrap_or_else(|_| Err(failure(Fault::Timeout)))
    };
    tokio::select! {
        exchanged = exchanged => exchanged,
        () = drive => Err(failure(Fault::ConnectionLost)),
    }
}

fn failure(fault: Fault, written: &Arc<Written>, length: u64) -> Failure {
    if written.is_whole(length) {
        Failure::Unknown(fault)
    } else {
        Failure::NotSent(fault)
    }
}

fn refuses_certificate(error: &hyper::Error) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref());
    source.is_some_and(|source: &io::Error| tls::client_certificate_is_refused(source))
}

async fn read(response: http::Response<Incoming>, largest: usize) -> Reply {
    let (head, body) = response.into_parts();
    Reply {
        status: head.status.as_u16(),
        retry_after: retry_after(&head.headers),
        is_form: is_form(&head.headers),
        body: whole(body, largest).await,
    }
}

async fn whole(mut body: Incoming, largest: usize) -> Result<SecretBytes, Fault> {
    let expected = body.size_hint().lower();
    if usize::try_from(expected).is_ok_and(|expected| expected > largest) {
        return Err(Fault::TooLarge);
    }
    let mut bytes = SecretBytes::with_capacity(8192);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Fault::CutOff)?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        if bytes.len() + data.len() > largest {
            return Err(Fault::TooLarge);
        }
        bytes.extend_from_slice(data);
    }
    Ok(bytes)
}

/// Returns how long to wait: `Retry-After` (RFC 9110, section 10.2.3) is a number of seconds or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => seconds_until(text)?,
    };
    Some(wait)
}

/// Returns how long it is until a date such as `Sun, 06 Nov 1994 08:49:37 GMT`.
fn seconds_until(date: &str) -> Option<Duration> {
    let at = httpdate::parse_http_date(date).ok()?;
    Some(at.duration_since(SystemTime::now()).unwrap_or_default())
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
    })
}
