//! What is left in the memory of the process that asks.

use std::{
    fs::File,
    io::Read,
    os::unix::fs::FileExt,
    sync::{Mutex, PoisonError},
};

/// How much is read at once, and how large each buffer is at least.
const LARGE: usize = 1 << 20;
/// How much of what stands before a text is looked at.
const BEFORE: usize = 256;

/// What a search works in. Each buffer is large and stays, so that none is taken from what was freed.
#[derive(Default)]
struct Buffers {
    chunk: Vec<u8>,
    maps: String,
    found: Vec<[u8; BEFORE]>,
}

static BUFFERS: Mutex<Option<Buffers>> = Mutex::new(None);

/// Looks for `text` in all memory that the process may write: in what is in use, and in what was freed and not used again.
/// Returns what stands before it, for each place where `counts` takes that.
///
/// The text is a constant, because the program's constants are in memory that it can't write.
///
/// # Panics
/// Panics if the process can't read its own memory.
pub fn find(text: &'static str, counts: impl Fn(&[u8]) -> bool) -> Vec<String> {
    // One search at a time, so that none finds what another one has read.
    let mut buffers = BUFFERS.lock().unwrap_or_else(PoisonError::into_inner);
    let Buffers { chunk, maps, found } = buffers.get_or_insert_default();
    chunk.resize(LARGE, 0);
    found.reserve(LARGE / BEFORE);
    let own = chunk.as_ptr() as usize..chunk.as_ptr() as usize + LARGE;
    let earlier = found.as_ptr() as usize..found.as_ptr() as usize + LARGE;
    let memory = File::open("/proc/self/mem").unwrap();
    for (mut at, end) in writable(maps) {
        while at < end {
            let part = &mut chunk[..LARGE.min(end - at)];
            // Another thread may have given the memory back meanwhile.
            if memory.read_exact_at(part, at as u64).is_ok() {
                for place in memchr::memmem::find_iter(part, text) {
                    let before = &part[place.saturating_sub(BEFORE)..place];
                    let is_ours = [&own, &earlier]
                        .iter()
                        .any(|ours| ours.contains(&(at + place)));
                    if !is_ours && counts(before) && found.len() < found.capacity() {
                        let mut copy = [0; BEFORE];
                        copy[BEFORE - before.len()..].copy_from_slice(before);
                        found.push(copy);
                    }
                }
            }
            at += part.len();
            if at < end {
                // What stands at the edge is read once more, and may be found twice.
                at -= 2 * BEFORE;
            }
        }
    }
    let shown = found.iter().map(|before| before.escape_ascii().to_string());
    let shown = shown.collect();
    chunk.fill(0);
    found.fill([0; BEFORE]);
    found.clear();
    shown
}

/// Returns the beginnings and ends of the memory that the process may write. `maps` is where the kernel's list is read to.
fn writable(maps: &mut String) -> impl Iterator<Item = (usize, usize)> {
    maps.clear();
    maps.reserve(LARGE);
    let mut list = File::open("/proc/self/maps").unwrap();
    list.read_to_string(maps).unwrap();
    let address = |text: &str| usize::from_str_radix(text, 16).ok();
    let range = move |line: &str| {
        let (range, rest) = line.split_once(' ')?;
        let (from, to) = range.split_once('-')?;
        let range = (address(from)?, address(to)?);
        rest.starts_with("rw").then_some(range)
    };
    maps.lines().filter_map(range)
}
