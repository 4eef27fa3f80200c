//! Descriptions of devices, from which a node is built and into which others are plugged.

/// A PCI function to be.
///
/// Without further words it is a display controller without a driver, on a root bus of its own, without a NUMA node, in
/// an IOMMU group of its own.
#[derive(Debug, Clone)]
pub struct PciSpec {
    pub(super) bdf: String,
    pub(super) pci_id: String,
    pub(super) subsystem_id: Option<String>,
    pub(super) class: u32,
    pub(super) driver: Option<String>,
    pub(super) numa: i32,
    pub(super) grouping: Grouping,
    pub(super) behind: Option<String>,
    pub(super) sriov: Option<Sriov>,
    pub(super) vgpu_type: Option<u32>,
    pub(super) mdev_types: Vec<MdevType>,
}

/// Which IOMMU group a function joins.
#[derive(Debug, Clone)]
pub(super) enum Grouping {
    Own,
    Number(u32),
    With(String),
    Nowhere,
}

impl PciSpec {
    /// A function at an address (`0000:3b:00.0`) with a vendor and product number (`10DE:1EB8`).
    ///
    /// Both are checked when the node is built or the device plugged.
    #[must_use]
    pub fn new(bdf: impl Into<String>, pci_id: impl Into<String>) -> Self {
        Self {
            bdf: bdf.into(),
            pci_id: pci_id.into(),
            subsystem_id: None,
            class: 0x03_02_00,
            driver: None,
            numa: -1,
            grouping: Grouping::Own,
            behind: None,
            sriov: None,
            vgpu_type: None,
            mdev_types: Vec::new(),
        }
    }

    /// A PCI-to-PCI bridge on `pcieport`, such as a root port; others go [`behind`](Self::behind) it.
    #[must_use]
    pub fn bridge(bdf: impl Into<String>) -> Self {
        Self::new(bdf, "8086:2030").class(0x06_04_00).driver("pcieport")
    }

    /// Another vendor and product number than the one given first.
    #[must_use]
    pub fn id(mut self, pci_id: impl Into<String>) -> Self {
        self.pci_id = pci_id.into();
        self
    }

    /// The address it will have.
    #[must_use]
    pub fn bdf(&self) -> &str {
        &self.bdf
    }

    /// The class code, 24 bits: `0x030000` for VGA, `0x040300` for HD audio, `0x0b4000` for a co-processor.
    #[must_use]
    pub const fn class(mut self, class: u32) -> Self {
        self.class = class;
        self
    }

    /// The vendor and product number of the board (`VVVV:DDDD`); without it, those of the chip.
    #[must_use]
    pub fn subsystem(mut self, id: impl Into<String>) -> Self {
        self.subsystem_id = Some(id.into());
        self
    }

    /// The driver it is bound to at first.
    #[must_use]
    pub fn driver(mut self, driver: impl Into<String>) -> Self {
        self.driver = Some(driver.into());
        self
    }

    /// The NUMA node; -1 for none.
    #[must_use]
    pub const fn numa(mut self, node: i32) -> Self {
        self.numa = node;
        self
    }

    /// The number of its IOMMU group.
    #[must_use]
    pub fn group(mut self, number: u32) -> Self {
        self.grouping = Grouping::Number(number);
        self
    }

    /// Puts it into the IOMMU group of another device, as functions without ACS are.
    #[must_use]
    pub fn sharing_group_with(mut self, bdf: impl Into<String>) -> Self {
        self.grouping = Grouping::With(bdf.into());
        self
    }

    /// No IOMMU translates for it. Bound to a VFIO driver it gets a group all the same, named `vfio-noiommu`, and
    /// its node is called `noiommu-N` (kernel: `drivers/vfio/group.c`, `vfio_noiommu_group_alloc`).
    #[must_use]
    pub fn without_iommu(mut self) -> Self {
        self.grouping = Grouping::Nowhere;
        self
    }

    /// Puts it below a bridge. A function of another domain gets a root bus of its own there, as VMD makes it
    /// (kernel: `drivers/pci/controller/vmd.c`, `vmd_enable_domain`).
    #[must_use]
    pub fn behind(mut self, bridge: impl Into<String>) -> Self {
        self.behind = Some(bridge.into());
        self
    }

    /// Gives it the ability to have virtual functions.
    #[must_use]
    pub fn sriov(mut self, sriov: Sriov) -> Self {
        self.sriov = Some(sriov);
        self
    }

    /// Gives it NVIDIA's `nvidia/current_vgpu_type`: on the driver `nvidia` and with a number other than 0, the function is a
    /// vGPU that is registered with VFIO (KubeVirt: `pkg/virt-handler/device-manager/pci_device.go`).
    #[must_use]
    pub const fn vgpu_type(mut self, number: u32) -> Self {
        self.vgpu_type = Some(number);
        self
    }

