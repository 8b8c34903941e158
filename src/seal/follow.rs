//! Follows a key file, for as long as the broker runs.

use std::time::Duration;

use aws_lc_rs::digest::{Context, Digest, SHA256};
use futures_util::Stream;
use tokio::time::Instant;

use super::{
    KeyRing, Keys, KeysFileProblem,
    keys::{Watched, parse},
};
use crate::{
    reading::{Complaint, Hangs, Look, Looks},
    types::{SecretBytes, read_private},
};

/// How long a service that couldn't unwrap a key is left alone at first. It is twice as long each time...
const PAUSE: Duration = Duration::from_secs(2);
/// ...but no longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What is in a file, or why it can't be read.
pub(super) type Found = Result<SecretBytes, String>;

/// Tells what was found from anything else, and is no secret.
#[derive(Debug)]
pub(super) struct Mark(Digest);

/// Somebody who follows a key file.
pub(super) struct Following<'a> {
    keys: &'a Keys,
    file: &'a Watched,
    looks: Looks<'a>,
    /// What was found last. `None` if that isn't known.
    seen: Option<Mark>,
    wrong: Complaint,
    /// When the service that unwraps keys is asked again, and how long it is left alone after that.
    retry: Option<(Instant, Duration)>,
}

impl<'a> Following<'a> {
    /// Begins with what `keys` were made of. After a panic it isn't known what that is.
    pub fn new(
        keys: &'a Keys,
        file: &'a Watched,
        asked: impl Stream<Item = ()> + Send + 'a,
    ) -> Self {
        Self {
            keys,
            file,
            looks: Looks::new(asked),
            seen: file.take_mark(),
            wrong: Complaint::default(),
            retry: None,
        }
    }

    /// Looks at the file when it is time, and takes what is new.
    pub async fn look(&mut self) {
        let path = self.file.path.clone();
        let read = move || read_private(&path).map_err(|problem| problem.to_string());
        let Look { found, was_asked } = self.looks.next(read.clone()).await;
        if self.file.is_locked() {
            return;
        }
        let found = or_why(found);
        let mark = Mark::of(&found);
        let is_new = self.seen.as_ref() != Some(&mark);
        let is_due = self.retry.is_some_and(|(at, _)| Instant::now() >= at);
        let was_wrong = self.wrong.is_any();
        if !(is_new || is_due || was_asked && was_wrong) {
            self.tell_again(was_asked);
            return;
        }
        let opened = open(self.file, found).await;
        if opened.is_ok() && mark != Mark::of(&or_why(self.looks.now(read).await)) {
            // To have its keys unwrapped took so long that another file is there: these keys may be withdrawn.
            return;
        }
        self.seen = Some(mark);
        if is_new {
            self.retry = None;
        }
        if is_new || was_asked {
            // Told even if it is the same as before.
            self.wrong.note_over();
        }
        match opened {
            Ok(ring) => {
                self.wrong.note_over();
                self.retry = None;
                if self.keys.replace(ring) {
                    // It has told.
                } else if was_wrong {
                    tracing::info!("the key file is in order again, and its keys are those in use");
                } else {
                    self.tell_again(was_asked);
                }
            }
            Err(refused) => self.refuse(&refused),
        }
    }

    fn refuse(&mut self, Refused { what, may_pass }: &Refused) {
        self.keys.count_refusal();
        self.retry = may_pass.then(|| {
            let pause = self.retry.map_or(PAUSE, |(_, next)| next);
            (Instant::now() + pause, (2 * pause).min(LONGEST_PAUSE))
        });
        if self.wrong.note_news(what) {
            tell(what);
        }
    }

    /// Tells what is still wrong now and then, and whoever asked that nothing is new.
    fn tell_again(&mut self, was_asked: bool) {
        match self.wrong.again(was_asked) {
            Some(what) => tell(what),
            None if was_asked => tracing::info!("SIGHUP: the sealing keys haven't changed"),
            None => {}
        }
    }
}

/// Returns the keys of what was found.
async fn open(file: &Watched, found: Found) -> Result<KeyRing, Refused> {
    let text = found.map_err(|what| Refused {
        what,
        may_pass: false,
    })?;
    let open = async {
        let (kms, demands) = (file.kms.as_deref(), &file.demands);
        let keys = parse(&text, kms, demands)?;
        drop(text);
        // What has wrapped keys was checked to have somebody who unwraps them.
        match kms.filter(|_| keys.is_wrapped()) {
            Some(kms) => {
                let ring = file.unwrapped.lock().await.open(&keys, kms).await?;
                demands.check_ring(&ring)?;
                Ok(ring)
            }
            None => Ok(demands.ring(&keys, |_| None)?),
        }
    };
    open.await.map_err(|problem: KeysFileProblem| Refused {
        what: problem.to_string(),
        may_pass: problem.is_of_the_service(),
    })
}

/// Why a file isn't taken.
struct Refused {
    what: String,
    /// Whether the next answer of the service that unwraps keys may be another one.
    may_pass: bool,
}

fn tell(what: &str) {
    tracing::error!("seal-keys: {what}; the keys stay as they were");
}

fn or_why(found: Result<Found, Hangs>) -> Found {
    found.unwrap_or_else(|hangs| Err(hangs.to_string()))
}

impl PartialEq for Mark {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_ref() == other.0.as_ref()
    }
}

impl Mark {
    /// Returns the mark of what was found.
    pub fn of(found: &Found) -> Self {
        let (kind, bytes) = match found {
            Ok(text) => (0, &**text),
            Err(why) => (1, why.as_bytes()),
        };
        // Unlike others, this one wipes the memory in which it works.
        let mut digest = Context::new(&SHA256);
        digest.update(&[kind]);
        digest.update(bytes);
        Self(digest.finish())
    }
}
