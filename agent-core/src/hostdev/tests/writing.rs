use super::*;

#[test]
fn each_kind_of_device_is_an_element_of_its_own() {
    let document = vmi(&["g=x.y/p", "v=x.y/v"], &["u=x.y/u"]);
    let env = "PCI_RESOURCE_X_Y_P=00AB:3b:1f.7\nMDEV_PCI_RESOURCE_X_Y_V=83b8f4f2-509f-382f-3c1e-e6bfe0fa1001\nUSB_RESOURCE_X_Y_U=3:12";
    let assignment = launched(&document, env);
    assert_eq!(
        hostdev_xml(&assignment.devices),
        r#"<hostdev type="usb" mode="subsystem">
  <source>
    <address bus="3" device="12"/>
  </source>
  <alias name="ua-usb-host-u"/>
</hostdev>
<hostdev type="pci" managed="no">
  <source>
    <address domain="0x00ab" bus="0x3b" slot="0x1f" function="0x7"/>
  </source>
  <alias name="ua-gpu-g"/>
</hostdev>
<hostdev type="mdev" mode="subsystem" model="vfio-pci" display="on" ramfb="on">
  <source>
    <address uuid="83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"/>
  </source>
  <alias name="ua-gpu-v"/>
</hostdev>
"#
    );
    assert_eq!(
        qemu_arguments(&assignment.devices),
        [
            "-device",
            "usb-host,hostbus=3,hostaddr=12,id=ua-usb-host-u",
            "-device",
            "vfio-pci,host=00ab:3b:1f.7,id=ua-gpu-g",
            "-device",
            "vfio-pci-nohotplug,sysfsdev=/sys/bus/mdev/devices/83b8f4f2-509f-382f-3c1e-e6bfe0fa1001,id=ua-gpu-v,display=on,ramfb=on",
        ]
    );
}

#[test]
fn an_mdev_without_a_display_says_so_to_qemu() {
    let env = "MDEV_PCI_RESOURCE_X_Y_V=83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";
    let assignment = launched(&vmi(&[], &["v=x.y/v"]), env);
    assert!(qemu_arguments(&assignment.devices)[1].ends_with("id=ua-hostdevice-v,display=off"));
}

#[test]
fn a_name_that_is_no_alias_is_told_and_cannot_break_out() {
    let document = "kind: VirtualMachineInstance\nspec: {domain: {devices: {hostDevices: [{name: \"a\\\"><b/>&,\\u0007\", deviceName: x.y/p}]}}}\n";
    let assignment = launched(document, "PCI_RESOURCE_X_Y_P=0000:01:00.0");
    assert!(told(&assignment.notices)[0].contains("libvirt takes for no alias"), "{:?}", assignment.notices);
    assert!(hostdev_xml(&assignment.devices).contains("\"ua-hostdevice-a&quot;&gt;&lt;b/&gt;&amp;,\u{fffd}\""));
    assert!(qemu_arguments(&assignment.devices)[1].contains("<b/>&,,"));
}
