//! The keys of a tenant, reread when their file changes.

use std::{
    convert::Infallible,
    fmt,
    future::pending,
    path::{Path, PathBuf},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, Guard};
use futures_util::{Stream, StreamExt};
use tokio::time::timeout;

use super::{
    Demands, KeyFile, KeyRing, KeysProblem, Kms, KmsError, NotUnwrapped,
    stamp::{Stamp, stamped},
    unlock::Unwrapped,
};
use crate::{
    meter::{KeyChange, Reload, Trust},
    reading::{Hangs, Reading},
    types::{SecretProblem, read_private},
};

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a service that couldn't unwrap a key is left alone, at most. It begins with a second, and is twice as long each
/// time.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The keys of a tenant. Clones share them.
///
/// The file is looked at once a second while somebody [follows](Self::follow) it, as brokers do; commands have the keys that it had at their start. Nobody waits
/// for what comes of a look. A file that changed is read again, also when it lies behind a symlink that was swapped. One that is broken changes nothing, and is
/// logged.
#[derive(Clone, Debug, Default)]
pub struct Keys(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    ring: ArcSwap<KeyRing>,
    file: Option<Watched>,
    /// Who is told how many keys there are, and how often they were read again.
    told: OnceLock<Arc<Trust>>,
}

#[derive(Debug)]
struct Watched {
    path: PathBuf,
    looked: Mutex<Looked>,
    reading: Reading,
    /// Whether the file couldn't be looked at last, because earlier looks hang.
    hangs: AtomicBool,
    /// Who unwraps keys.
    kms: Option<Arc<dyn Kms>>,
    /// What the keys have to be.
    demands: Demands,
    /// What the file held at the start, while its keys are still wrapped.
    locked: Mutex<Option<KeyFile>>,
    /// Whoever has keys unwrapped holds it.
    unwrapped: Mutex<Unwrapped>,
}

#[derive(Debug)]
struct Looked {
    /// How long until the next look, at least.
    pause: Duration,
    /// When that is over.
    next: Instant,
    /// What the file was when it was last read.
    stamp: Option<Stamp>,
    /// Why it couldn't be read last, if that may pass.
    problem: Option<String>,
}

