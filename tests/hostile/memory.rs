//! How much memory a process has.

use std::fs;

const MIB: usize = 1024;

/// Returns how much memory the process has, in MiB.
pub fn resident(pid: u32) -> usize {
    status(pid, "VmRSS:")
}

/// Returns how much memory the process had at most, in MiB.
pub fn peak(pid: u32) -> usize {
    status(pid, "VmHWM:")
}

/// Returns how much memory the process has apart from what it reads from files, in KiB.
pub fn own(pid: u32) -> usize {
    number(pid, "RssAnon:")
}

/// Returns whether the kernel may give the process pages of 2 MiB.
pub fn may_have_large_pages(pid: u32) -> bool {
    number(pid, "THP_enabled:") == 1
}

fn status(pid: u32, name: &str) -> usize {
    number(pid, name) / MIB
}

fn number(pid: u32, name: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.unwrap().split_whitespace().next().unwrap();
    number.parse().unwrap()
}
