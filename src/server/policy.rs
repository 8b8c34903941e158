//! Takes up a policy that has changed, while the broker serves.

use std::{convert::Infallible, sync::atomic::Ordering};

use super::signals::Hangups;
use crate::{
    access::{Guard, Policy},
    audit::{Audit, Event, Hash, Kind},
    config::{PolicyFile, Problem},
    reading::{Complaint, Hangs, Look, Looks},
};

/// How many mistakes in a file are logged.
const TOLD: usize = 20;

/// What the file held when it was looked at last.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Text([u8; 32]),
    Unreadable(String),
}

/// Puts each new policy of `file` in force, for ever, by the [rules](Looks) for all files. `in_force` is the digest of the text that
/// the policy in force was made of.
///
/// A file that is broken changes nothing: the log says so, and a counter goes up. It does so each time if SIGHUP asks.
pub(super) async fn follow(
    file: PolicyFile,
    mut in_force: [u8; 32],
    (guard, audit): (Guard, Audit),
    hangups: Hangups,
) -> Infallible {
    let mut seen = Seen::Text(in_force);
    let mut wrong = Complaint::default();
    let mut looks = Looks::new(hangups.stream());
    loop {
        let own = file.clone();
        let Look { found, was_asked } = looks.next(move || own.read()).await;
        let found = found.unwrap_or_else(|hangs| Err(hanging(hangs)));
        let now = match &found {
            Ok(text) => Seen::Text(text.digest()),
            Err(problem) => Seen::Unreadable(problem.to_string()),
        };
        let is_new = now != seen;
        let is_told_again = wrong.again(was_asked).is_some();
        if !(is_new || was_asked || is_told_again) {
            continue;
        }
        seen = now;
        let counts = guard.counts();
        if seen == Seen::Text(in_force) {
            wrong.note_over();
            counts.is_stale.store(0, Ordering::Relaxed);
            tracing::info!("the policy was read again, and is the one in force");
            continue;
        }
        let policy = match found {
            Ok(text) => file.parse(&text),
            Err(problem) => Err(vec![problem]),
        };
        match policy {
            Ok(policy) => {
                wrong.note_over();
                let callers = policy.callers().len();
                for warning in file.warnings(&policy) {
                    tracing::warn!("{warning}");
                }
                if let Seen::Text(digest) = seen {
                    in_force = digest;
                    tell(&audit, digest, &policy);
                }
                guard.replace(policy);
                counts.reloads.fetch_add(1, Ordering::Relaxed);
                counts.is_stale.store(0, Ordering::Relaxed);
                tracing::info!(callers, "the policy was read again, and is in force");
            }
            Err(problems) => {
                if is_new || was_asked {
                    counts.failed_reloads.fetch_add(1, Ordering::Relaxed);
                }
                counts.is_stale.store(1, Ordering::Relaxed);
                complain(&problems);
                wrong.note_told("the policy");
            }
        }
    }
}

/// Tells the audit trail of the policy that comes into force, whose text has this digest. What is judged by it has its event later.
pub(super) fn tell(audit: &Audit, digest: [u8; 32], policy: &Policy) {
    let kind = Kind::Policy(Hash::from_bytes(digest));
    let mut event = Event::new(kind, None, "");
    event.count = u64::try_from(policy.callers().len()).ok();
    audit.note(event);
}

fn hanging(hangs: Hangs) -> Problem {
    Problem {
        setting: "policy".to_owned(),
        given_as: None,
        message: hangs.to_string(),
    }
}

