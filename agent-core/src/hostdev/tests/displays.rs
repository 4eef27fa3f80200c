use super::*;

const ENV: &str = "MDEV_PCI_RESOURCE_X_Y_V=83b8f4f2-509f-382f-3c1e-e6bfe0fa1001,83b8f4f2-509f-382f-3c1e-e6bfe0fa1002
PCI_RESOURCE_X_Y_P=0000:01:00.0";

/// `alias display ramfb` of each device.
fn displays(gpus: &[&str], host_devices: &[&str]) -> Vec<String> {
    let assignment = launched(&vmi(gpus, host_devices), ENV);
    let shown = |device: &HostDevice| format!("{} {} {}", device.alias, device.display, device.ramfb);
    assignment.devices.iter().map(shown).collect()
}

#[test]
fn the_first_vgpu_gets_the_display_where_the_machine_says_nothing() {
    assert_eq!(
        displays(&["p=x.y/p", "a=x.y/v", "b=x.y/v"], &[]),
        ["ua-gpu-p false false", "ua-gpu-a true true", "ua-gpu-b false false"]
    );
}

#[test]
fn what_one_entry_says_of_its_display_ends_the_default_for_all() {
    let off = ", virtualGPUOptions: {display: {enabled: false}}";
    assert_eq!(
        displays(&[&format!("a=x.y/v {off}"), "b=x.y/v"], &[]),
        ["ua-gpu-a false false", "ua-gpu-b false false"]
    );
    let on = ", virtualGPUOptions: {display: {}}";
    assert_eq!(displays(&["a=x.y/v", &format!("b=x.y/v {on}")], &[]), ["ua-gpu-a false false", "ua-gpu-b true true"]);
    let no_ramfb = ", virtualGPUOptions: {display: {enabled: true, ramFB: {enabled: false}}}";
    assert_eq!(displays(&[&format!("a=x.y/v {no_ramfb}")], &[]), ["ua-gpu-a true false"]);
    let bare = ", virtualGPUOptions: {display: {ramFB: {}}}";
    assert_eq!(displays(&[&format!("a=x.y/v {bare}")], &[]), ["ua-gpu-a true true"]);
    let empty = ", virtualGPUOptions: {}";
    assert_eq!(displays(&[&format!("a=x.y/v {empty}")], &[]), ["ua-gpu-a true true"]);
}

#[test]
fn a_pci_function_has_a_display_only_where_it_is_asked_for() {
    let display = |text: &str| displays(&[&format!("p=x.y/p , virtualGPUOptions: {{display: {text}}}")], &[]);
    assert_eq!(display("{}"), ["ua-gpu-p false false"]);
    assert_eq!(display("{enabled: true}"), ["ua-gpu-p true true"]);
    assert_eq!(display("{enabled: true, ramFB: {enabled: false}}"), ["ua-gpu-p true false"]);
}

#[test]
fn host_devices_never_have_a_display() {
    assert_eq!(displays(&[], &["a=x.y/v"]), ["ua-hostdevice-a false false"]);
}

#[test]
fn a_second_ramfb_is_refused_before_there_is_a_pod() {
    let on = ", virtualGPUOptions: {display: {}}";
    let document = vmi(&[&format!("a=x.y/v {on}"), &format!("b=x.y/v {on}")], &[]);
    assert_eq!(
        told(&requests(&machine(&document)).problems),
        [
            "spec.domain.devices.gpus[1].virtualGPUOptions.display: turns a second ramfb on; spec.domain.devices.gpus[0] has \
          one, and QEMU takes one only; set ramFB.enabled: false"
        ]
    );
}

#[test]
fn a_display_needs_a_graphics_device() {
    let document = vmi(&["a=x.y/v"], &[]).replace("tpm: {}", "autoattachGraphicsDevice: false");
    let all = failures(&document, ENV);
    assert_eq!(all.len(), 1, "{all:?}");
    assert!(all[0].contains("has its display on, and the machine has no graphics device"), "{all:?}");
    let off = document.replace("x.y/v", "x.y/v, virtualGPUOptions: {display: {enabled: false}}");
    assert_eq!(failures(&off, ENV), Vec::<String>::new());
}

#[test]
fn a_display_that_is_no_switch_is_told() {
    let text = vmi(&["a=x.y/v , virtualGPUOptions: {display: {enabled: 'yes'}}"], &[]);
    assert!(told(&read(&text).problems)[0].contains("virtualGPUOptions.display.enabled: \"yes\" is a text"));
    let list = vmi(&["a=x.y/v , virtualGPUOptions: [display]"], &[]);
    assert!(told(&read(&list).problems)[0].contains("virtualGPUOptions: is a list"));
}
