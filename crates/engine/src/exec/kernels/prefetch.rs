//! Requests values before they are needed. It changes no value. On machines without such an instruction, or with none
//! known here, it does nothing.

/// Bytes fetched at a time.
const LINE: usize = 64;

/// Fetches values into the cache while others are being worked on.
#[inline(always)]
pub(super) fn prefetch<T>(values: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for line in values.chunks(LINE / size_of::<T>()) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        #[allow(unsafe_code, reason = "an instruction that only hints")]
        // SAFETY: part of every x86-64 processor; it reads nothing and may be given any address.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (values, LINE);
}
