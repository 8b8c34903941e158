//! The CPU time of a process.

use std::{fs, time::Duration};

/// The unit of times in `/proc`: `USER_HZ` is 100 on every Linux that matters.
const TICK: Duration = Duration::from_millis(10);

/// A process whose CPU time is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    pub(crate) name: &'static str,
    pid: u32,
}

impl Process {
    pub(crate) fn new(name: &'static str, pid: u32) -> Self {
        Self { name, pid }
    }

    /// Returns the CPU time that all threads of the process have used so far, in user and in kernel mode.
    pub(crate) fn used(self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap();
        // What follows the name in parentheses: the state is field 3, utime and stime are 14 and 15.
        let fields = stat.rsplit_once(") ").unwrap().1.split(' ');
        let ticks: u32 = fields
            .skip(11)
            .take(2)
            .map(|ticks| ticks.parse::<u32>().unwrap())
            .sum();
        TICK * ticks
    }
}
