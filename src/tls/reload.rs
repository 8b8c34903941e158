//! What is in force, and taking what is new in the files.

use std::{
    convert::Infallible,
    fmt, io,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{Stream, StreamExt, stream};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, rustls::Error, server::TlsStream};

use super::{
    ALPN,
    files::{Files, Fingerprint},
    material::Material,
    now,
    options::{TlsOptions, TlsProblem},
    standing::Standing,
};
use crate::{
    meter::{HandshakeFailure, Reload, Trust},
    reading::{Hangs, Reading},
    types::PeerCertificate,
};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How long files have to stay the same before they count.
const SETTLES: Duration = Duration::from_millis(100);
/// How often the log tells again that files are refused.
const TELL: Duration = Duration::from_secs(600);

/// TLS as it is in force.
pub struct Tls {
    options: TlsOptions,
    material: watch::Sender<Arc<Material>>,
    seen: Mutex<Seen>,
    trust: Arc<Trust>,
}

/// What was in the files when they were read last.
struct Seen {
    fingerprint: Fingerprint,
    /// What is wrong with it, and when the log told of that.
    refused: Option<(String, Instant)>,
}

/// A connection over TLS, and who is at its other end.
#[derive(Debug)]
pub struct Secured<S> {
    /// The connection.
    pub stream: TlsStream<S>,
    /// What the client's certificate says, and how long it is good. `None` if the client has shown none.
    pub client: Option<(PeerCertificate, Standing)>,
}

impl Tls {
    /// Reads the files. What happens to TLS is counted in `trust`.
    ///
    /// # Errors
    /// Returns a [`TlsProblem`] for each file that can't be used.
    pub fn load(options: TlsOptions, trust: Arc<Trust>) -> Result<Self, Vec<TlsProblem>> {
        let files = Files::read(&options);
        let material = Material::new(&options, &files)?;
        note(&material, &trust);
        Ok(Self {
            options,
            material: watch::Sender::new(Arc::new(material)),
            seen: Mutex::new(Seen {
                fingerprint: files.fingerprint(),
                refused: None,
            }),
            trust,
        })
    }

    /// Follows the files for ever: looks at them every 2 s, and whenever `hangups` says so.
    pub async fn follow(self: Arc<Self>, hangups: impl Stream<Item = ()>) -> Infallible {
        let mut hangups = pin!(hangups.chain(stream::pending()));
        let reading = Reading::default();
        loop {
            let was_told = timeout(LOOK, hangups.next()).await.is_ok();
            match self.settled(&reading).await {
                Ok(files) => self.take(&files, was_told),
                Err(hangs) => self.hangs(&hangs.to_string()),
            }
        }
    }

    /// Reads the files until they stay the same for a moment: somebody may be writing one in place.
    async fn settled(self: &Arc<Self>, reading: &Reading) -> Result<Files, Hangs> {
        let read = || {
            let this = Arc::clone(self);
            reading.read(move || Files::read(&this.options))
        };
        let mut last = read().await?;
        loop {
            sleep(SETTLES).await;
            let next = read().await?;
            if next.fingerprint() == last.fingerprint() {
                return Ok(next);
            }
            last = next;
        }
    }

    /// Says once that the files can't be read, and later again from time to time.
    fn hangs(&self, problem: &str) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_told = |(told, at): &(String, Instant)| told == problem && at.elapsed() < TELL;
        if seen.refused.as_ref().is_some_and(is_told) {
            return;
        }
        self.trust.reloads(Reload::Certificates).failed.up();
        tracing::error!(
            problem,
            "files of TLS can't be read: what they held before is still in force"
        );
        seen.refused = Some((problem.to_owned(), Instant::now()));
    }

    /// Takes what is in the files, if it is new and good. Whoever told the broker to look is told what came of it.
    fn take(&self, files: &Files, was_told: bool) {
        let fingerprint = files.fingerprint();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.fingerprint == fingerprint {
            match &mut seen.refused {
                Some((problems, told)) if was_told || told.elapsed() >= TELL => {
                    *told = Instant::now();
                    tracing::error!(
                        problems,
                        "files of TLS can't be used: what they held before is still in force"
                    );
                }
                None if was_told => tracing::info!("SIGHUP: no file of TLS has changed"),
                _ => {}
            }
            return;
        }
        seen.fingerprint = fingerprint;
        match Material::new(&self.options, files) {
            Ok(material) => {
                seen.refused = None;
                note(&material, &self.trust);
                self.trust.reloads(Reload::Certificates).done.up();
                self.material.send_replace(Arc::new(material));
                tracing::info!("certificates for TLS have changed, and the new ones are in force");
            }
            Err(problems) => {
                let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
                let problems = problems.join("; ");
                self.trust.reloads(Reload::Certificates).failed.up();
                tracing::error!(
                    problems,
                    "files of TLS have changed and can't be used: what they held before stays in force"
                );
                seen.refused = Some((problems, Instant::now()));
            }
        }
    }

    /// Does the handshake with a client.
    ///
    /// # Errors
    /// Returns why it failed.
    pub async fn accept<S>(&self, stream: S) -> io::Result<Secured<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // Whatever changes from here on, the standing learns of.
        let mut material = self.material.subscribe();
        let server = Arc::clone(&material.borrow_and_update().server);
        let accepted = TlsAcceptor::from(server).accept(stream).await;
        let secured = accepted.and_then(|stream| self.secured(stream, material));
        if let Err(error) = &secured {
            self.gave_up(why(error));
        }
        secured
    }

    /// Counts a handshake that failed for this reason.
    pub fn gave_up(&self, why: HandshakeFailure) {
        self.trust.handshakes_failed(why).up();
    }

    fn secured<S>(
        &self,
        stream: TlsStream<S>,
        material: watch::Receiver<Arc<Material>>,
    ) -> io::Result<Secured<S>> {
        let session = stream.get_ref().1;
        if session.alpn_protocol() != Some(ALPN) {
            return Err(io::Error::other(Error::NoApplicationProtocol));
        }
        let Some(chain) = session.peer_certificates() else {
            return Ok(Secured {
                stream,
                client: None,
            });
        };
        let chain = chain.iter().map(|one| one.clone().into_owned()).collect();
        let standing = Standing::new(chain, material, Arc::clone(&self.trust));
        let (standing, identity) = standing.map_err(io::Error::other)?;
        Ok(Secured {
            stream,
            client: Some((identity, standing)),
        })
    }
}

/// Returns why a handshake failed.
fn why(error: &io::Error) -> HandshakeFailure {
    let of_tls = error.get_ref().and_then(|error| error.downcast_ref());
    match of_tls {
        Some(Error::InvalidCertificate(_) | Error::NoCertificatesPresented) => {
            HandshakeFailure::Certificate
        }
        Some(_) => HandshakeFailure::Protocol,
        None => HandshakeFailure::CutOff,
    }
}

/// Takes note of when the broker's certificate expires, and warns if clients won't take it.
fn note(material: &Material, trust: &Trust) {
    let (begin, end) = material.validity;
    trust.certificate_expires.set(end);
    if begin > now() {
        tracing::warn!("tls-cert: the certificate is not valid yet, by this machine's clock");
    }
}

/// Prints the names of the files alone.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
