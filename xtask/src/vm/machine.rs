//! The machine that QEMU makes: its devices, how it is accelerated, and starting it.

use super::qmp::Qmp;
use super::tools::QEMU;
use super::{Accel, Unavailable};
use crate::process;
use anyhow::{Context, Result};
use std::fmt;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// The machine. `edu` is QEMU's teaching device (1234:11e8): a PCI device with a BAR, interrupts and DMA that no
/// driver of the kernel claims.
const MACHINE: [&str; 11] = [
    // The type1 IOMMU refuses a machine whose interrupts are not remapped; that needs the split irqchip.
    "-machine q35,kernel-irqchip=split",
    "-smp 2 -m 1024 -nodefaults -display none -no-reboot",
    "-device intel-iommu,intremap=on,caching-mode=on",
    // Two devices with an IOMMU group each.
    "-device edu,addr=4.0 -device edu,addr=5.0",
    // Two functions of one device: one group.
    "-device edu,addr=6.0,multifunction=on -device edu,addr=6.1",
    // Two devices behind a bridge without ACS: one group, and the bridge is in it.
    "-device pcie-root-port,id=port-bridge,chassis=1,slot=1,addr=7.0 -device pcie-pci-bridge,id=bridge,bus=port-bridge",
    "-device edu,bus=bridge,addr=1.0 -device edu,bus=bridge,addr=2.0",
    // A device in a root port, and a port to plug one into; `checks::hotplug` in tests/src/vm knows the names.
    "-device pcie-root-port,id=port-full,chassis=2,slot=2,addr=8.0 -device edu,bus=port-full,id=early",
    "-device pcie-root-port,id=port-free,chassis=3,slot=3,addr=9.0",
    // A PCI Express device that reports errors (AER), which `edu`, a conventional one, cannot.
    "-device pcie-root-port,id=port-aer,chassis=4,slot=4,addr=a.0 -device virtio-rng-pci,bus=port-aer,aer=on",
    "-rtc base=utc",
];

/// `no_timer_check`: on a machine that is busy the translated timer comes so late that the kernel takes it for broken, and panics.
const KERNEL_LINE: &str = "console=ttyS0 intel_iommu=on iommu=pt panic=-1 no_timer_check";

/// How the guest's instructions will run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// By the processor.
    Kvm,
    /// By translation.
    Tcg,
}

impl Chosen {
    /// Seconds that a guest may take where the user says nothing.
    pub fn patience(self) -> u64 {
        match self {
            Self::Kvm => 600,
            Self::Tcg => 1800,
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Kvm => &["-accel", "kvm", "-cpu", "host"],
            Self::Tcg => &["-accel", "tcg,thread=multi", "-cpu", "max"],
        }
    }
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG",
        })
    }
}

/// Decides how to run, by trying: `/dev/kvm` may be there and unable to boot a stock kernel.
pub fn choose(wanted: Accel, kernel: &Path) -> Result<Chosen> {
    match wanted {
        Accel::Tcg => Ok(Chosen::Tcg),
        Accel::Auto => Ok(if boots_under_kvm(kernel).is_ok() { Chosen::Kvm } else { Chosen::Tcg }),
        Accel::Kvm => match boots_under_kvm(kernel) {
            Ok(()) => Ok(Chosen::Kvm),
            Err(error) => Err(Unavailable(format!("KVM does not work here ({error:#}); try --accel tcg")).into()),
        },
    }
}

/// Boots `kernel` without a root: it comes far enough to find that out, and the machine stops.
fn boots_under_kvm(kernel: &Path) -> Result<()> {
    std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").context("/dev/kvm cannot be opened")?;
    let mut command = Command::new(QEMU);
    command.args(words(&MACHINE[..3])).args(Chosen::Kvm.arguments()).args(["-serial", "stdio", "-kernel"]).arg(kernel);
    command.args(["-append", KERNEL_LINE]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot run QEMU")?;
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline && child.try_wait()?.is_none() {
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(child.kill());
    let output = child.wait_with_output()?;
    match String::from_utf8_lossy(&output.stdout).contains("Unable to mount root fs") {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            anyhow::bail!("a kernel does not boot: {}", said.lines().last().unwrap_or("it says nothing").trim())
        }
    }
}

/// A machine, ready to boot.
pub struct Machine<'a> {
    /// The kernel's image.
    pub kernel: &'a Path,
    /// What it unpacks as its root.
    pub initramfs: &'a Path,
    /// How it runs.
    pub accel: Chosen,
    /// The file that keeps what the kernel prints.
    pub console: PathBuf,
}

impl Machine<'_> {
    fn arguments(&self, kernel_line: &str) -> Vec<String> {
        let mut arguments = words(&MACHINE);
        arguments.extend(self.accel.arguments().iter().map(|word| (*word).to_owned()));
        arguments.extend(["-kernel".into(), self.kernel.display().to_string()]);
        arguments.extend(["-initrd".into(), self.initramfs.display().to_string()]);
        arguments.extend(["-append".into(), kernel_line.into()]);
        arguments
    }

    /// Starts it. The guest's first serial port is its console, the second one talks with the session.
    pub fn boot(&self) -> Result<Guest> {
        let (ours, theirs) = UnixStream::pair().context("no socket for QEMU's monitor")?;
        rustix::io::fcntl_setfd(&theirs, rustix::io::FdFlags::empty()).context("cannot pass QEMU its monitor")?;
        // The guest must not outlive this process, however that ends.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", QEMU]).args(self.arguments(&format!("{KERNEL_LINE} quiet")));
        command.arg("-serial").arg(format!("file:{}", self.console.display())).args(["-serial", "stdio"]);
        command.arg("-chardev").arg(format!("socket,id=monitor,fd={}", theirs.as_raw_fd()));
        command.args(["-mon", "chardev=monitor,mode=control"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot run QEMU")?;
        drop(theirs);
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let mut guest = Guest { child, monitor: Qmp::new(ours)?, input: input.context("QEMU has no stdin")?, output };
        guest.monitor.greet().with_context(|| match guest.child.try_wait() {
            Ok(Some(status)) => format!("QEMU ended at once ({status}); its message is above"),
            _ => "QEMU's monitor does not answer".to_owned(),
        })?;
        Ok(guest)
    }

    /// The command that boots the same guest to a shell on this terminal.
    pub fn by_hand(&self) -> String {
        let mut command = Command::new(QEMU);
        command.args(self.arguments(&format!("{KERNEL_LINE} vm.shell"))).args(["-serial", "mon:stdio"]);
        process::shown(&command)
    }
}

/// A running guest. It is killed when the value is dropped.
pub struct Guest {
    child: Child,
    /// QEMU's monitor.
    pub monitor: Qmp,
    /// What the guest reads from its second serial port.
    pub input: ChildStdin,
    /// What it writes there; taken by the one who reads it.
    pub output: Option<ChildStdout>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn words(lines: &[&str]) -> Vec<String> {
    lines.iter().flat_map(|line| line.split_whitespace()).map(str::to_owned).collect()
}
