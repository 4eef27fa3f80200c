//! The address of a PCI function: domain, bus, device, function.

use std::{cmp::Ordering, fmt, str::FromStr};

/// A PCI address, written `dddd:bb:dd.f` in lower-case hex.
///
/// The domain is at least four digits wide and may have more: Intel VMD gives its buses domains from `10000` on
/// (kernel: `drivers/pci/controller/vmd.c`, `vmd_find_free_domain`).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bdf {
    /// Bus, device and function in their 8, 5 and 3 bits. Before the domain, so that both together are one word as they lie there:
    /// trees of thousands of addresses are searched for each event.
    place: u32,
    domain: u32,
}

/// What is no digit.
const NO_DIGIT: u8 = 0xf0;
/// The values of lower-case hexadecimal digits.
#[allow(clippy::indexing_slicing, reason = "at compile time: what is out of bounds does not build")]
const DIGITS: [u8; 256] = {
    let mut digits = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        digits[b"0123456789abcdef"[value] as usize] = value as u8;
        value += 1;
    }
    digits
};

/// Why a text is not a PCI address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a PCI address: write dddd:bb:dd.f in hexadecimal, as in 0000:3b:00.0")]
pub struct ParseBdfError {
    text: String,
}

impl Bdf {
    /// The address of one function; `None` when a part is out of range (device above 31, function above 7).
    #[must_use]
    pub const fn new(domain: u32, bus: u8, device: u8, function: u8) -> Option<Self> {
        if device > 31 || function > 7 {
            return None;
        }
        Some(Self { place: (bus as u32) << 8 | (device as u32) << 3 | function as u32, domain })
    }

    /// The address in the kernel's own spelling with a domain of four digits, `dddd:bb:dd.f` in lower case: what nearly
    /// all ids are, read as quickly as can be.
    #[inline]
    #[must_use]
    pub(super) fn from_usual_name(name: &[u8; 12]) -> Option<Self> {
        let &[d0, d1, d2, d3, b':', b0, b1, b':', s0, s1, b'.', f] = name else { return None };
        let digit = |byte: u8| u32::from(*DIGITS.get(usize::from(byte)).unwrap_or(&NO_DIGIT));
        let domain = digit(d0) << 12 | digit(d1) << 8 | digit(d2) << 4 | digit(d3);
        let rest = digit(b0) << 20 | digit(b1) << 16 | digit(s0) << 12 | digit(s1) << 8 | digit(f);
        // One digit that is none sets the upper half of its place, and a place has four bits.
        let wrong = [d0, d1, d2, d3, b0, b1, s0, s1, f].into_iter().fold(0, |wrong, byte| wrong | digit(byte));
        if wrong & u32::from(NO_DIGIT) & 0xf0 != 0 {
            return None;
        }
        let [_, bus, device, function] = rest.to_be_bytes();
        Self::new(domain, bus, device, function)
    }

    /// The PCI domain (segment).
    #[must_use]
    pub const fn domain(self) -> u32 {
        self.domain
    }

    /// The bus number.
    #[must_use]
    pub const fn bus(self) -> u8 {
        (self.place >> 8) as u8
    }

    /// The device number on its bus, 0 to 31.
    #[must_use]
    pub const fn device(self) -> u8 {
        (self.place >> 3 & 31) as u8
    }

    /// The function number, 0 to 7.
    #[must_use]
    pub const fn function(self) -> u8 {
        (self.place & 7) as u8
    }

    /// All four parts in one word, in the order of the address: usable as a key and for ordering.
    #[must_use]
    pub const fn packed(self) -> u64 {
        (self.domain as u64) << 32 | self.place as u64
    }

    /// The address of such a word; `None` where it is none.
    #[must_use]
    pub const fn from_packed(word: u64) -> Option<Self> {
        let place = word as u32;
        if place > 0xffff {
            return None;
        }
        Some(Self { place, domain: (word >> 32) as u32 })
    }
}

impl Ord for Bdf {
    fn cmp(&self, other: &Self) -> Ordering {
        self.packed().cmp(&other.packed())
    }
}

impl PartialOrd for Bdf {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Bdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(domain) = u16::try_from(self.domain) else {
            return write!(f, "{:x}:{:02x}:{:02x}.{:x}", self.domain, self.bus(), self.device(), self.function());
        };
        // Nearly all addresses, and a large host has thousands of them.
        let digit = |number: u16| if number < 10 { b'0' + number as u8 } else { b'a' + (number - 10) as u8 };
        let high = |byte: u8| digit(u16::from(byte >> 4));
        let low = |byte: u8| digit(u16::from(byte & 0xf));
        let [upper, lower] = domain.to_be_bytes();
        let text = [
            high(upper),
            low(upper),
            high(lower),
            low(lower),
            b':',
            high(self.bus()),
            low(self.bus()),
            b':',
            high(self.device()),
            low(self.device()),
            b'.',
            low(self.function()),
        ];
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Bdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Bdf {
    type Err = ParseBdfError;

    /// Reads the form that the kernel writes, in either case; the domain has four to eight digits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| ParseBdfError { text: text.to_owned() })
    }
}

fn parse(text: &str) -> Option<Bdf> {
    let (domain, rest) = text.split_once(':')?;
    let (bus, rest) = rest.split_once(':')?;
    let (device, function) = rest.split_once('.')?;
    if !(4..=8).contains(&domain.len()) || bus.len() != 2 || device.len() != 2 || function.len() != 1 {
        return None;
    }
    if domain.len() > 4 && domain.starts_with('0') {
        return None; // one address, one spelling
    }
    let byte = |part: &str| u8::try_from(hex(part)?).ok();
    Bdf::new(hex(domain)?, byte(bus)?, byte(device)?, byte(function)?)
}

/// `from_str_radix` alone would take a sign.
fn hex(part: &str) -> Option<u32> {
    if !part.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u32::from_str_radix(part, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_a_domain_of_five_digits() {
        let bdf: Bdf = "10000:e1:00.0".parse().unwrap();
        assert_eq!(bdf.domain(), 0x10000);
        assert_eq!(bdf.to_string(), "10000:e1:00.0");
    }

    #[test]
    fn refuses_what_the_kernel_never_writes() {
        for text in [
            "",
            "00:1f.0",
            "0000:00:20.0",
            "0000:00:1f.8",
            "0000:00:1f.0 ",
            "+000:00:1f.0",
            "00000:00:1f.0",
            "pci0000:00",
        ] {
            assert!(text.parse::<Bdf>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(domain in any::<u32>(), bus in any::<u8>(), device in 0u8..32, function in 0u8..8) {
            let bdf = Bdf::new(domain, bus, device, function).unwrap();
            prop_assert_eq!(bdf.to_string().parse::<Bdf>().unwrap(), bdf);
        }

        #[test]
        fn the_order_is_that_of_the_parts(a in any::<(u32, u8)>(), b in any::<(u32, u8)>(), d in 0u8..32, e in 0u8..32) {
            let (a, b) = (Bdf::new(a.0, a.1, d, 0).unwrap(), Bdf::new(b.0, b.1, e, 7).unwrap());
            let parts = |bdf: Bdf| (bdf.domain(), bdf.bus(), bdf.device(), bdf.function());
            prop_assert_eq!(a.cmp(&b), parts(a).cmp(&parts(b)));
        }

        #[test]
        fn any_text_is_survived(text in ".{0,24}") {
            let _ = text.parse::<Bdf>();
        }
    }
}
