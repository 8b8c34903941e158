//! What a process leaves behind when it crashes, or shows to others while it runs: nothing of its memory.

use std::panic::PanicHookInfo;

use rustix::process::{Resource, Rlimit, setrlimit};

/// Turns core dumps off, and keeps other processes of the same user from reading this one's memory.
///
/// A dump would hold tokens. Only the superuser can still trace the process.
pub(super) fn off() {
    // Neither can fail for a process that lowers its own rights.
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none).ok();
    // The limit doesn't count where the kernel hands dumps to a program.
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable).ok();
}

/// Returns what is told of a panic: where it was, and not its message, which may quote a value.
pub(super) fn told(panic: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed").to_owned();
    match panic.location() {
        Some(at) => format!("thread '{thread}' panicked at {at}\n"),
        None => format!("thread '{thread}' panicked\n"),
    }
}

#[cfg(test)]
mod tests {
    use std::{panic, sync::mpsc, thread};

    use super::*;

    #[test]
    fn what_is_told_of_a_panic_has_its_place_and_not_its_message() {
        let (tell, heard) = mpsc::channel();
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            // Other tests may panic meanwhile, as they should.
            if thread::current().name() == Some("planted") {
                tell.send((told(panic), panic.to_string())).ok();
            } else {
                usual(panic);
            }
        }));
        let planted = thread::Builder::new().name("planted".to_owned());
        let planted = planted.spawn(|| panic!("the token is {}", "s3cret"));
        planted.unwrap().join().unwrap_err();
        let (told, usual) = heard.recv().unwrap();
        assert!(
            told.starts_with("thread 'planted' panicked at src/cli/dumps.rs:"),
            "{told}"
        );
        assert!(!told.contains("s3cret"), "{told}");
        assert!(usual.contains("s3cret"), "what a panic says by itself");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn no_core_is_dumped_any_more() {
        use rustix::process::{DumpableBehavior, dumpable_behavior, getrlimit};
        off();
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }
}
