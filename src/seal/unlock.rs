//! Unwraps the keys of a file.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::{
    KeyFile, KeyRing, KeysFileProblem, Kms, KmsError, MasterKey, WrappedKey,
    file::{Entry, Key},
};
use crate::types::{KeyName, SecretBytes};

/// How long a process that starts waits before it asks for the second time. It waits twice as long each time...
const PAUSE: Duration = Duration::from_millis(250);
/// ...but no longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// A key can't be unwrapped, or wrapped again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the wrapped key {name}: {error}")]
pub struct NotUnwrapped {
    /// The name of the key.
    pub name: KeyName,
    /// Why.
    pub error: KmsError,
}

/// Keys that were unwrapped, so that a file that changes needs the service for its new ones alone.
#[derive(Debug, Default)]
pub(super) struct Unwrapped(Vec<(WrappedKey, SecretBytes)>);

impl Unwrapped {
    fn get(&self, wrapped: &WrappedKey) -> Option<SecretBytes> {
        let mut all = self.0.iter();
        let (_, key) = all.find(|(known, _)| known == wrapped)?;
        Some(key.clone())
    }

    /// Returns the keys of a file. Has `kms` unwrap those that aren't known, and forgets those that aren't in the file.
    ///
    /// # Errors
    /// Returns why a key can't be unwrapped, or what is wrong with the keys. Keys that were unwrapped before that are known
    /// from then on, so that a service which answers only some requests is asked for the others alone.
    pub async fn open(
        &mut self,
        file: &KeyFile,
        kms: &dyn Kms,
    ) -> Result<KeyRing, KeysFileProblem> {
        let opened = self.open_all(file, kms).await;
        match &opened {
            Ok(_) => self.0.retain(|(known, _)| file.has(known)),
            // The service may answer something else next time.
            Err(_) => self.0.retain(|(_, key)| key.len() == MasterKey::BYTES),
        }
        opened
    }

    async fn open_all(
        &mut self,
        file: &KeyFile,
        kms: &dyn Kms,
    ) -> Result<KeyRing, KeysFileProblem> {
        for Entry { name, key, .. } in file.entries() {
            let Key::Wrapped(wrapped) = key else { continue };
            if self.get(wrapped).is_none() {
                let failed = |error| NotUnwrapped {
                    name: name.clone(),
                    error,
                };
                let key = kms.decrypt(wrapped).await.map_err(failed)?;
                self.0.push((wrapped.clone(), key));
            }
        }
        Ok(file.ring(|wrapped| self.get(wrapped))?)
    }

    /// Like [`open`](Self::open), for a process that starts: asks again while that may help, until the service's patience is
    /// over.
    ///
    /// # Errors
    /// Returns what [`open`](Self::open) returned last.
    pub async fn open_at_last(
        &mut self,
        file: &KeyFile,
        kms: &dyn Kms,
    ) -> Result<KeyRing, KeysFileProblem> {
        let until = Instant::now() + kms.patience();
        let (mut pause, mut told) = (PAUSE, String::new());
        loop {
            // Each request has its time. All of them together have this one.
            let problem = match timeout_at(until, self.open(file, kms)).await {
                Ok(Ok(ring)) => return Ok(ring),
                Ok(Err(problem)) => problem,
                Err(_) => return Err(self.too_slow(file)),
            };
            let may_pass = matches!(&problem, KeysFileProblem::Kms(found) if found.error.may_pass);
            if !may_pass || Instant::now() + pause >= until {
                return Err(problem);
            }
            let problem = problem.to_string();
            if problem != told {
                tracing::warn!("the start waits: seal-keys: {problem}");
                told = problem;
            }
            sleep(pause).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }

    /// Returns the problem that the service took so long that the start can wait no longer.
    fn too_slow(&self, file: &KeyFile) -> KeysFileProblem {
        let wrapped = |entry: &&Entry| matches!(entry.key, Key::Wrapped(_));
        let is_open = |entry: &&Entry| match &entry.key {
            Key::Wrapped(key) => self.get(key).is_some(),
            Key::Plain(_) => true,
        };
        let all = file.entries().iter().filter(wrapped).count();
        let open = file
            .entries()
            .iter()
            .filter(wrapped)
            .filter(is_open)
            .count();
        let what = format!("the time was over when {open} of {all} wrapped keys were unwrapped");
        let next = file.entries().iter().find(|entry| !is_open(entry));
        match next.or(file.entries().first()) {
            Some(Entry { name, .. }) => NotUnwrapped {
                name: name.clone(),
                error: KmsError::passing(what),
            }
            .into(),
            None => super::KeysProblem::Empty.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::future::BoxFuture;

    use super::*;

    /// Answers with these, one after the other, and counts how often it was asked.
    #[derive(Debug, Default)]
    struct Scripted {
        answers: Mutex<Vec<Result<SecretBytes, KmsError>>>,
        asked: Mutex<usize>,
        /// How long each answer takes.
        takes: Duration,
    }

    impl Scripted {
        fn of(answers: impl IntoIterator<Item = Result<SecretBytes, KmsError>>) -> Self {
            let mut answers: Vec<_> = answers.into_iter().collect();
            answers.reverse();
            Self {
                answers: Mutex::new(answers),
                ..Self::default()
            }
        }

        fn asked(&self) -> usize {
            *self.asked.lock().unwrap()
        }
    }

    impl Kms for Scripted {
        fn scheme(&self) -> &'static str {
            "test"
        }

        fn patience(&self) -> Duration {
            Duration::from_secs(30)
        }

        fn decrypt<'a>(
            &'a self,
            _key: &'a WrappedKey,
        ) -> BoxFuture<'a, Result<SecretBytes, KmsError>> {
            *self.asked.lock().unwrap() += 1;
            let answer = self.answers.lock().unwrap().pop();
            Box::pin(async {
                sleep(self.takes).await;
                answer.unwrap_or_else(|| Err(KmsError::passing("away")))
            })
        }

        fn generate(&self) -> BoxFuture<'_, Result<WrappedKey, KmsError>> {
            unreachable!()
        }