fn complain(problems: &[Problem]) {
    for problem in problems.iter().take(TOLD) {
        tracing::error!("{problem}");
    }
    tracing::error!(
        mistakes = problems.len(),
        "the policy can't be read again: the one before stays in force"
    );
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::PathBuf, time::Duration};

    use tempfile::TempDir;
    use testkit::captured_log::CapturedLog;
    use tokio::{sync::watch, task::JoinHandle, time::sleep};

    use super::*;
    use crate::access::Ways;

    const ONE: &str =
        "[callers.one]\nroles = [\"admin\"]\nproviders = \"*\"\ndns-names = [\"one.example\"]\n";
    const TWO: &str =
        "[callers.two]\nroles = [\"admin\"]\nproviders = \"*\"\ndns-names = [\"two.example\"]\n";

    /// A policy that is followed. Its file is a link, as in Kubernetes.
    struct Followed {
        directory: TempDir,
        guard: Guard,
        hang_up: watch::Sender<()>,
        following: JoinHandle<Infallible>,
    }

    impl Followed {
        fn start(text: &str) -> Self {
            let directory = tempfile::tempdir().unwrap();
            fs::write(directory.path().join("first"), text).unwrap();
            let link = directory.path().join("policy.toml");
            symlink("first", &link).unwrap();
            let file = PolicyFile::new(link, ["a:b".parse().unwrap()].into(), Ways::all());
            let read = file.read().unwrap();
            let guard = Guard::of(file.parse(&read).unwrap());
            let (hang_up, told) = watch::channel(());
            let told_of = (guard.clone(), Audit::off());
            let following = follow(file, read.digest(), told_of, Hangups::of(told));
            Self {
                following: tokio::spawn(following),
                directory,
                guard,
                hang_up,
            }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        /// Swaps the link, in one step.
        fn point_to(&self, name: &str, text: &str) {
            fs::write(self.path(name), text).unwrap();
            let new = self.path("new-link");
            symlink(name, &new).unwrap();
            fs::rename(new, self.path("policy.toml")).unwrap();
        }

        fn has(&self, name: &str) -> bool {
            self.guard.policy().unwrap().caller(name).is_some()
        }

        fn counted(&self) -> [u64; 3] {
            let counts = self.guard.counts();
            [&counts.reloads, &counts.failed_reloads, &counts.is_stale]
                .map(|count| count.load(Ordering::Relaxed))
        }
    }

    impl Drop for Followed {
        fn drop(&mut self) {
            self.following.abort();
        }
    }

    const LOOKED: Duration = Duration::from_secs(5);
    const SETTLES: Duration = Looks::SETTLES;

    #[tokio::test(start_paused = true)]
    async fn a_link_that_is_swapped_is_a_new_policy() {
        let followed = Followed::start(ONE);
        sleep(LOOKED).await;
        assert!(followed.has("one"));
        assert_eq!(followed.counted(), [0, 0, 0]);
        followed.point_to("second", TWO);
        sleep(LOOKED).await;
        assert!(followed.has("two") && !followed.has("one"));
        assert_eq!(followed.counted(), [1, 0, 0]);
        // Another file with the same content is the same policy.
        followed.point_to("third", TWO);
        sleep(LOOKED).await;
        assert_eq!(followed.counted(), [1, 0, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_file_keeps_the_policy_and_is_counted_once() {
        let followed = Followed::start(ONE);
        let mut failed = 0;
        for broken in ["[callers", "", "[callers.two]\nroles = [\"admins\"]"] {
            followed.point_to("second", broken);
            sleep(3 * LOOKED).await;
            failed += 1;
            assert!(followed.has("one"), "{broken}");
            assert_eq!(followed.counted(), [0, failed, 1], "{broken}");
        }
        fs::remove_file(followed.path("policy.toml")).unwrap();
        sleep(3 * LOOKED).await;
        assert!(followed.has("one"));
        assert_eq!(followed.counted(), [0, failed + 1, 1]);
        // The one before comes back: it was in force all the time.
        followed.point_to("second", ONE);
        sleep(LOOKED).await;
        assert_eq!(followed.counted(), [0, failed + 1, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_stays_broken_is_told_again_and_counted_once() {
        let (log, _logging) = CapturedLog::of_this_thread();
        let followed = Followed::start(ONE);
        followed.point_to("second", "[callers");
        let told = || {
            let text = log.text();
            text.matches("the one before stays in force").count()
        };
        for (times, pause) in [(1, LOOKED), (1, 100 * LOOKED), (2, 30 * LOOKED)] {
            sleep(pause).await;
            assert_eq!((told(), followed.counted()), (times, [0, 1, 1]));
        }
        followed.point_to("second", ONE);
        sleep(200 * LOOKED).await;
        assert_eq!((told(), followed.counted()), (2, [0, 1, 0]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_being_written_is_not_taken_by_half() {
        let followed = Followed::start(ONE);
        let whole = format!("{TWO}{ONE}");
        // Valid by itself, and without the second caller.
        let half = TWO.len();
        // The half is there at each moment of the broker's reading.
        for eighths in 0..24 {
            fs::write(followed.path("first"), format!("{ONE}# {eighths}")).unwrap();
            followed.hang_up.send_replace(());
            sleep(SETTLES / 8 * eighths).await;
            fs::write(followed.path("first"), &whole[..half]).unwrap();
            sleep(SETTLES / 4).await;
            assert!(followed.has("one"));
            fs::write(followed.path("first"), &whole).unwrap();
            for _ in 0..16 {
                sleep(SETTLES / 4).await;
                assert!(followed.has("one"), "{eighths}");
            }
        }
        sleep(LOOKED).await;
        assert!(followed.has("one") && followed.has("two"));
    }

    /// More pipes than readings may hang. Whoever opens one as usual waits for ever.
    #[tokio::test]
    async fn pipes_in_the_place_of_the_file_do_not_end_its_reading() {
        let followed = Followed::start(ONE);
        for n in 0..6 {
            let pipe = followed.path(&format!("pipe-{n}"));
            let made = std::process::Command::new("mkfifo").arg(&pipe).status();
            assert!(made.unwrap().success());
            let new = followed.path("new-link");
            symlink(&pipe, &new).unwrap();
            fs::rename(new, followed.path("policy.toml")).unwrap();
            followed.hang_up.send_replace(());
            let failed = async || followed.counted()[1] > n;
            testkit::waiting::until("it is refused", failed).await;
            assert!(followed.has("one"));
        }
        followed.point_to("second", TWO);
        followed.hang_up.send_replace(());
        let is_taken = async || followed.has("two");
        testkit::waiting::until("the next file is taken", is_taken).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_hangup_is_answered_at_once_and_counts_if_something_came_of_it() {
        let followed = Followed::start(ONE);
        sleep(SETTLES).await;
        followed.point_to("second", TWO);
        followed.hang_up.send_replace(());
        sleep(3 * SETTLES).await;
        assert!(followed.has("two"));
        followed.hang_up.send_replace(());
        sleep(3 * SETTLES).await;
        assert_eq!(followed.counted(), [1, 0, 0], "nothing has changed");
        // Each attempt that fails counts.
        followed.point_to("third", "[callers");
        for failed in 1..3 {
            followed.hang_up.send_replace(());
            sleep(3 * SETTLES).await;
            assert_eq!(followed.counted(), [1, failed, 1]);
        }
        followed.point_to("fourth", ONE);
        followed.hang_up.send_replace(());
        sleep(3 * SETTLES).await;
        assert!(followed.has("one"));
        assert_eq!(followed.counted(), [2, 2, 0]);
    }
}
