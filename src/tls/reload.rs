//! What is in force, and taking what is new.

use std::{
    fmt, io,
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{Error, crypto::aws_lc_rs},
    server::TlsStream,
};

use super::{
    ALPN,
    files::Files,
    identity::Validity,
    material::{Maker, Material},
    not_secured::NotSecured,
    now, offer,
    options::{Source, TlsOptions, TlsProblem},
    parts::{self, Fingerprint, Parts},
    standing::Standing,
};
use crate::{
    meter::{HandshakeFailure, Reload, Trust},
    reading::{Complaint, Look},
    spiffe::Update,
    types::{PeerCertificate, lock},
};

/// TLS as it is in force.
pub struct Tls {
    pub(super) options: TlsOptions,
    maker: Maker,
    /// `None` until an agent has given a certificate.
    material: watch::Sender<Option<Arc<Material>>>,
    /// Why there will be none.
    pub(super) hopeless: watch::Sender<Option<String>>,
    seen: Mutex<Seen>,
    pub(super) trust: Arc<Trust>,
}

/// What was found last, and what is wrong with it.
pub(super) struct Seen {
    files: Fingerprint,
    of_files: Parts,
    of_agent: Option<Parts>,
    /// Why the files couldn't be read, so that `of_files` is older.
    files_problem: Option<String>,
    /// What is wrong with the agent's last update, so that `of_agent` is older.
    agent_problem: Option<String>,
    refused: Complaint,
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
    /// Reads the files. What happens to TLS is counted in `trust`. An agent isn't asked before [`follow`](Self::follow).
    ///
    /// # Errors
    /// Returns a [`TlsProblem`] for each file that can't be used.
    pub fn load(options: TlsOptions, trust: Arc<Trust>) -> Result<Self, Vec<TlsProblem>> {
        let maker = Maker {
            provider: Arc::new(aws_lc_rs::default_provider()),
            client_certificates: options.client_certificates,
        };
        let files = Files::read(&options);
        let of_files = of_files(&files, &maker);
        let material = match options.source {
            Source::Files { .. } => Some(Arc::new(maker.first(of_files.clone())?.0)),
            Source::WorkloadApi { .. } => {
                let found = of_files.authorities.values().cloned();
                let problems: Vec<_> = found.filter_map(Result::err).collect();
                match problems.is_empty() {
                    true => None,
                    false => return Err(problems),
                }
            }
        };
        let tls = Self {
            options,
            maker,
            material: watch::Sender::new(None),
            hopeless: watch::Sender::new(None),
            seen: Mutex::new(Seen {
                files: files.fingerprint(),
                of_files,
                of_agent: None,
                files_problem: None,
                agent_problem: None,
                refused: Complaint::default(),
            }),
            trust,
        };
        material.into_iter().for_each(|first| tls.install(first));
        Ok(tls)
    }

    /// Waits until there is a certificate to show.
    ///
    /// # Errors
    /// Returns why there will be none: what answers as the agent is none.
    pub async fn ready(&self) -> Result<(), String> {
        let (mut material, mut hopeless) = (self.material.subscribe(), self.hopeless.subscribe());
        tokio::select! {
            _ = material.wait_for(Option::is_some) => Ok(()),
            why = hopeless.wait_for(Option::is_some) => {
                Err(why.ok().and_then(|why| why.clone()).unwrap_or_default())
            }
        }
    }

    /// Returns from when until when the certificate in force is valid.
    pub(super) fn validity(&self) -> Option<Validity> {
        let material = self.material.borrow();
        material.as_ref().map(|material| material.own.validity)
    }

    /// Takes what is good in the files, if anything is new. Whoever told the broker to look is told what came of it.
    pub(super) fn take(&self, Look { found, was_asked }: Look<Files>) {
        let fingerprint = match &found {
            Ok(files) => files.fingerprint(),
            Err(hangs) => parts::fingerprint([hangs.to_string().as_bytes()]),
        };
        let mut seen = self.seen();
        if seen.files == fingerprint {
            if let Some(problems) = seen.refused.again(was_asked) {
                self.tell(problems, was_asked);
            } else if was_asked {
                tracing::info!("SIGHUP: no file of TLS has changed");
            }
            return;
        }
        seen.files = fingerprint;
        // What is wrong now is told, even if it is the same as before.
        let was_wrong = seen.refused.note_over();
        match found {
            Ok(files) => {
                seen.of_files = of_files(&files, &self.maker);
                seen.files_problem = None;
            }
            Err(hangs) => seen.files_problem = Some(hangs.to_string()),
        }
        self.renew(&mut seen, was_wrong || was_asked);
    }

    /// Takes what is good in an agent's update.
    pub(super) fn take_update(&self, update: Update) {
        let wanted = match &self.options.source {
            Source::WorkloadApi { spiffe_id, .. } => spiffe_id.as_ref(),
            Source::Files { .. } => None,
        };
        let parts = offer::parts(update, wanted, &self.maker.provider);
        let mut seen = self.seen();
        match parts {
            Ok(parts) => {
                seen.of_agent = Some(parts);
                seen.agent_problem = None;
            }
            Err(problem) => seen.agent_problem = Some(problem.to_string()),
        }
        let was_wrong = seen.refused.is_any();
        self.renew(&mut seen, was_wrong);
    }

