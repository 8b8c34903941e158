//! Looks for planted secrets in whatever a broker lets others see, however they are spelled there.
//!
//! It doesn't spell the secrets: it reads what was found in every way that somebody could read it (JSON and its escapes,
//! percent-encoding, hexadecimal, base64, lists of numbers, one inside the other), and looks for any [`WINDOW`] bytes of a
//! secret in a row. So it doesn't matter where a spelling begins, or how much of a secret is there.

mod readings;

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
};

use self::readings::each_reading;

/// So many bytes of a secret in a row are a leak.
pub const WINDOW: usize = 12;

/// A planted secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Canary {
    /// What it is, as in `refresh token`. Several may be of one kind.
    pub kind: &'static str,
    /// The secret.
    pub secret: Vec<u8>,
}

impl Canary {
    /// Returns a secret of this kind. It has to have a [`WINDOW`].
    pub fn new(kind: &'static str, secret: impl Into<Vec<u8>>) -> Self {
        let secret = secret.into();
        assert!(secret.len() >= WINDOW, "{kind} is too short");
        Self { kind, secret }
    }
}

/// A place where secrets are looked for.
pub struct Sink {
    /// Its name.
    pub name: &'static str,
    /// All that is to be seen there.
    pub bytes: Vec<u8>,
    /// The kinds that may be there.
    pub allowed: &'static [&'static str],
}

impl Sink {
    /// Returns a place where no secret may be.
    pub fn new(name: &'static str, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            name,
            bytes: bytes.into(),
            allowed: &[],
        }
    }

    /// Allows secrets of these kinds there.
    #[must_use]
    pub fn allowing(self, allowed: &'static [&'static str]) -> Self {
        Self { allowed, ..self }
    }
}

/// A secret that was found.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leak {
    /// The name of the sink.
    pub sink: &'static str,
    /// The kind of the secret.
    pub kind: &'static str,
    /// How it was spelled.
    pub spelling: String,
    /// What stands around it, as it is read.
    pub context: String,
}

impl fmt::Debug for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            sink,
            kind,
            spelling,
            context,
        } = self;
        write!(f, "{sink}: {kind}, {spelling}: …{context}…")
    }
}

/// Looks for secrets.
pub struct Search {
    /// The kinds of the secrets that have a window.
    windows: HashMap<[u8; WINDOW], &'static str>,
    /// Whether a window may begin so, by a hash of four bytes: most places are told by it.
    begins: Vec<bool>,
}

/// How many hashes of four bytes there are.
const HASHES: usize = 1 << 16;

impl Search {
    /// Returns a search for these secrets.
    pub fn new(canaries: &[Canary]) -> Self {
        let (mut windows, mut begins) = (HashMap::new(), vec![false; HASHES]);
        for canary in canaries {
            for window in canary.secret.windows(WINDOW) {
                let window: [u8; WINDOW] = window.try_into().unwrap();
                begins[hash(&window)] = true;
                windows.insert(window, canary.kind);
            }
        }
        Self { windows, begins }
    }

    /// Returns the secrets that are found where they may not be, each kind and spelling once a sink.
    pub fn leaks(&self, sinks: &[Sink]) -> Vec<Leak> {
        let mut leaks = Vec::new();
        for sink in sinks {
            let mut known = BTreeSet::new();
            each_reading(&sink.bytes, &mut |spelling, bytes| {
                self.look(bytes, &mut |kind, context| {
                    let is_new = known.insert((kind, spelling.to_owned()));
                    if is_new && !sink.allowed.contains(&kind) {
                        leaks.push(Leak {
                            sink: sink.name,
                            kind,
                            spelling: spelling.to_owned(),
                            context,
                        });
                    }
                });
            });
        }
        leaks
    }

    /// Returns the kinds that a sink has, also those that it may have.
    pub fn kinds_in(&self, bytes: &[u8]) -> BTreeSet<&'static str> {
        let mut kinds = BTreeSet::new();
        each_reading(bytes, &mut |_, bytes| {
            self.look(bytes, &mut |kind, _| _ = kinds.insert(kind));
        });
        kinds
    }

    fn look(&self, bytes: &[u8], found: &mut impl FnMut(&'static str, String)) {
        for (at, window) in bytes.windows(WINDOW).enumerate() {
            if !self.begins[hash(window)] {
                continue;
            }
            if let Some(kind) = self.windows.get(window) {
                let around = &bytes[at.saturating_sub(60)..(at + 60).min(bytes.len())];
                found(kind, String::from_utf8_lossy(around).into_owned());
            }
        }
    }
}

fn hash(window: &[u8]) -> usize {
    let word = u32::from_le_bytes([window[0], window[1], window[2], window[3]]);
    (word.wrapping_mul(0x9e37_79b1) >> 16) as usize
}
