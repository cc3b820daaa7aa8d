//! Asking for memory before it is needed.

/// Has the processor fetch `place` into its caches, and goes on: what is read or written there soon
/// is not waited for then. Does nothing on processors other than x86-64.
#[inline]
pub fn fetch<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        use std::ptr::from_ref;

        // SAFETY: a hint reads nothing, so it cannot fail, whatever the address; SSE, of which it is,
        // is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from_ref(place).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _: &T = place;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_changes() {
        let words = [1_u32, 2];
        words.iter().for_each(fetch);
        fetch(&words);
        assert_eq!(words, [1, 2]);
    }
}
