//! What a slot is made of, in few bytes: a host may have very many of them.

use std::ops::Deref;

/// Bytes that cost no allocation of their own while they are few, as those of nearly all devices are.
pub(super) enum Short {
    Inline { length: u8, bytes: [u8; Short::INLINE] },
    Boxed(Box<[u8]>),
}

impl Short {
    /// As many fit beside a length into the room that the other form takes anyway, and one word more: an address and a group of
    /// eight digits.
    const INLINE: usize = 22;
}

impl From<&[u8]> for Short {
    fn from(content: &[u8]) -> Self {
        let mut bytes = [0; Self::INLINE];
        match (u8::try_from(content.len()), bytes.get_mut(..content.len())) {
            (Ok(length), Some(room)) => {
                room.copy_from_slice(content);
                Self::Inline { length, bytes }
            }
            _ => Self::Boxed(content.into()),
        }
    }
}

impl Deref for Short {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Inline { length, bytes } => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Self::Boxed(bytes) => bytes,
        }
    }
}

/// A number of the kernel's, or none, in the room of a number. The kernel counts NUMA nodes and groups as signed numbers
/// (`include/linux/numa.h`, `drivers/iommu/iommu.c`), so the largest one is never met.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Number(u32);

impl Number {
    const NONE: u32 = u32::MAX;

    pub(super) const fn new(number: Option<u32>) -> Self {
        match number {
            Some(number) => Self(number),
            None => Self(Self::NONE),
        }
    }

    pub(super) const fn get(self) -> Option<u32> {
        if self.0 == Self::NONE { None } else { Some(self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_are_kept_whatever_their_number(content in prop::collection::vec(any::<u8>(), 0..40)) {
            let short = Short::from(&*content);
            prop_assert_eq!(&*short, &*content);
            prop_assert_eq!(matches!(short, Short::Boxed(_)), content.len() > Short::INLINE);
        }

        #[test]
        fn a_number_is_kept(number in prop::option::of(0..u32::MAX)) {
            prop_assert_eq!(Number::new(number).get(), number);
        }
    }
}
