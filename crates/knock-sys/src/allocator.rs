//! What becomes of memory that is let go of.

/// Has what is freed in large pieces go back to the system at once, for good. Glibc would do so with
/// the first piece of a size, and then keep the next ones, since who has needed much may soon need it
/// again (`M_MMAP_THRESHOLD` in `mallopt(3)`): after a second flood its memory would stay. Other
/// allocators are left as they are.
pub fn give_back_large_pieces() {
    #[cfg(target_env = "gnu")]
    {
        /// What it is at the start, and is to remain.
        const THRESHOLD: libc::c_int = 128 * 1024;
        // SAFETY: it takes two numbers, and keeps the second.
        let kept = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, THRESHOLD) };
        debug_assert_eq!(kept, 1, "mallopt(3) takes any threshold up to 32 MiB");
    }
}

#[cfg(test)]
#[cfg(target_env = "gnu")]
mod tests {
    use super::*;
    use std::fs;

    /// Pages of this process in memory (`statm`, proc(5)).
    fn resident() -> u64 {
        let statm = fs::read_to_string("/proc/self/statm").unwrap();
        statm.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// By itself, glibc keeps the second piece of a size.
    #[test]
    fn what_is_freed_goes_back_the_second_time_too() {
        const PIECE: usize = 24 << 20;
        const PAGES: u64 = 24 << 20 >> 12;
        give_back_large_pieces();
        for _ in 0..3 {
            // Two, so that one cannot lie at the end of what is in use, where it goes back anyway.
            let pieces = [(); 2].map(|()| vec![1_u8; PIECE]);
            let before = resident();
            drop(pieces);
            let returned = before.saturating_sub(resident());
            assert!(returned > PAGES * 3 / 2, "{returned} pages went back");
        }
    }
}