/// What is wrong with a key file. It quotes neither the path nor what the file holds.
#[derive(Debug, thiserror::Error)]
pub enum KeysFileProblem {
    /// It can't be read, or others may read it.
    #[error(transparent)]
    File(#[from] SecretProblem),
    /// It holds something else than keys.
    #[error(transparent)]
    Text(#[from] KeysProblem),
    /// A key in it is wrapped, and stays so.
    #[error(transparent)]
    Kms(#[from] NotUnwrapped),
    /// Reading it takes too long.
    #[error(transparent)]
    Hangs(#[from] Hangs),
}

impl KeysFileProblem {
    /// Whether the service that unwraps keys failed, or answered something that is no key: its next answer may be another one.
    fn is_of_the_service(&self) -> bool {
        matches!(self, Self::Kms(_) | Self::Text(KeysProblem::Unwrapped(_)))
    }
}

impl Keys {
    /// Returns keys that never change.
    #[must_use]
    pub fn fixed(ring: KeyRing) -> Self {
        Self(Arc::new(Inner {
            ring: ArcSwap::from_pointee(ring),
            file: None,
            told: OnceLock::new(),
        }))
    }

    /// Reads a key file none of whose keys is wrapped. Waits for it for 5 s at most.
    ///
    /// # Errors
    /// Returns what is wrong with it.
    pub fn from_file(path: &Path) -> Result<Self, KeysFileProblem> {
        Self::read(path, None, Demands::default())
    }

    /// Reads a key file whose keys may be wrapped by `kms`, which isn't asked yet. If some are, nothing can be sealed or opened
    /// until [`unlock`](Self::unlock) has succeeded.
    ///
    /// # Errors
    /// Returns what is wrong with the file.
    pub fn wrapped_by(kms: Arc<dyn Kms>, path: &Path) -> Result<Self, KeysFileProblem> {
        Self::read(path, Some(kms), Demands::default())
    }

    /// Reads a key file whose keys have to be what `demands` say, now and whenever the file changes. The other methods demand
    /// nothing.
    ///
    /// # Errors
    /// Returns what is wrong with the file.
    pub fn read(
        path: &Path,
        kms: Option<Arc<dyn Kms>>,
        demands: Demands,
    ) -> Result<Self, KeysFileProblem> {
        let reading = Reading::default();
        let (stamp, file) = {
            let (path, kms, demands) = (path.to_owned(), kms.clone(), demands.clone());
            reading.wait(move || stamped(&path, || read(&path, kms.as_deref(), &demands)))?
        };
        let file = file?;
        let (ring, locked) = match file.is_wrapped() {
            true => (file.locked(), Some(file)),
            false => (demands.ring(&file, |_| None)?, None),
        };
        Ok(Self(Arc::new(Inner {
            ring: ArcSwap::from_pointee(ring),
            told: OnceLock::new(),
            file: Some(Watched {
                path: path.to_owned(),
                looked: Mutex::new(Looked {
                    pause: LOOK_EVERY,
                    next: Instant::now(),
                    stamp,
                    problem: None,
                }),
                reading,
                hangs: AtomicBool::new(false),
                kms,
                demands,
                locked: Mutex::new(locked),
                unwrapped: Mutex::default(),
            }),
        })))
    }

    /// Has the keys unwrapped, if some are wrapped. Asks again while that may help, for as long as the service says.
    ///
    /// # Errors
    /// Returns why not. Then nothing can be sealed or opened, as before.
    pub async fn unlock(&self) -> Result<(), KeysFileProblem> {
        let Some(file) = &self.0.file else {
            return Ok(());
        };
        let locked = || file.locked.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(text), Some(kms)) = (locked().clone(), &file.kms) else {
            return Ok(());
        };
        let mut unwrapped = Unwrapped::default();
        let ring = unwrapped.open_at_last(&text, &**kms).await?;
        file.demands.check_ring(&ring)?;
        tracing::info!(keys = %ring, "the sealing keys were unwrapped; the first one seals");
        *file
            .unwrapped
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = unwrapped;
        self.put_in_force(ring);
        *locked() = None;
        Ok(())
    }

    /// Tells `trust` how many keys there are, and from now on how often they are read again. Only the first call counts.
    pub fn tell(&self, trust: &Arc<Trust>) {
        if self.0.told.set(Arc::clone(trust)).is_ok() {
            trust
                .sealing_keys
                .change(0, self.ring().ids().count() as u64);
        }
    }

    /// Returns the keys as they are now.
    #[must_use]
    pub fn ring(&self) -> Guard<Arc<KeyRing>> {
        self.0.ring.load()
    }

    /// Has the file looked at every second, and whenever `asked` tells. So also a broker that nobody calls has the keys that its
    /// file has, and the call that comes next seals with them.
    pub async fn follow(&self, asked: impl Stream<Item = ()> + Send) -> Infallible {
        let Some(file) = &self.0.file else {
            return pending().await;
        };
        let mut asked = pin!(asked);
        loop {
            if let Ok(Some(())) = timeout(LOOK_EVERY, asked.next()).await {
                file.looked().next = Instant::now();
            }
            self.look();
        }
    }

    fn put_in_force(&self, ring: KeyRing) {
        self.0.ring.store(Arc::new(ring));
    }

    /// Has the file looked at, unless it is too early. Nobody waits for that: the disk may not answer.
    fn look(&self) {
        let Some(file) = &self.0.file else { return };
        if file.looked().next > Instant::now() || file.is_locked() {
            return;
        }
        let keys = self.clone();
        match file.reading.begin(move || keys.read_again()) {
            Ok(()) => file.hangs.store(false, Ordering::Relaxed),
            Err(hangs) => {
                if !file.hangs.swap(true, Ordering::Relaxed) {
                    tracing::error!("seal-keys: {hangs}; the keys stay as they were");
                }
            }
        }
    }

    /// Reads the file again if it has changed.
    fn read_again(&self) {
        let Some(file) = &self.0.file else { return };
        let (path, demands) = (&file.path, &file.demands);
        if Stamp::at(path) == file.looked().stamp {
            // What was wrong has passed, and is told again if it comes back.
            file.looked().problem = None;
            return;
        }
        let (stamp, text) = stamped(path, || read(path, file.kms.as_deref(), demands));
        let read = match text {
            Ok(text) if text.is_wrapped() => match file.unwrap(&text) {
                Some(opened) => opened.and_then(|ring| {
                    demands.check_ring(&ring)?;
                    Ok(ring)
                }),
                // Another thread is at it.
                None => return,
            },
            Ok(text) => demands.ring(&text, |_| None).map_err(KeysFileProblem::from),
            Err(problem) => Err(problem),
        };
        if read.is_ok() && Stamp::at(path) != stamp {
            // To read it, or to have its keys unwrapped, took so long that another one is there: its keys may be withdrawn. The
            // next look reads that one.
            return;
        }
        let told = self.0.told.get();
        let reloads = told.map(|trust| trust.reloads(Reload::SealingKeys));
        let problem = {
            let mut looked = file.looked();
            looked.pause = match &read {
                Err(problem) if problem.is_of_the_service() => {
                    (2 * looked.pause).min(LONGEST_PAUSE)
                }
                _ => LOOK_EVERY,
            };
            // Who follows the file comes a second later anyway.
            looked.next = Instant::now() + (looked.pause - LOOK_EVERY);
            match &read {
                // These may pass, without another change of the file.
                Err(problem @ KeysFileProblem::File(SecretProblem::Unreadable(_))) => {
                    Some(problem.to_string())
                }
                Err(problem) if problem.is_of_the_service() => Some(problem.to_string()),
                _ => {
                    looked.stamp = stamp;
                    None
                }
            }
        };
        let is_told = std::mem::replace(&mut file.looked().problem, problem.clone()) == problem;
        if problem.is_some() && is_told {
            // Told once, and counted each time.
            if let (Err(problem), Some(reloads)) = (&read, reloads)
                && problem.is_of_the_service()
            {
                reloads.failed.up();
            }
            return;
        }
        match read {
            Ok(ring) => {
                let before = self.ring();
                if let (Some(trust), Some(reloads)) = (told, reloads) {
                    let count = |ring: &KeyRing| ring.ids().count() as u64;
                    trust.sealing_keys.change(count(&before), count(&ring));
                    reloads.done.up();
                }
                tracing::info!(keys = %ring, "the sealing keys were read again; the first one seals");
                self.tell_of_change(&before, &ring);
                self.put_in_force(ring);
            }
            Err(problem) => {
                if let Some(reloads) = reloads {
                    reloads.failed.up();
                }
                tracing::error!("seal-keys: {problem}; the keys stay as they were");
            }
        }
    }
}

impl Keys {
    /// Whether both are clones of the same.
    #[must_use]
    pub fn are(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Says that another key seals from now on. Who changes keys as the documentation says appends a new one first.
    fn tell_of_change(&self, before: &KeyRing, now: &KeyRing) {
        let (Some(old), Some(new)) = (before.sealing(), now.sealing()) else {
            return;
        };
        if new.is_same_key(old) {
            return;
        }
        let change = match before.ids().any(|id| id.is_same_key(new)) {
            true => KeyChange::Known,
            false => KeyChange::Unknown,
        };
        if let Some(trust) = self.0.told.get() {
            trust.sealing_key_changes(change).up();
        }
        match change {
            KeyChange::Known => {
                tracing::warn!(%old, %new, "another sealing key seals from now on, as the key file says");
            }
            KeyChange::Unknown => tracing::error!(
                %old,
                %new,
                "a sealing key that wasn't in the key file before seals from now on: if nobody made it, somebody else writes \
                 the key file, and reads what is stored from now on; if somebody did, other brokers may lack it"
            ),
        }
    }
}

impl Watched {
    fn looked(&self) -> MutexGuard<'_, Looked> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_locked(&self) -> bool {
        let locked = self.locked.lock();
        locked.unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Has the keys of a file that changed unwrapped, on a thread where that may take its time. Returns `None` if another
    /// thread does so.
    fn unwrap(&self, file: &KeyFile) -> Option<Result<KeyRing, KeysFileProblem>> {
        let mut unwrapped = match self.unwrapped.try_lock() {
            Ok(unwrapped) => unwrapped,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        // What has wrapped keys was checked to have somebody who unwraps them.
        let kms = self.kms.as_ref()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                let error = KmsError::passing(format!("there is no runtime to ask in: {error}"));
                let name = file.entries().first()?.name.clone();
                return Some(Err(NotUnwrapped { name, error }.into()));
            }
        };
        let opened = runtime.block_on(unwrapped.open(file, &**kms));
        // The resolver of names may hang.
        runtime.shutdown_background();
        Some(opened)
    }
}

fn read(path: &Path, kms: Option<&dyn Kms>, demands: &Demands) -> Result<KeyFile, KeysFileProblem> {
    let file = KeyFile::parse(&read_private(path)?)?;
    file.check(kms)?;
    demands.check_file(&file)?;
    Ok(file)
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ring().fmt(f)
    }
}

#[cfg(test)]
mod tests;
