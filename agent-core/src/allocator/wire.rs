//! The kubelet's messages as bytes: read without copies, written from prepared parts.
//!
//! Source of the field numbers: kubelet, `staging/src/k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1/api.proto`; of the
//! format: <https://protobuf.dev/programming-guides/encoding/>. That what is written is what prost writes, and that what
//! prost reads is read alike, is proved in `agent/tests/encoding.rs`.

use crate::device::DevNodes;

/// A field with a length has this kind (texts, messages); a varint has 0.
const WITH_LENGTH: u8 = 2;

/// Why a request is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request is not a message of the device plugin API: {0}")]
pub struct Malformed(&'static str);

/// A field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field<'a> {
    /// A number.
    Varint(u64, u64),
    /// A text, bytes or a message.
    Bytes(u64, &'a [u8]),
}

/// The fields of a message in their order; of other kinds than these two it only knows how to skip them.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    /// The next field; `None` at the end.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<Field<'a>>, Malformed> {
        loop {
            if self.0.is_empty() {
                return Ok(None);
            }
            let tag = self.varint()?;
            let number = tag >> 3;
            if number == 0 {
                return Err(Malformed("a field has the number 0"));
            }
            match tag & 7 {
                0 => return Ok(Some(Field::Varint(number, self.varint()?))),
                2 => {
                    let length = usize::try_from(self.varint()?).map_err(|_| Malformed("a length is too large"))?;
                    return Ok(Some(Field::Bytes(number, self.take(length)?)));
                }
                1 => drop(self.take(8)?),
                5 => drop(self.take(4)?),
                _ => return Err(Malformed("a field is of an unknown kind")),
            }
        }
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed("it ends in the middle of a field"))?;
        self.0 = rest;
        Ok(taken)
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        if let Some((&byte, rest)) = self.0.split_first()
            && byte < 0x80
        {
            self.0 = rest;
            return Ok(byte.into());
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or(Malformed("it ends in the middle of a number"))?;
            self.0 = rest;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed("a number is too long"))
    }
}

/// The ids that an `AllocateRequest` asks for, container by container.
///
/// # Errors
/// When the bytes are no such message, or an id is not UTF-8.
pub fn allocate_request(request: &[u8]) -> Result<Vec<Vec<&str>>, Malformed> {
    let mut containers = Vec::with_capacity(1);
    let mut fields = Fields(request);
    while let Some(field) = fields.next()? {
        if let Field::Bytes(1, container) = field {
            let mut ids = Vec::with_capacity(8);
            let mut fields = Fields(container);
            while let Some(field) = fields.next()? {
                if let Field::Bytes(1, id) = field {
                    ids.push(text(id)?);
                }
            }
            containers.push(ids);
        }
    }
    Ok(containers)
}

/// The containers of a `PreferredAllocationRequest`, each as it came.
///
/// # Errors
/// When the bytes are no such message.
pub fn preferred_requests(request: &[u8]) -> Result<Vec<&[u8]>, Malformed> {
    let mut containers = Vec::with_capacity(1);
    let mut fields = Fields(request);
    while let Some(field) = fields.next()? {
        if let Field::Bytes(1, container) = field {
            containers.push(container);
        }
    }
    Ok(containers)
}

pub(super) fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|_| Malformed("a text is not UTF-8"))
}

/// Appends a varint.
#[inline]
pub fn put_varint(to: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        to.push(0x80 | (value & 0x7f) as u8);
        value >>= 7;
    }
    to.push(value as u8);
}

/// Appends the tag and the length of a field; its content follows.
#[inline]
pub fn put_head(to: &mut Vec<u8>, number: u8, length: usize) {
    to.push(number << 3 | WITH_LENGTH);
    put_varint(to, length as u64);
}

/// Appends a field with a length.
#[inline]
pub fn put_field(to: &mut Vec<u8>, number: u8, content: &[u8]) {
    put_head(to, number, content.len());
    to.extend_from_slice(content);
}

/// The length of a field of `length` bytes, with its tag.
#[must_use]
pub const fn field_len(length: usize) -> usize {
    1 + varint_len(length as u64) + length
}

/// The length of a varint.
#[must_use]
pub const fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends a `Device` of a `ListAndWatchResponse`.
pub(super) fn put_device(to: &mut Vec<u8>, id: &str, health: &str, numa: Option<u32>) {
    let topology = numa.map(numa_len);
    let length = field_len(id.len()) + field_len(health.len()) + topology.map_or(0, |node| field_len(field_len(node)));
    put_head(to, 1, length);
    put_field(to, 1, id.as_bytes());
    put_field(to, 2, health.as_bytes());
    if let (Some(node), Some(length)) = (numa, topology) {
        put_head(to, 3, field_len(length)); // TopologyInfo
        put_head(to, 1, length); // NUMANode
        if node != 0 {
            to.push(1 << 3);
            put_varint(to, node.into());
        }
    }
}

