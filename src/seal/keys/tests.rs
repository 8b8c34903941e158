//! A key file that changes while it is read.

use std::{fs, path::PathBuf, time::Duration};

use futures_util::{future::BoxFuture, stream};

use super::*;
use crate::{
    seal::{KmsError, MasterKey, WrappedKey},
    types::{KeyName, SecretBytes},
};

/// A service that takes so long that another file lies there when it answers.
#[derive(Debug)]
struct Slow {
    path: PathBuf,
    /// What is in that file.
    next: Mutex<Option<String>>,
}

impl Kms for Slow {
    fn scheme(&self) -> &'static str {
        "test"
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(20)
    }

    fn decrypt<'a>(&'a self, _: &'a WrappedKey) -> BoxFuture<'a, Result<SecretBytes, KmsError>> {
        if let Some(next) = self.next.lock().unwrap().take() {
            write(&self.path, &next);
        }
        Box::pin(async { Ok(SecretBytes::new(vec![1; MasterKey::BYTES])) })
    }

    fn generate(&self) -> BoxFuture<'_, Result<WrappedKey, KmsError>> {
        unreachable!()
    }

    fn encrypt<'a>(&'a self, _: &'a SecretBytes) -> BoxFuture<'a, Result<WrappedKey, KmsError>> {
        unreachable!()
    }

    fn encrypt_again<'a>(
        &'a self,
        _: &'a WrappedKey,
    ) -> BoxFuture<'a, Result<WrappedKey, KmsError>> {
        unreachable!()
    }
}

/// Puts another file in the place of this one.
fn write(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    let next = path.with_extension("next");
    fs::write(&next, text).unwrap();
    fs::set_permissions(&next, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&next, path).unwrap();
}

fn plain(name: &str) -> String {
    let key = MasterKey::generate(&KeyName::new(name).unwrap()).unwrap();
    String::from_utf8(key.line().to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_file_that_was_replaced_before_its_keys_were_unwrapped_never_seals() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seal.keys");
    write(&path, &plain("a"));
    let kms = Arc::new(Slow {
        path: path.clone(),
        next: Mutex::new(Some(plain("c"))),
    });
    let keys = Keys::read(&path, Some(kms), Demands::default()).unwrap();
    let sealing = || keys.ring().sealing().unwrap().name().to_owned();
    let file = keys.0.file.as_ref().unwrap();
    let mut following = Following::new(&keys, file, stream::pending());
    write(&path, "b test:1\n");
    following.look().await;
    assert_eq!(sealing(), "a");
    following.look().await;
    assert_eq!(sealing(), "c");
    // The control: nobody replaces it.
    write(&path, "b test:1\n");
    following.look().await;
    assert_eq!(sealing(), "b");
}
