//! Protobuf by hand: just what a client needs that must cost little itself, and a floor that does the least.
//!
//! Source of the format: <https://protobuf.dev/programming-guides/encoding/>; of the field numbers: kubelet,
//! `staging/src/k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1/api.proto`.

/// Appends a varint.
pub fn put_varint(to: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        to.push(0x80 | (value & 0x7f) as u8);
        value >>= 7;
    }
    to.push(value as u8);
}

/// Appends a field with a length: a text, bytes or a message.
pub fn put_field(to: &mut Vec<u8>, number: u8, content: &[u8]) {
    to.push(number << 3 | 2);
    put_varint(to, content.len() as u64);
    to.extend_from_slice(content);
}

/// The fields of a message that have a length, in their order; varints are skipped, and the first malformed byte ends it.
#[derive(Debug, Clone)]
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let (mut value, mut shift) = (0, 0);
        loop {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
            shift += 7;
            if shift > 63 {
                return None;
            }
        }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let tag = self.varint()?;
            match tag & 7 {
                0 => {
                    self.varint()?;
                }
                2 => {
                    let length = usize::try_from(self.varint()?).ok()?;
                    let (content, rest) = self.0.split_at_checked(length)?;
                    self.0 = rest;
                    return Some((tag >> 3, content));
                }
                _ => return None,
            }
        }
    }
}

/// An `AllocateRequest` for one container.
pub fn allocate_request<'a>(ids: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let mut container = Vec::new();
    for id in ids {
        put_field(&mut container, 1, id.as_bytes());
    }
    let mut request = Vec::with_capacity(container.len() + 4);
    put_field(&mut request, 1, &container);
    request
}

/// A `PreferredAllocationRequest` for one container.
pub fn preferred_request<'a>(offered: impl IntoIterator<Item = &'a str>, size: u64) -> Vec<u8> {
    let mut container = Vec::new();
    for id in offered {
        put_field(&mut container, 1, id.as_bytes());
    }
    container.push(3 << 3);
    put_varint(&mut container, size);
    let mut request = Vec::with_capacity(container.len() + 6);
    put_field(&mut request, 1, &container);
    request
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;
    use vfiod_proto::deviceplugin::{
        AllocateRequest, ContainerAllocateRequest, ContainerPreferredAllocationRequest, PreferredAllocationRequest,
    };

    fn ids(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("0000:{number:02x}:00.0")).collect()
    }

    #[test]
    fn requests_are_what_prost_writes() {
        for count in [0, 1, 8, 200] {
            let ids = ids(count);
            let container = ContainerAllocateRequest { devices_ids: ids.clone() };
            let request = AllocateRequest { container_requests: vec![container] };
            assert_eq!(allocate_request(ids.iter().map(String::as_str)), request.encode_to_vec());
            let container = ContainerPreferredAllocationRequest {
                available_device_i_ds: ids.clone(),
                must_include_device_i_ds: Vec::new(),
                allocation_size: 8,
            };
            let request = PreferredAllocationRequest { container_requests: vec![container] };
            assert_eq!(preferred_request(ids.iter().map(String::as_str), 8), request.encode_to_vec());
        }
    }

    #[test]
    fn fields_are_found_and_a_broken_message_ends() {
        let request = allocate_request(["a", "bc"]);
        let (_, container) = Fields(&request).next().unwrap();
        let ids: Vec<&[u8]> = Fields(container).map(|(_, id)| id).collect();
        assert_eq!(ids, [b"a".as_slice(), b"bc"]);
        assert_eq!(Fields(&[10, 200]).next(), None);
        assert_eq!(Fields(&[0xff; 20]).next(), None);
    }
}
