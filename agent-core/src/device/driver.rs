//! Which kernel drivers hand a device to VFIO.

/// Whether a driver of this name is a VFIO driver: `vfio-pci`, or a variant such as `mlx5_vfio_pci`,
/// `nvgrace_gpu_vfio_pci` or `vfio_mdev` (kernel: `drivers/vfio/`). Every one of them carries `vfio` as a word of its name.
#[must_use]
pub fn is_vfio_driver(name: &str) -> bool {
    name.split(['-', '_']).any(|word| word == "vfio")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_count_and_look_alikes_do_not() {
        for name in
            ["vfio-pci", "mlx5_vfio_pci", "nvgrace_gpu_vfio_pci", "vfio_mdev", "hisi_acc_vfio_pci", "nvidia-vgpu-vfio"]
        {
            assert!(is_vfio_driver(name), "{name}");
        }
        for name in ["", "nvidia", "pci-stub", "pcieport", "notvfio", "vfiox-pci"] {
            assert!(!is_vfio_driver(name), "{name}");
        }
    }
}
