//! Pages of memory: the broker has small ones only.

/// Keeps the kernel from giving this process memory by pages of 2 MiB from now on.
///
/// The allocator has a place of its own for each thread and each size of what is allocated, and uses little of most. With
/// large pages an idle broker would take twice the memory.
pub(super) fn keep_small() {
    // It stays as it was if the system refuses.
    #[cfg(target_os = "linux")]
    rustix::thread::disable_transparent_huge_pages(true).ok();
}
