//! What a process uses: CPU time and memory.

use std::{fs, time::Duration};

/// The unit of times in `/proc`: `USER_HZ` is 100 on every Linux that matters.
const TICK: Duration = Duration::from_millis(10);

/// A process that is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    pub(crate) role: Role,
    pid: u32,
}

/// What a process does in a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Client,
    /// The broker, or the echo.
    Server,
    Redis,
    Replica,
}

impl Process {
    pub(crate) fn new(role: Role, pid: u32) -> Self {
        Self { role, pid }
    }

    /// Returns the CPU time that all threads of the process have used so far, in user and in kernel mode.
    pub(crate) fn cpu(self) -> Duration {
        let stat = self.read("stat");
        // What follows the name in parentheses: the state is field 3, utime and stime are 14 and 15.
        let fields = stat.rsplit_once(") ").unwrap().1.split(' ');
        let ticks: u32 = fields
            .skip(11)
            .take(2)
            .map(|ticks| ticks.parse::<u32>().unwrap())
            .sum();
        TICK * ticks
    }

    /// Returns for how long threads of the process were ready to run and had no core.
    pub(crate) fn waits(self) -> Duration {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid)).unwrap();
        let waits = threads.filter_map(|thread| {
            // A thread may end meanwhile.
            let stat = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            // Its time on a core, and what it waited for one, in ns.
            stat.split(' ').nth(1)?.parse::<u64>().ok()
        });
        Duration::from_nanos(waits.sum())
    }

    /// Returns the memory that the process has in RAM now, in MiB.
    pub(crate) fn memory(self) -> f64 {
        self.status("VmRSS:")
    }

    /// Returns the most memory that it had since [`Process::forget_peak`], in MiB.
    pub(crate) fn peak(self) -> f64 {
        self.status("VmHWM:")
    }

    /// Lets the peak begin at what the process has now. Where that isn't allowed, it is the peak since its start.
    pub(crate) fn forget_peak(self) {
        fs::write(format!("/proc/{}/clear_refs", self.pid), "5").ok();
    }

    fn status(self, field: &str) -> f64 {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.unwrap().trim().strip_suffix(" kB").unwrap();
        kib.parse::<f64>().unwrap() / 1024.0
    }

    fn read(self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.pid)).unwrap()
    }
}
