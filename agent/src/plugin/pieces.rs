//! A list on its way out: cut so that most of it is sent from where it was prepared, in no more frames than it needs.
//!
//! HTTP/2 cuts what it is given into frames of at most 16 KiB, each of which is a write of its own; where one piece ends, a
//! frame ends. So pieces end where frames would end anyway:
//!
//! ```text
//! frames     |head and start|              |              |   one unhealthy  |            |    |
//! pieces     | copied       | prepared                    | copied           | prepared        |
//! ```

use super::grpc;
use prost::bytes::{BufMut, Bytes, BytesMut};
use std::{collections::VecDeque, sync::Arc};
use vfiod_core::allocator::{List, Piece};

/// The longest frame that every HTTP/2 client takes (RFC 9113, section 6.5.2), and that grpc-go asks for.
const FRAME: usize = 16_384;
/// Past so many unhealthy devices the whole list is copied.
const FEW: usize = 16;

/// The message of a list, with its head.
pub(super) fn pieces(list: &List) -> VecDeque<Bytes> {
    let length = list.encoded_len();
    let few = list.unhealthy() <= FEW;
    let mut copied = BytesMut::with_capacity(if few { 2 * FRAME } else { grpc::HEAD + length });
    copied.put_slice(&grpc::head(length));
    let mut cut = Cut { pieces: VecDeque::with_capacity(4), copied, prepared: prepared(list), share: few };
    let end = cut.prepared.len();
    list.pieces(|piece| match piece {
        Piece::Own(own) => cut.copied.put_slice(own),
        Piece::Prepared(range) => cut.run(range.start, range.end, range.end == end),
    });
    cut.copied_until_here();
    cut.pieces
}

fn prepared(list: &List) -> Bytes {
    Bytes::from_owner(Arc::clone(list.prepared()))
}

/// A list that is being cut.
struct Cut {
    pieces: VecDeque<Bytes>,
    /// What must be copied since the last piece.
    copied: BytesMut,
    prepared: Bytes,
    /// Whether prepared bytes are sent from where they lie.
    share: bool,
}

impl Cut {
    /// Takes a run of prepared bytes; `last` where nothing but unhealthy devices follows.
    fn run(&mut self, from: usize, to: usize, last: bool) {
        // The frame that has been begun is filled up first.
        let begun = self.copied.len().next_multiple_of(FRAME) - self.copied.len();
        let start = (from + begun).min(to);
        let whole = if last { to - start } else { (to - start) / FRAME * FRAME };
        if !self.share || whole < FRAME {
            self.copy(from, to);
            return;
        }
        self.copy(from, start);
        self.copied_until_here();
        self.pieces.push_back(self.prepared.slice(start..start + whole));
        self.copy(start + whole, to);
    }

    fn copy(&mut self, from: usize, to: usize) {
        self.copied.put_slice(self.prepared.get(from..to).unwrap_or_default());
    }

    fn copied_until_here(&mut self) {
        if !self.copied.is_empty() {
            self.pieces.push_back(self.copied.split().freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{collections::BTreeSet, sync::Arc, time::Duration};
    use vfiod_core::{
        allocator::Resource,
        device::{Bdf, Binding, DevNodes, Device, Group, Kind, Member, Node, PciId},
        inventory::{Completeness, Inventory},
        permit::{ServeMode, parse},
    };

    const PERMIT: &str = "
permittedHostDevices:
  pciHostDevices:
  - {pciVendorSelector: '10de:1eb8', resourceName: a.com/gpu}
";

    /// A resource with `count` devices, of which those in `gone` have no node.
    fn resource(count: u32, gone: &BTreeSet<u32>) -> (Inventory, Arc<Resource>) {
        let mut inventory = Inventory::default();
        inventory.set_permit(Arc::new(parse(PERMIT, ServeMode::All).unwrap().permit));
        let mut nodes = DevNodes { container: true, ..DevNodes::default() };
        let (mut devices, mut groups) = (Vec::new(), Vec::new());
        for number in 0..count {
            let [_, _, bus, slot] = number.to_be_bytes();
            let id = Bdf::new(0, bus, slot >> 3, slot & 7).unwrap().into();
            let kind = Kind::Pci { pci_id: PciId { vendor: 0x10de, product: 0x1eb8 }, class: 0x03_0200, physfn: None };
            let binding = Binding::Vfio("vfio-pci".into());
            let device =
                Device { id, kind, binding, group: Some(number), numa: Some(number % 2), cdevs: Default::default() };
            groups.push(Group { id: number, noiommu: false, members: [Member::from(&device)].into() });
            devices.push(device);
            nodes.groups.insert(number);
        }
        let complete = Completeness { pci: true, mdev: true, unreadable: BTreeSet::new() };
        inventory.scanned(devices, groups, Some(nodes), &complete);
        let resource = inventory.settle(Duration::from_secs(100)).opened.pop().unwrap();
        for &number in gone {
            inventory.node_changed(&Node::Group(number), false);
        }
        inventory.settle(Duration::from_secs(200));
        (inventory, resource)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn the_pieces_are_the_message_in_no_more_frames_than_it_needs(
            count in prop_oneof![0u32..10, 500u32..1200, 2000u32..4000],
            gone in prop::collection::btree_set(0u32..4000, 0..30),
        ) {
            let gone = gone.into_iter().filter(|number| *number < count).collect();
            let (_inventory, resource) = resource(count, &gone);
            let list = resource.list();
            let pieces = pieces(&list);
            let frames: usize = pieces.iter().map(|piece| piece.len().div_ceil(FRAME)).sum();
            let message: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
            prop_assert_eq!(frames, message.len().div_ceil(FRAME));
            prop_assert_eq!(message.len(), grpc::HEAD + list.encoded_len());
            let (head, list_in_it) = message.split_at(grpc::HEAD);
            prop_assert_eq!(head, grpc::head(list.encoded_len()));
            prop_assert_eq!(list_in_it, list.to_bytes());
        }
    }

    #[test]
    fn of_a_long_list_with_one_flip_hardly_anything_is_copied() {
        let (_inventory, resource) = resource(4000, &BTreeSet::from([2000]));
        let list = resource.list();
        let lies = list.prepared().as_ptr_range();
        let shared = pieces(&list).iter().filter(|piece| lies.contains(&piece.as_ptr())).map(Bytes::len).sum::<usize>();
        assert!(list.encoded_len() - shared < 3 * FRAME, "{shared} of {} bytes", list.encoded_len());
    }
}