    /// Puts into force what is good of what was found last. `is_awaited` says whether the log is to tell also that nothing is
    /// wrong and nothing new.
    fn renew(&self, seen: &mut Seen, is_awaited: bool) {
        let parts = seen.parts(&self.options);
        let is_complete = parts.is_some();
        let (material, problems) = parts.map(|parts| self.make(parts)).unwrap_or_default();
        let of_all = [&seen.files_problem, &seen.agent_problem];
        let problems = problems.iter().map(ToString::to_string);
        let problems: Vec<_> = of_all
            .into_iter()
            .flatten()
            .cloned()
            .chain(problems)
            .collect();
        let is_new = material.is_some();
        if let Some(material) = material {
            self.install(Arc::new(material));
            if problems.is_empty() {
                tracing::info!("certificates for TLS have changed, and the new ones are in force");
            } else {
                tracing::warn!(
                    "certificates for TLS have changed, and those that can be used are in force"
                );
            }
        }
        if !problems.is_empty() {
            self.refuse(seen, &problems.join("; "));
            return;
        }
        seen.refused.note_over();
        if is_new {
            self.trust.reloads(Reload::Certificates).done.up();
        } else if is_awaited && is_complete {
            tracing::info!("all parts of TLS are in order, and what they hold is in force");
        }
    }

    /// Makes material of parts, if it is another one than what is in force. Returns what is wrong with them, too.
    fn make(&self, parts: Parts) -> (Option<Material>, Vec<TlsProblem>) {
        let before = self.material.borrow().clone();
        let made = match &before {
            Some(before) => self.maker.next(before, parts),
            None => {
                let first = self.maker.first(parts);
                first.map(|(first, problems)| (Some(first), problems))
            }
        };
        made.unwrap_or_else(|problems| (None, problems))
    }

    fn refuse(&self, seen: &mut Seen, problems: &str) {
        if seen.refused.note_news(problems) {
            self.tell(problems, true);
        }
    }

    /// Tells what is wrong. Counts it, unless it is told once more only because it has been so for long.
    fn tell(&self, problems: &str, counts: bool) {
        if self.material.borrow().is_none() {
            tracing::warn!(
                problems,
                "there is no certificate for TLS yet, and what there is can't be used"
            );
            return;
        }
        if counts {
            self.trust.reloads(Reload::Certificates).failed.up();
        }
        tracing::error!(
            problems,
            "parts of TLS can't be used: what they held before stays in force"
        );
    }

    /// Puts material into force, and warns if clients won't take its certificate.
    fn install(&self, material: Arc<Material>) {
        let Validity { begin, end } = material.own.validity;
        self.trust.certificate_expires.set(end);
        if begin > now() {
            tracing::warn!("the broker's certificate is not valid yet, by this machine's clock");
        }
        for odd in &material.own.oddities {
            tracing::warn!("the broker's certificate: {odd}");
        }
        self.material.send_replace(Some(material));
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }

    /// Does the handshake with a client.
    ///
    /// # Errors
    /// Returns why it failed.
    pub async fn accept<S>(&self, stream: S) -> Result<Secured<S>, NotSecured>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let secured = NotSecured::or(self.handshake(stream)).await;
        if let Err(failed) = &secured {
            self.gave_up(failed.kind());
        }
        secured
    }

    async fn handshake<S>(&self, stream: S) -> io::Result<Secured<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // Whatever changes from here on, the standing learns of.
        let mut material = self.material.subscribe();
        let now = material.borrow_and_update().clone();
        let server = now.map(|material| Arc::clone(&material.server));
        let accepted = match server {
            Some(server) => TlsAcceptor::from(server).accept(stream).await,
            None => Err(io::Error::other(
                "the broker has no certificate yet: it waits for the agent",
            )),
        };
        accepted.and_then(|stream| self.secured(stream, material))
    }

    /// Counts a handshake that failed for this reason.
    pub fn gave_up(&self, why: HandshakeFailure) {
        self.trust.handshakes_failed(why).up();
    }

    fn secured<S>(
        &self,
        stream: TlsStream<S>,
        material: watch::Receiver<Option<Arc<Material>>>,
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

impl Seen {
    /// Returns all parts. `None` if the agent has given nothing yet.
    fn parts(&self, options: &TlsOptions) -> Option<Parts> {
        let mut parts = self.of_files.clone();
        if let Source::WorkloadApi { .. } = options.source {
            let of_agent = self.of_agent.clone()?;
            parts.own = of_agent.own;
            parts.authorities.extend(of_agent.authorities);
        }
        Some(parts)
    }
}

fn of_files(files: &Files, maker: &Maker) -> Parts {
    Parts {
        own: files.own(&maker.provider),
        authorities: files.authorities(),
    }
}

/// Prints where the certificates are from alone.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
