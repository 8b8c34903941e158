//! The keys of a tenant, reread when their file changes.

use std::{
    convert::Infallible,
    fmt,
    future::pending,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
};

use arc_swap::{ArcSwap, Guard};
use futures_util::Stream;

use super::{
    Demands, KeyFile, KeyRing, KeysProblem, Kms, NotUnwrapped,
    follow::{Following, Mark},
    unlock::Unwrapped,
};
use crate::{
    meter::{KeyChange, Reload, Trust},
    reading::{Hangs, Reading},
    types::{SecretProblem, lock, read_private},
};

/// The keys of a tenant. Clones share them.
///
/// The file is read again while somebody [follows](Self::follow) it, as brokers do; commands have the keys that it had at their start. One that is broken changes
/// nothing, and is logged.
#[derive(Clone, Debug, Default)]
pub struct Keys(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    ring: ArcSwap<KeyRing>,
    file: Option<Watched>,
    /// Who is told how many keys there are, and how often they were read again.
    told: OnceLock<Arc<Trust>>,
}

/// A key file that may change.
#[derive(Debug)]
pub(super) struct Watched {
    pub path: PathBuf,
    /// Who unwraps keys.
    pub kms: Option<Arc<dyn Kms>>,
    /// What the keys have to be.
    pub demands: Demands,
    /// What the file held at the start, until it is followed.
    mark: Mutex<Option<Mark>>,
    /// The same, while its keys are still wrapped.
    locked: Mutex<Option<KeyFile>>,
    /// Whoever has keys unwrapped holds it.
    pub unwrapped: tokio::sync::Mutex<Unwrapped>,
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
    pub(super) fn is_of_the_service(&self) -> bool {
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
    /// until [`unlock`](Self::unlock) has succeeded. The keys have to be what `demands` say, now and whenever the file changes.
    ///
    /// # Errors
    /// Returns what is wrong with the file.
    pub fn read(
        path: &Path,
        kms: Option<Arc<dyn Kms>>,
        demands: Demands,
    ) -> Result<Self, KeysFileProblem> {
        let own = path.to_owned();
        let text = Reading::default().wait(move || read_private(&own))??;
        let file = parse(&text, kms.as_deref(), &demands)?;
        let mark = Mark::of(&Ok(text));
        let (ring, locked) = match file.is_wrapped() {
            true => (file.locked(), Some(file)),
            false => (demands.ring(&file, |_| None)?, None),
        };
        Ok(Self(Arc::new(Inner {
            ring: ArcSwap::from_pointee(ring),
            told: OnceLock::new(),
            file: Some(Watched {
                path: path.to_owned(),
                kms,
                demands,
                mark: Mutex::new(Some(mark)),
                locked: Mutex::new(locked),
                unwrapped: tokio::sync::Mutex::default(),
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
        let locked = || lock(&file.locked);
        let (Some(text), Some(kms)) = (locked().clone(), &file.kms) else {
            return Ok(());
        };
        let mut unwrapped = Unwrapped::default();
        let ring = unwrapped.open_at_last(&text, &**kms).await?;
        file.demands.check_ring(&ring)?;
        tracing::info!(keys = %ring, "the sealing keys were unwrapped; the first one seals");
        *file.unwrapped.lock().await = unwrapped;
        self.put_in_force(Arc::new(ring));
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

    /// Has the file followed by the [rules](crate::reading::Looks) for all files, and looked at whenever `asked` tells. So also a broker that nobody
    /// calls has the keys that its file has, and the call that comes next seals with them.
    pub async fn follow(&self, asked: impl Stream<Item = ()> + Send) -> Infallible {
        let Some(file) = &self.0.file else {
            return pending().await;
        };
        let mut following = Following::new(self, file, asked);
        loop {
            following.look().await;
        }
    }

    fn put_in_force(&self, ring: Arc<KeyRing>) {
        self.0.ring.store(ring);
    }

    /// Puts the keys of a file that changed in force. Returns whether they are others than before.
    pub(super) fn replace(&self, ring: KeyRing) -> bool {
        let before = self.ring();
        if before.ids().eq(ring.ids()) {
            return false;
        }
        let ring = Arc::new(ring);
        // Before anybody is told of them: the next call seals with them.
        self.put_in_force(Arc::clone(&ring));
        if let Some(trust) = self.0.told.get() {
            let count = |ring: &KeyRing| ring.ids().count() as u64;
            trust.sealing_keys.change(count(&before), count(&ring));
            trust.reloads(Reload::SealingKeys).done.up();
        }
        tracing::info!(keys = %ring, "the sealing keys were read again; the first one seals");
        self.tell_of_change(&before, &ring);
        true
    }

    /// Takes note that a file that changed can't be used.
    pub(super) fn count_refusal(&self) {
        if let Some(trust) = self.0.told.get() {
            trust.reloads(Reload::SealingKeys).failed.up();
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
    /// Returns the mark of what the file held at the start, for the first one who follows it.
    pub(super) fn take_mark(&self) -> Option<Mark> {
        lock(&self.mark).take()
    }

    /// Whether the keys that the file held at the start are still wrapped.
    pub(super) fn is_locked(&self) -> bool {
        lock(&self.locked).is_some()
    }
}

/// Reads the text of a key file, and checks what is to be seen in it.
pub(super) fn parse(
    text: &[u8],
    kms: Option<&dyn Kms>,
    demands: &Demands,
) -> Result<KeyFile, KeysProblem> {
    let file = KeyFile::parse(text)?;
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
