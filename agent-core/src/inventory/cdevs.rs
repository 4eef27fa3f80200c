//! Which device has a character device of a name.

use crate::device::DeviceId;
use std::collections::HashMap;

/// The owners of the names below `/dev/vfio/devices`. The kernel numbers them (`drivers/vfio/vfio_main.c`,
/// `dev_set_name(…, "vfio%d", …)`), so of thousands of devices the numbers are kept, and texts only of what is named
/// otherwise.
#[derive(Debug, Default)]
pub(super) struct Cdevs {
    numbered: HashMap<u32, DeviceId>,
    named: HashMap<String, DeviceId>,
}

/// The number in a name as the kernel writes it.
fn number(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("vfio")?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    if plain { digits.parse().ok() } else { None }
}

impl Cdevs {
    pub(super) fn get(&self, name: &str) -> Option<DeviceId> {
        match number(name) {
            Some(number) => self.numbered.get(&number).copied(),
            None => self.named.get(name).copied(),
        }
    }

    pub(super) fn insert(&mut self, name: &str, device: DeviceId) {
        match number(name) {
            Some(number) => self.numbered.insert(number, device),
            None => self.named.insert(name.to_owned(), device),
        };
    }

    /// Takes a name from a device, unless another one has taken it over since.
    pub(super) fn remove(&mut self, name: &str, device: DeviceId) {
        if self.get(name) == Some(device) {
            match number(name) {
                Some(number) => self.numbered.remove(&number),
                None => self.named.remove(name),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Bdf;

    #[test]
    fn a_name_leads_to_the_device_that_took_it_last() {
        let id = |bus| DeviceId::from(Bdf::new(0, bus, 0, 0).unwrap());
        for name in ["vfio0", "vfio17", "vfio017", "vfio+1", "vfio", "other", "vfio99999999999"] {
            let mut cdevs = Cdevs::default();
            cdevs.insert(name, id(1));
            cdevs.insert(name, id(2));
            cdevs.remove(name, id(1));
            assert_eq!(cdevs.get(name), Some(id(2)), "{name}");
            assert_eq!(cdevs.get("vfio1"), None);
            cdevs.remove(name, id(2));
            assert_eq!(cdevs.get(name), None);
        }
    }
}