/// The length of a `NUMANode`: a zero is not written.
const fn numa_len(node: u32) -> usize {
    if node == 0 { 0 } else { 1 + varint_len(node as u64) }
}

/// The length of what [`put_device`] appends.
pub(super) fn device_len(id: &str, health: &str, numa: Option<u32>) -> usize {
    let topology = numa.map_or(0, |node| field_len(field_len(numa_len(node))));
    field_len(field_len(id.len()) + field_len(health.len()) + topology)
}

/// Appends a `DeviceSpec` of a `ContainerAllocateResponse`: the same path inside and outside, read, written and made (as
/// KubeVirt does: `pkg/virt-handler/device-manager/common.go`, `formatVFIODeviceSpecs`). `name` is what follows
/// [`DevNodes::FOLDER`], or a whole path.
#[inline]
pub(super) fn put_node(to: &mut Vec<u8>, name: &[u8]) {
    /// As long as each length is one byte.
    const SHORT: usize = 32;
    match name {
        [first, ..] if *first != b'/' && name.len() <= SHORT => {
            let path = (FOLDER + name.len()) as u8;
            let length = 2 * (2 + path) + 2 + PERMISSIONS.len() as u8;
            // Tags and lengths stand where they are copied from with what follows them.
            let (mut first, mut second) = (*b"\x1a_\x0a_/dev/vfio/", *b"\x12_/dev/vfio/");
            (first[1], first[3], second[1]) = (length, path, path);
            to.reserve(2 + usize::from(length));
            to.extend_from_slice(&first);
            to.extend_from_slice(name);
            to.extend_from_slice(&second);
            to.extend_from_slice(name);
            to.extend_from_slice(b"\x1a\x03mrw");
        }
        _ => put_any_node(to, name),
    }
}

const PERMISSIONS: &[u8; 3] = b"mrw";
/// The length of what stands before a name.
const FOLDER: usize = DevNodes::FOLDER.len() + 1;

fn put_any_node(to: &mut Vec<u8>, name: &[u8]) {
    let folder = folder_of(name).as_bytes();
    let length = folder.len() + name.len();
    put_head(to, 3, 2 * field_len(length) + field_len(PERMISSIONS.len()));
    for number in [1, 2] {
        put_head(to, number, length);
        to.extend_from_slice(folder);
        to.extend_from_slice(name);
    }
    put_field(to, 3, PERMISSIONS);
}

/// What stands before the name of a node in its path.
pub(super) fn folder_of(name: &[u8]) -> &'static str {
    if name.first() == Some(&b'/') { "" } else { "/dev/vfio/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_message_is_named() {
        for (bytes, why) in [
            (&[0x0a, 5, 1][..], "the middle of a field"),
            (&[0x0a], "the middle of a number"),
            (&[0x0a, 0xff], "the middle of a number"),
            (&[0xff; 11], "too long"),
            (&[0x02, 0], "number 0"),
            (&[0x0b], "unknown kind"),
            (&[0x0a, 3, 0x0a, 1, 0xff], "not UTF-8"),
        ] {
            let error = allocate_request(bytes).unwrap_err().to_string();
            assert!(error.contains(why), "{bytes:?}: {error}");
        }
    }

    #[test]
    fn a_node_is_put_in_the_same_way_whatever_its_name() {
        assert_eq!(folder_of(b"0"), format!("{}/", DevNodes::FOLDER));
        for length in 0..300 {
            for name in ["7".repeat(length), format!("/{}", "7".repeat(length))] {
                let (mut put, mut any) = (vec![1], vec![1]);
                put_node(&mut put, name.as_bytes());
                put_any_node(&mut any, name.as_bytes());
                assert_eq!(put, any, "{name}");
            }
        }
    }

    #[test]
    fn fields_of_later_versions_are_skipped() {
        let unknown = [0x50, 1, 0x51, 0, 0, 0, 0, 0, 0, 0, 0, 0x55, 0, 0, 0, 0, 0x5a, 1, 9];
        let mut container = unknown.to_vec();
        put_field(&mut container, 1, b"x");
        container.extend(unknown);
        let mut request = unknown.to_vec();
        put_field(&mut request, 1, &container);
        assert_eq!(allocate_request(&request), Ok(vec![vec!["x"]]));
    }
}
