//! What the probe has seen and lost.

use crate::Plain;

macro_rules! counters {
    ($($(#[$doc:meta])+ $field:ident),+ $(,)?) => {
        /// Counts since the probe was loaded. The kernel keeps one for each CPU.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        #[repr(C)]
        pub struct Counters {
            $($(#[$doc])+ pub $field: u64,)+
        }

        impl Counters {
            /// The sum of two.
            #[must_use]
            pub const fn plus(&self, other: &Self) -> Self {
                Self { $($field: self.$field.wrapping_add(other.$field),)+ }
            }
        }

        const FIELDS: usize = [$(stringify!($field)),+].len();
    };
}

counters! {
    /// Calls that open something and were seen to begin.
    opens_begun,
    /// Opens that succeeded.
    opens_done,
    /// Opens that the kernel refused; they make no event.
    opens_failed,
    /// Releases that were seen to begin.
    releases_begun,
    /// Releases that were seen to end.
    releases_done,
    /// Events for which the ring buffer had no room.
    ring_full,
    /// Calls that ended and whose begin was no longer known.
    begins_forgotten,
    /// Events that were made.
    events,
}

const _: () = assert!(size_of::<Counters>() == 8 * FIELDS && FIELDS == 8);

// SAFETY: u64 alone, in C's layout.
unsafe impl Plain for Counters {}