        fn encrypt<'a>(
            &'a self,
            _key: &'a SecretBytes,
        ) -> BoxFuture<'a, Result<WrappedKey, KmsError>> {
            unreachable!()
        }

        fn encrypt_again<'a>(
            &'a self,
            _key: &'a WrappedKey,
        ) -> BoxFuture<'a, Result<WrappedKey, KmsError>> {
            unreachable!()
        }
    }

    fn names(ring: &KeyRing) -> Vec<&str> {
        ring.ids().map(|id| id.name()).collect()
    }

    fn bytes(of: u8) -> Result<SecretBytes, KmsError> {
        Ok(SecretBytes::new(vec![of; MasterKey::BYTES]))
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_pass_is_waited_for_and_what_lasts_is_not() {
        let file = KeyFile::parse(b"a test:1\nb test:2\n").unwrap();
        let away = || Err(KmsError::passing("away"));
        // What it has answered once isn't asked again.
        let kms = Scripted::of([away(), bytes(1), away(), away(), bytes(2)]);
        let ring = Unwrapped::default().open_at_last(&file, &kms).await;
        assert_eq!(names(&ring.unwrap()), ["a", "b"]);
        assert_eq!(kms.asked(), 5);

        let kms = Scripted::of([Err(KmsError::lasting("no"))]);
        let error = Unwrapped::default().open_at_last(&file, &kms).await;
        assert_eq!(error.unwrap_err().to_string(), "the wrapped key a: no");
        assert_eq!(kms.asked(), 1);

        let (kms, begun) = (Scripted::default(), Instant::now());
        Unwrapped::default()
            .open_at_last(&file, &kms)
            .await
            .unwrap_err();
        assert!(begun.elapsed() <= kms.patience() && kms.asked() > 5);
    }

    /// Each answer comes in time, and all of them don't.
    #[tokio::test(start_paused = true)]
    async fn the_patience_is_for_all_keys_together() {
        let lines: String = (1..=100).map(|n| format!("k{n} test:{n}\n")).collect();
        let file = KeyFile::parse(lines.as_bytes()).unwrap();
        let kms = Scripted {
            takes: Duration::from_secs(1),
            ..Scripted::of((1..=100).map(bytes))
        };
        let begun = Instant::now();
        let slow = Unwrapped::default().open_at_last(&file, &kms).await;
        assert!(begun.elapsed() <= kms.patience(), "{:?}", begun.elapsed());
        let told = slow.unwrap_err().to_string();
        assert!(told.starts_with("the wrapped key k3"), "{told}");
        assert!(told.contains("of 100 wrapped keys"), "{told}");
    }

    #[tokio::test]
    async fn a_file_that_changes_needs_the_service_for_new_keys_alone() {
        let parse = |text: &str| KeyFile::parse(text.as_bytes()).unwrap();
        let kms = Scripted::of([bytes(1), bytes(2)]);
        let mut known = Unwrapped::default();
        known.open(&parse("a test:1"), &kms).await.unwrap();
        let both = parse("b test:2\na test:1");
        known.open(&both, &kms).await.unwrap();
        let turned = parse("a test:1\nb test:2");
        let turned = known.open(&turned, &kms).await.unwrap();
        assert_eq!(names(&turned), ["a", "b"]);
        assert_eq!(kms.asked(), 2);
        // A key that was taken away is forgotten.
        known.open(&parse("b test:2"), &kms).await.unwrap();
        known.open(&both, &kms).await.unwrap_err();
        assert_eq!(kms.asked(), 3);
    }

    #[tokio::test]
    async fn what_is_unwrapped_must_be_a_key_that_no_other_line_has() {
        let file = KeyFile::parse(b"a test:1\nb test:2").unwrap();
        for (answers, told) in [
            ([bytes(1), bytes(1)], "line 2: a line above has this key"),
            (
                [bytes(1), Ok(SecretBytes::new(vec![2; 31]))],
                "line 2: what Vault unwrapped isn't a key of 32 bytes",
            ),
        ] {
            let kms = Scripted::of(answers);
            let opened = Unwrapped::default().open(&file, &kms).await;
            let problem = opened.unwrap_err().to_string();
            assert!(problem.starts_with(told), "{problem}");
        }
    }
}
