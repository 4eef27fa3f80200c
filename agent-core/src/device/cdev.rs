//! The names of character devices below `/dev/vfio/devices`.

use smallvec::SmallVec;
use std::fmt;

/// The name of one character device.
///
/// The kernel numbers them (`drivers/vfio/vfio_main.c`, `dev_set_name(…, "vfio%d", …)`), so of thousands of devices the
/// numbers are kept, and texts only of what is named otherwise.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CdevName {
    /// `vfio` and a number.
    Numbered(u32),
    /// Any other name.
    Named(Box<str>),
}

/// The character devices of one device: one, but for kernels that have none.
pub type CdevNames = SmallVec<[CdevName; 1]>;

impl From<&str> for CdevName {
    fn from(name: &str) -> Self {
        let number = |digits: &str| {
            // One number, one spelling.
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
            if plain { digits.parse().ok() } else { None }
        };
        name.strip_prefix("vfio").and_then(number).map_or_else(|| Self::Named(name.into()), Self::Numbered)
    }
}

impl fmt::Display for CdevName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Numbered(number) => write!(f, "vfio{number}"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

impl fmt::Debug for CdevName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_written_as_it_was_read_and_usual_ones_take_no_text() {
        for (name, numbered) in [
            ("vfio0", true),
            ("vfio17", true),
            ("vfio017", false),
            ("vfio+1", false),
            ("vfio", false),
            ("other", false),
            ("vfio99999999999", false),
        ] {
            let read = CdevName::from(name);
            assert_eq!(read.to_string(), name);
            assert_eq!(matches!(read, CdevName::Numbered(_)), numbered, "{name}");
        }
    }
}