    /// Lets it offer an mdev type while it is bound to the driver that this description names; where it names none,
    /// to any driver that is not one of VFIO's.
    #[must_use]
    pub fn mdev_type(mut self, offered: MdevType) -> Self {
        self.mdev_types.push(offered);
        self
    }
}

/// The SR-IOV capability of a physical function.
#[derive(Debug, Clone)]
pub struct Sriov {
    pub(super) total: u16,
    pub(super) enabled: u16,
    pub(super) offset: u16,
    pub(super) stride: u16,
    pub(super) product: u16,
    pub(super) driver: Option<String>,
    pub(super) vgpu_type: Option<u32>,
}

impl Sriov {
    /// Up to `total` virtual functions, each with this product number.
    #[must_use]
    pub const fn new(total: u16, product: u16) -> Self {
        Self { total, enabled: 0, offset: 4, stride: 1, product, driver: None, vgpu_type: None }
    }

    /// How many exist when the node comes up.
    #[must_use]
    pub const fn enabled(mut self, count: u16) -> Self {
        self.enabled = count;
        self
    }

    /// Where the first one is, counted in functions from the physical one, and how far the next (4 and 1 unless said).
    #[must_use]
    pub const fn offset(mut self, first: u16, stride: u16) -> Self {
        self.offset = first;
        self.stride = stride;
        self
    }

    /// The driver that virtual functions are bound to as soon as they appear.
    #[must_use]
    pub fn vf_driver(mut self, driver: impl Into<String>) -> Self {
        self.driver = Some(driver.into());
        self
    }

    /// What `nvidia/current_vgpu_type` of each virtual function says at first.
    #[must_use]
    pub const fn vf_vgpu_type(mut self, number: u32) -> Self {
        self.vgpu_type = Some(number);
        self
    }
}

/// A type of mdev that a parent offers.
#[derive(Debug, Clone)]
pub struct MdevType {
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) description: Option<String>,
    pub(super) device_api: String,
    pub(super) available: u32,
}

impl MdevType {
    /// A type by the name of its folder (`nvidia-222`) and the name for people (`GRID T4-1Q`), with 16 instances.
    #[must_use]
    pub fn new(id: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            name: Some(name.into()),
            description: None,
            device_api: "vfio-pci".to_owned(),
            available: 16,
        }
    }

    /// A type without a `name` file, as drivers could have it up to Linux 5.18.
    #[must_use]
    pub fn nameless(id: impl Into<String>) -> Self {
        let mut offered = Self::new(id, "");
        offered.name = None;
        offered
    }

    /// How many can exist at once.
    #[must_use]
    pub const fn available(mut self, instances: u32) -> Self {
        self.available = instances;
        self
    }

    /// The text of the `description` file, which only some drivers have.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = Some(text.into());
        self
    }

    /// The text of `device_api`: `vfio-pci` unless said, `vfio-ap` or `vfio-ccw` on s390.
    #[must_use]
    pub fn device_api(mut self, api: impl Into<String>) -> Self {
        self.device_api = api.into();
        self
    }
}

/// A parent of mdevs that is no PCI device, such as the samples `mtty` and `mdpy`.
#[derive(Debug, Clone)]
pub struct VirtualParent {
    pub(super) class: String,
    pub(super) name: String,
    pub(super) types: Vec<MdevType>,
}

impl VirtualParent {
    /// `devices/virtual/<class>/<name>` (kernel: `samples/vfio-mdev/mtty.c`, `mtty_dev_init`).
    #[must_use]
    pub fn new(class: impl Into<String>, name: impl Into<String>) -> Self {
        Self { class: class.into(), name: name.into(), types: Vec::new() }
    }

    /// Lets it offer a type.
    #[must_use]
    pub fn mdev_type(mut self, offered: MdevType) -> Self {
        self.types.push(offered);
        self
    }
}

/// A mediated device to be.
#[derive(Debug, Clone)]
pub struct MdevSpec {
    pub(super) parent: String,
    pub(super) type_id: String,
    pub(super) uuid: String,
    pub(super) driver: Option<String>,
}

impl MdevSpec {
    /// An mdev with this UUID, of the type in the folder `type_id` of `parent` (a BDF, or the name of a virtual parent).
    #[must_use]
    pub fn new(uuid: impl Into<String>, parent: impl Into<String>, type_id: impl Into<String>) -> Self {
        Self { parent: parent.into(), type_id: type_id.into(), uuid: uuid.into(), driver: Some("vfio_mdev".to_owned()) }
    }

    /// Its UUID.
    #[must_use]
    pub fn uuid(&self) -> &str {
        &self.uuid
    }

    /// The driver on the mdev bus: `vfio_mdev` unless said (up to Linux 5.18; later each parent brings its own, such as
    /// `nvidia-vgpu-vfio` or plain `mtty`).
    #[must_use]
    pub fn driver(mut self, driver: impl Into<String>) -> Self {
        self.driver = Some(driver.into());
        self
    }
}
