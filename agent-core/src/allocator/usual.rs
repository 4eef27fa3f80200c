//! The index of usual ids: PCI addresses with a domain of four digits, `dddd:bb:dd.f`, as nearly all are.
//!
//! A kubelet offers thousands of them at once, so they are not decoded at all. A request has them as fields of 14 bytes;
//! both words of a field are the key as they lie there:
//!
//! ```text
//! field   0a 0c d  d  d  d  :  b  |  b  :  d  d  .  f  x  x      (x: whatever follows)
//! entry   place d  d  d  d  :  b  |  b  :  d  d  .  f  place
//! ```

/// The tag of a field 1 with a length, and the length of a usual id.
const HEAD: [u8; 2] = [0x0a, 12];
/// The length of such a field.
pub(super) const FIELD: usize = 14;

/// A usual id as it lies in its field. What does not belong to it is shifted out wherever it is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usual {
    low: u64,
    high: u64,
}

/// Bits of an entry's words that are not of the id, at the beginning of the one and at the end of the other.
const PLACE: u32 = 16;

impl Usual {
    /// The id in a field 1; what follows the field may be anything. `None` where the field is of another kind or length.
    #[inline]
    pub(super) fn from_field(field: &[u8; 16]) -> Option<Self> {
        let both = u128::from_le_bytes(*field);
        let usual = Self { low: both as u64, high: (both >> 64) as u64 };
        (usual.low as u16 == u16::from_le_bytes(HEAD)).then_some(usual)
    }

    /// The id alone.
    #[inline]
    pub(super) fn from_name(name: &[u8; 12]) -> Self {
        let &[a, b, c, d, e, f, g, h, i, j, k, l] = name;
        Self { low: u64::from_le_bytes([0, 0, a, b, c, d, e, f]), high: u64::from_le_bytes([g, h, i, j, k, l, 0, 0]) }
    }
}

/// Places by usual id: open addressing, two thirds full at most.
#[derive(Debug)]
pub(super) struct UsualIndex {
    /// The words of an id with `place + 1` in the room beside it; zeros are empty.
    entries: Box<[[u64; 2]]>,
    shift: u32,
    mix: Mix,
}

/// How an id is mixed: two factors.
type Mix = [u64; 2];

/// The factors to choose from: odd numbers without a pattern (the fractions of the square roots of primes, as SHA-512 has
/// them). Addresses follow each other on a host, so some factors scatter them far better than chance does.
const MIXES: [Mix; 8] = [
    [0x6a09_e667_f3bc_c909, 0xbb67_ae85_84ca_a73b],
    [0x3c6e_f372_fe94_f82b, 0xa54f_f53a_5f1d_36f1],
    [0x510e_527f_ade6_82d1, 0x9b05_688c_2b3e_6c1f],
    [0x1f83_d9ab_fb41_bd6b, 0x5be0_cd19_137e_2179],
    [0xcbbb_9d5d_c105_9ed9, 0x629a_292a_367c_d507],
    [0x9159_015a_3070_dd17, 0x152f_ecd8_f70e_5939],
    [0x6733_2667_ffc0_0b31, 0x8eb4_4a87_6858_1511],
    [0xdb0c_2e0d_64f9_8fa7, 0x47b5_481d_befa_4fa5],
];

impl UsualIndex {
    /// `ids` with their places.
    pub(super) fn new(ids: &[(Usual, usize)]) -> Self {
        let size = (ids.len() + ids.len() / 2).next_power_of_two().max(2);
        let mut index = Self { entries: vec![[0; 2]; size].into(), shift: 64 - size.trailing_zeros(), mix: MIXES[0] };
        let mut taken = vec![false; size];
        let least = MIXES.into_iter().min_by_key(|&mix| {
            index.mix = mix;
            taken.fill(false);
            let met = |&&(id, _): &&(Usual, usize)| {
                taken.get_mut(index.start(id)).is_some_and(|taken| std::mem::replace(taken, true))
            };
            ids.iter().filter(met).count()
        });
        index.mix = least.unwrap_or(index.mix);
        for &(id, place) in ids {
            index.insert(id, place);
        }
        index
    }

    #[inline]
    fn start(&self, id: Usual) -> usize {
        let [far, near] = self.mix;
        let function = id.low >> 56 | id.high << PLACE >> 8;
        let domain = id.low >> PLACE & 0xffff_ffff;
        (function.wrapping_mul(far).wrapping_add(domain.wrapping_mul(near)) >> (self.shift & 63)) as usize
    }

    fn insert(&mut self, id: Usual, place: usize) {
        let (mut at, last, number) = (self.start(id), self.entries.len() - 1, place as u64 + 1);
        while let Some(entry) = self.entries.get_mut(at) {
            if *entry == [0; 2] {
                let low = id.low >> PLACE << PLACE | number & 0xffff;
                let high = id.high << PLACE >> PLACE | number >> PLACE << (64 - PLACE);
                *entry = [low, high];
                return;
            }
            at = (at + 1) & last;
        }
    }

    /// The place of an id.
    #[inline]
    pub(super) fn find(&self, id: Usual) -> Option<usize> {
        let mut at = self.start(id);
        loop {
            let &[low, high] = self.entries.get(at)?;
            if (low ^ id.low) >> PLACE | (high ^ id.high) << PLACE == 0 {
                let number = high >> (64 - PLACE) << PLACE | low & 0xffff;
                return (number as usize).checked_sub(1);
            }
            if low == 0 {
                return None;
            }
            at = (at + 1) & (self.entries.len() - 1);
        }
    }
}
