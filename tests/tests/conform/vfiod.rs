//! vfiod keeps every convention.

use super::bench::report;
use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader},
    path::PathBuf,
    thread,
    time::Duration,
};
use tempfile::TempDir;
use vfiod_simulator::node::{MdevSpec, MdevType, Node, PciSpec};
use vfiod_tests::agent::binary;

const CONFIG: &str = r#"
permittedHostDevices:
  pciHostDevices:
  - {pciVendorSelector: "8086:6F54", resourceName: intel.com/qat}
  mediatedDevices:
  - {mdevNameSelector: "GRID T4-1Q", resourceName: nvidia.com/GRID_T4-1Q}
"#;
const QAT: &str = "intel.com/qat";

/// Forty QATs, one of them of no NUMA node, and two vGPUs.
fn node() -> Node {
    let mut builder = Node::builder();
    for number in 0..40_u32 {
        let spec = PciSpec::new(format!("0000:3b:{:02x}.{}", number / 8, number % 8), "8086:6F54");
        let spec = spec.driver("vfio-pci").group(100 + number);
        builder = builder.pci(if number == 1 { spec } else { spec.numa(0) });
    }
    let card = PciSpec::new("0000:d8:00.0", "10DE:1EB8").driver("nvidia").numa(0).group(42);
    let uuid = |last: u32| format!("83b8f4f2-509f-382f-3c1e-e6bfe0fa100{last}");
    builder
        .pci(card.mdev_type(MdevType::new("nvidia-222", "GRID T4-1Q")))
        .mdev(MdevSpec::new(uuid(1), "0000:d8:00.0", "nvidia-222"))
        .mdev(MdevSpec::new(uuid(2), "0000:d8:00.0", "nvidia-222"))
        .build()
        .unwrap()
}

/// Does what is appended to a file, line by line: a shell that only appends makes a storm on the slowest machine.
fn follow(file: PathBuf, fulfil: impl Fn(&str) -> io::Result<()> + Send + 'static) {
    File::create(&file).unwrap();
    thread::spawn(move || {
        let mut lines = BufReader::new(File::open(file).unwrap());
        let mut line = String::new();
        // Ends with the node.
        loop {
            line.clear();
            match lines.read_line(&mut line) {
                Ok(0) => thread::sleep(Duration::from_millis(1)),
                _ if fulfil(line.trim_end()).is_err() => return,
                _ => {}
            }
        }
    });
}

#[test]
fn vfiod_keeps_every_convention_for_every_resource() {
    let (node, folder) = (node(), TempDir::new().unwrap());
    let config = folder.path().join("config.yaml");
    fs::write(&config, CONFIG).unwrap();
    let root = node.root().display();
    let command = format!(
        "{} run --config {} --host-root {root} --kubelet-dir {{kubelet-dir}}",
        binary().display(),
        config.display()
    );
    let host_root = root.to_string();

    // PCI devices, with a device node that goes and comes back.
    let wishes = folder.path().join("wishes");
    let (away, back) = (format!("echo away >> {}", wishes.display()), format!("echo back >> {}", wishes.display()));
    let (here, there) = (node.root().join("dev/vfio/100"), node.root().join("dev/vfio-100"));
    follow(wishes, move |wish| if wish == "away" { fs::rename(&here, &there) } else { fs::rename(&there, &here) });
    let pci = ["--command", &command, "--host-root", &host_root, "--resource", QAT, "--break", &away, "--mend", &back];
    let found = report(&pci);
    assert_eq!(found.with_outcome("passed").len(), found.len(), "{}", found.told());
    assert_eq!(found.code, 0);

    // All resources, mdevs among them, with nothing broken.
    let found = report(&["--command", &command, "--host-root", &host_root, "--skip", "health,storm,slow.backlog"]);
    assert_eq!(
        found.with_outcome("passed").len() + found.with_outcome("skipped").len(),
        found.len(),
        "{}",
        found.told()
    );
    assert_eq!(found.code, 0);
}
