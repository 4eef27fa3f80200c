//! What a device takes in a message, and that the kubelet can receive what is listed.

use super::*;
use proptest::prelude::*;

/// A message of `deviceplugin/v1beta1`, written by hand: what the kubelet receives for one device.
fn encoded(slot: &Slot, health: &str) -> Vec<u8> {
    fn varint(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value > 0x7f {
            bytes.push(0x80 | u8::try_from(value & 0x7f).unwrap());
            value >>= 7;
        }
        bytes.push(u8::try_from(value).unwrap());
        bytes
    }
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2][..], &varint(content.len() as u64), content].concat()
    }
    let numa = |node: u32| if node == 0 { Vec::new() } else { [vec![1 << 3], varint(node.into())].concat() };
    let topology = slot.numa().map(|node| field(3, &field(1, &numa(node))));
    let device = [field(1, slot.text().as_bytes()), field(2, health.as_bytes()), topology.unwrap_or_default()].concat();
    field(1, &device)
}

proptest! {
    #[test]
    fn no_device_takes_more_than_is_counted_for_it(
        domain in prop_oneof![0u32..=0xffff, any::<u32>()],
        mdev in prop::option::of(any::<u128>()),
        numa in prop::option::of(any::<u32>()),
    ) {
        let bdf = Bdf::new(domain, 0x3b, 0, 0).unwrap().into();
        let id = mdev.map_or(bdf, |mdev| uuid::Uuid::from_u128(mdev).into());
        let slot = Slot::new(Blueprint { numa, ..Blueprint::unknown(id, Arc::default()) }, ready());
        for health in ["Healthy", "Unhealthy"] {
            prop_assert!(encoded(&slot, health).len() <= slot.listed_size());
        }
        let spare = slot.listed_size() - encoded(&slot, "Unhealthy").len();
        prop_assert!(spare == 0 || (numa == Some(0) && spare <= 2), "{} bytes are given away", spare);
    }
}
