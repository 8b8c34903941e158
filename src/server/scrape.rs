//! The text of `/metrics`. With many tenants it takes a while to write, and the thread that begins it also answers probes.
//! So it is written on another thread, one text at a time, and all who waited for their turn get the same one.
//!
//! A text stays in memory until it is sent, which its reader may draw out. So there are few of them at a time.

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use hyper::body::Bytes;
use tokio::{sync::Mutex, task::spawn_blocking, time::Instant};

/// While so many texts are being sent, the last of them is given to whoever asks.
const TEXTS: usize = 4;
/// But none that was begun longer ago.
const OLDEST: Duration = Duration::from_secs(10);

/// Writes the text for those who ask for it. Clones share their turns.
#[derive(Clone)]
pub(super) struct Scrapes {
    write: Arc<dyn Fn() -> String + Send + Sync>,
    /// The texts that are being sent, the last one last.
    sent: Arc<Mutex<Vec<Sent>>>,
}

/// A text that was written.
struct Sent {
    /// When it was begun.
    began: Instant,
    /// It is kept for as long as it is sent to somebody.
    text: Weak<String>,
}

struct Text(Arc<String>);

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Scrapes {
    /// Has the text written by `write`.
    pub fn new(write: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self {
            write: Arc::new(write),
            sent: Arc::default(),
        }
    }

    /// Returns a text that was begun after this was called, or an older one while [many](TEXTS) are being sent. `None` if writing
    /// it panicked.
    pub async fn text(&self) -> Option<Bytes> {
        let asked = Instant::now();
        let mut turn = Arc::clone(&self.sent).lock_owned().await;
        turn.retain(|sent| sent.text.strong_count() > 0);
        let are_many =
            turn.len() >= TEXTS && turn.last().is_some_and(|s| s.began.elapsed() < OLDEST);
        let last = turn.last();
        let last = last.filter(|last| last.began >= asked || are_many);
        if let Some(text) = last.and_then(|last| last.text.upgrade()) {
            return Some(Bytes::from_owner(Text(text)));
        }
        let write = Arc::clone(&self.write);
        // The turn lasts until the text is written, also if the client leaves.
        let written = spawn_blocking(move || {
            let began = Instant::now();
            let text = Arc::new(write());
            turn.push(Sent {
                began,
                text: Arc::downgrade(&text),
            });
            Text(text)
        });
        written.await.ok().map(Bytes::from_owner)
    }
}

impl fmt::Debug for Scrapes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrapes").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Mutex, mpsc},
        time::Duration,
    };

    use futures_util::{FutureExt, future::join_all};
    use tokio::time::timeout;

    use super::*;

    /// One thread answers probes and begins texts. While one is written it does other things, and the crowd that came
    /// meanwhile has one text written, and not one each.
    #[tokio::test]
    async fn a_text_is_written_elsewhere_and_once_for_all_who_wait() {
        let (go_on, goes_on) = mpsc::channel::<()>();
        let (goes_on, (written, count)) = (Mutex::new(goes_on), mpsc::channel());
        let scrapes = Scrapes::new(move || {
            goes_on.lock().unwrap().recv().unwrap();
            written.send(()).unwrap();
            "text".to_owned()
        });
        let mut first = Box::pin(scrapes.text());
        assert!(
            (&mut first).now_or_never().is_none(),
            "the thread is free meanwhile"
        );
        let mut crowd = Box::pin(join_all((0..10).map(|_| scrapes.text())));
        assert!((&mut crowd).now_or_never().is_none());
        go_on.send(()).unwrap();
        go_on.send(()).unwrap();
        let patience = Duration::from_secs(20);
        let all = timeout(patience, async { tokio::join!(first, crowd) });
        let (first, crowd) = all.await.unwrap();
        assert!(
            crowd
                .into_iter()
                .chain([first])
                .all(|text| text.unwrap() == "text")
        );
        // The first one was begun before or after the crowd came.
        assert!((1..=2).contains(&count.try_iter().count()));
    }

    #[tokio::test]
    async fn a_client_that_leaves_keeps_its_turn_until_its_text_is_written() {
        let (go_on, goes_on) = mpsc::channel::<()>();
        let (goes_on, (begun, count)) = (Mutex::new(goes_on), mpsc::channel());
        let scrapes = Scrapes::new(move || {
            begun.send(()).unwrap();
            goes_on.lock().unwrap().recv().unwrap();
            String::new()
        });
        for _ in 0..50 {
            _ = scrapes.text().now_or_never();
        }
        assert_eq!(count.recv_timeout(Duration::from_secs(20)), Ok(()));
        assert_eq!(count.try_iter().count(), 0, "one at a time");
        go_on.send(()).unwrap();
        go_on.send(()).unwrap();
        scrapes.text().await.unwrap();
    }

    /// Numbers its texts.
    fn numbering() -> Scrapes {
        let number = Mutex::new(0);
        Scrapes::new(move || {
            let mut number = number.lock().unwrap();
            *number += 1;
            number.to_string()
        })
    }

    /// Strangers ask, and don't read.
    #[tokio::test]
    async fn few_texts_are_held_whoever_reads_them_slowly() {
        let scrapes = numbering();
        let mut unread = Vec::new();
        for _ in 0..32 {
            unread.push(scrapes.text().await.unwrap());
        }
        let mut texts = unread.clone();
        texts.dedup();
        assert_eq!(texts, ["1", "2", "3", "4"]);
        // One of them has gone.
        drop((texts, unread.split_off(3)));
        assert_eq!(&*scrapes.text().await.unwrap(), b"5");
        // Nobody gets an old one.
        unread.push(scrapes.text().await.unwrap());
        assert_eq!(&*scrapes.text().await.unwrap(), b"6");
        tokio::time::pause();
        tokio::time::advance(OLDEST).await;
        assert_eq!(&*scrapes.text().await.unwrap(), b"7");
    }

    #[tokio::test]
    async fn a_text_is_never_older_than_the_question() {
        let scrapes = numbering();
        let first = scrapes.text().await.unwrap();
        assert_eq!(
            (&*first, &*scrapes.text().await.unwrap()),
            (&b"1"[..], &b"2"[..])
        );
    }
}
