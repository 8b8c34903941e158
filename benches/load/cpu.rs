//! The CPU time of a process.

use std::{fs, time::Duration};

/// The clock of `/proc`, `USER_HZ`: 100 on every Linux that matters.
const TICK: Duration = Duration::from_millis(10);

/// A process whose CPU time counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    pub(crate) name: &'static str,
    pid: u32,
}

impl Process {
    pub(crate) fn new(name: &'static str, pid: u32) -> Self {
        Self { name, pid }
    }

    /// What all of its threads have used until now, in user and in kernel mode.
    pub(crate) fn used(self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap();
        // Behind the name in parentheses: the state is field 3, utime and stime are 14 and 15.
        let fields = stat.rsplit_once(") ").unwrap().1.split(' ');
        let ticks: u32 = fields
            .skip(11)
            .take(2)
            .map(|ticks| ticks.parse::<u32>().unwrap())
            .sum();
        TICK * ticks
    }
}
