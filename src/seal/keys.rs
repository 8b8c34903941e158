//! The keys of a tenant, reread when their file changes.

use std::{
    fmt,
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use super::{KeyRing, KeysProblem};
use crate::{
    meter::{Reload, Trust},
    types::{SecretProblem, read_private},
};

/// How often the file is looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a start waits for the file.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many threads may look at once. One that hangs is left alone, because another file may be in the place of that one
/// meanwhile.
const LOOKING_AT_MOST: usize = 4;

/// The keys of a tenant. Clones share them.
///
/// Whoever seals or opens has the file looked at, once a second at most, and doesn't wait for what comes of it. A file that changed is read again, also when it
/// lies behind a symlink that was swapped. One that is broken changes nothing, and is logged.
#[derive(Clone, Debug, Default)]
pub struct Keys(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    ring: RwLock<Arc<KeyRing>>,
    file: Option<Watched>,
    /// Who is told how many keys there are, and how often they were read again.
    told: OnceLock<Arc<Trust>>,
}

#[derive(Debug)]
struct Watched {
    path: PathBuf,
    looked: Mutex<Looked>,
    /// Each thread that looks has a share in it.
    looking: Arc<()>,
    /// Whether too many of them hang.
    hangs: AtomicBool,
}

#[derive(Debug)]
struct Looked {
    at: Instant,
    /// What the file was when it was last read.
    stamp: Option<Stamp>,
    /// Why it couldn't be read last, if that may pass.
    problem: Option<String>,
}

/// What tells whether a file has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
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
    /// Reading it takes too long.
    #[error("reading takes longer than 5 s: the disk doesn't answer, or the file is a pipe")]
    Hangs,
}

impl Keys {
    /// Returns keys that never change.
    #[must_use]
    pub fn fixed(ring: KeyRing) -> Self {
        Self(Arc::new(Inner {
            ring: RwLock::new(Arc::new(ring)),
            file: None,
            told: OnceLock::new(),
        }))
    }

    /// Reads a key file. Waits for it for 5 s at most.
    ///
    /// # Errors
    /// Returns what is wrong with it.
    pub fn from_file(path: &Path) -> Result<Self, KeysFileProblem> {
        let (stamp, ring) = {
            let (path, (told, read)) = (path.to_owned(), mpsc::sync_channel(1));
            let reading = move || drop(told.send((Stamp::at(&path), self::read(&path))));
            reader(reading).map_err(SecretProblem::Unreadable)?;
            read.recv_timeout(PATIENCE)
                .map_err(|_| KeysFileProblem::Hangs)?
        };
        let ring = ring?;
        Ok(Self(Arc::new(Inner {
            ring: RwLock::new(Arc::new(ring)),
            told: OnceLock::new(),
            file: Some(Watched {
                path: path.to_owned(),
                looked: Mutex::new(Looked {
                    at: Instant::now(),
                    stamp,
                    problem: None,
                }),
                looking: Arc::default(),
                hangs: AtomicBool::new(false),
            }),
        })))
    }

    /// Tells `trust` how many keys there are, and from now on how often they are read again. Only the first call counts.
    pub fn tell(&self, trust: &Arc<Trust>) {
        if self.0.told.set(Arc::clone(trust)).is_ok() {
            trust
                .sealing_keys
                .change(0, self.ring_in_force().ids().count() as u64);
        }
    }

    /// Returns the keys as they are now.
    #[must_use]
    pub fn ring(&self) -> Arc<KeyRing> {
        self.look();
        self.ring_in_force()
    }

    fn ring_in_force(&self) -> Arc<KeyRing> {
        Arc::clone(&self.0.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has the file looked at, if it is time to. Nobody waits for that: the disk may not answer.
    fn look(&self) {
        let Some(file) = &self.0.file else { return };
        // Whoever comes while another one is here takes the keys as they are.
        let Ok(mut looked) = file.looked.try_lock() else {
            return;
        };
        if looked.at.elapsed() < LOOK_EVERY {
            return;
        }
        looked.at = Instant::now();
        drop(looked);
        if Arc::strong_count(&file.looking) > LOOKING_AT_MOST {
            if !file.hangs.swap(true, Ordering::Relaxed) {
                tracing::error!(
                    "seal-keys: the file can't be read, the disk doesn't answer; the keys stay as they were"
                );
            }
            return;
        }
        file.hangs.store(false, Ordering::Relaxed);
        let (keys, looking) = (self.clone(), Arc::clone(&file.looking));
        let reading = reader(move || {
            keys.read_again();
            drop(looking);
        });
        if let Err(error) = reading {
            tracing::error!(%error, "seal-keys: there is no thread to read the file; the keys stay as they were");
        }
    }

    /// Reads the file again if it has changed.
    fn read_again(&self) {
        let Some(file) = &self.0.file else { return };
        let stamp = Stamp::at(&file.path);
        let looked = || file.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if stamp == looked().stamp {
            // What was wrong has passed, and is told again if it comes back.
            looked().problem = None;
            return;
        }
        let read = read(&file.path);
        let problem = match &read {
            // That may pass, without another change of the file.
            Err(problem @ KeysFileProblem::File(SecretProblem::Unreadable(_))) => {
                Some(problem.to_string())
            }
            _ => {
                looked().stamp = stamp;
                None
            }
        };
        let is_told = std::mem::replace(&mut looked().problem, problem.clone()) == problem;
        if problem.is_some() && is_told {
            return;
        }
        let told = self.0.told.get();
        let reloads = told.map(|trust| trust.reloads(Reload::SealingKeys));
        match read {
            Ok(ring) => {
                if let (Some(trust), Some(reloads)) = (told, reloads) {
                    let before = self.ring_in_force().ids().count() as u64;
                    trust.sealing_keys.change(before, ring.ids().count() as u64);
                    reloads.done.up();
                }
                tracing::info!(keys = %ring, "the sealing keys were read again; the first one seals");
                *self.0.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
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

/// Begins a thread that reads the file. A disk that doesn't answer keeps it for as long as it likes.
fn reader(read: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let named = thread::Builder::new().name("seal-keys".to_owned());
    named.spawn(read).map(drop)
}

fn read(path: &Path) -> Result<KeyRing, KeysFileProblem> {
    Ok(KeyRing::parse(&read_private(path)?)?)
}

impl Stamp {
    /// Returns the stamp of the file at `path`, if there is one.
    fn at(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|file| Self::of(&file))
    }

    fn of(file: &Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ring().fmt(f)
    }
}
