//! Pages of a size at which a processor need not look up where each of them is.

use std::io;

use libc::{MADV_COLLAPSE, MADV_HUGEPAGE, madvise};
use rustix::param::page_size;

use crate::checked;

/// Asks the system to have the memory of `memory`, what is not used yet as well, in huge pages: what is
/// used already at once (Linux 6.1; before it, within a minute or so), and the rest when it is used for
/// the first time. What is in it stays. It is for memory that is used all over: a page that is used at
/// all takes all of its room.
///
/// # Errors
/// What `madvise(2)` says if there can be none, as where `transparent_hugepage/enabled` is `never`
/// and the kernel is older.
pub fn use_huge_pages<T>(memory: &Vec<T>) -> io::Result<()> {
    let page = page_size();
    let start = memory.as_ptr().cast::<u8>();
    let before = start.addr() % page;
    let start = start.wrapping_sub(before);
    // The system takes those huge pages that are within.
    let bytes = (before + memory.capacity() * size_of::<T>()).next_multiple_of(page);
    // SAFETY: the pages are those that `memory` has a part of, and the advice changes nothing of what
    // is in them, whosever it is.
    let told = checked(unsafe { madvise(start.cast_mut().cast(), bytes, MADV_HUGEPAGE) });
    // SAFETY: as above.
    let done = checked(unsafe { madvise(start.cast_mut().cast(), bytes, MADV_COLLAPSE) });
    told.or(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Where they can begin, and how large they are, where usual pages have 4 KiB.
    const HUGE_PAGE: usize = 2 << 20;

    /// Bytes of this process that are in huge pages, by `smaps` (proc(5)).
    fn in_huge_pages(start: *const u8) -> u64 {
        let start = format!("{:x}", start.addr());
        let maps = fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = maps.lines();
        let range = |line: &str| {
            let (from, rest) = line.split_once('-')?;
            let (to, _) = rest.split_once(' ')?;
            let number = |hex| u64::from_str_radix(hex, 16).ok();
            Some(number(from)?..number(to)?)
        };
        let at = u64::from_str_radix(&start, 16).unwrap();
        lines.find(|line| range(line).is_some_and(|range| range.contains(&at)));
        let line = lines.find_map(|line| line.strip_prefix("AnonHugePages:"));
        let kilobytes = line.unwrap().trim().strip_suffix(" kB").unwrap();
        kilobytes.parse::<u64>().unwrap() * 1024
    }

    /// Whether the system gives any.
    fn there_are_some() -> bool {
        let enabled = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
        enabled.is_ok_and(|enabled| !enabled.contains("[never]"))
    }

    #[test]
    fn what_is_used_and_what_is_not_yet_is_in_huge_pages_and_stays() {
        let mut memory = vec![0_u8; 4 * HUGE_PAGE];
        let first = memory.as_ptr().align_offset(HUGE_PAGE);
        memory[first + 5] = 7;
        let asked = use_huge_pages(&memory);
        memory[first + HUGE_PAGE] = 8;
        let begins = memory[first..].as_ptr();
        if there_are_some() {
            asked.unwrap();
            assert!(in_huge_pages(begins) > 0);
        }
        assert_eq!((memory[first + 5], memory[first + HUGE_PAGE]), (7, 8));
        assert_eq!(memory.iter().map(|byte| u64::from(*byte)).sum::<u64>(), 15);
    }

    #[test]
    fn memory_that_fills_no_huge_page_is_left_as_it_is() {
        for bytes in [0, 1, HUGE_PAGE - 1] {
            let memory = vec![1_u8; bytes];
            let _whatever_it_says = use_huge_pages(&memory);
            assert!(memory.iter().all(|byte| *byte == 1));
        }
    }
}
