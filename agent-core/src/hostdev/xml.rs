//! libvirt's `<hostdev>` elements.

use super::device::{HostDevice, Source};
use std::fmt::{self, Write};

/// One element for each device, as virt-launcher writes them
/// (KubeVirt: `pkg/virt-launcher/virtwrap/api/schema.go`, `HostDevice`).
#[must_use]
pub fn hostdev_xml(devices: &[HostDevice]) -> String {
    let mut out = String::new();
    for device in devices {
        // Writing to a String cannot fail.
        _ = element(&mut out, device);
    }
    out
}

fn element(out: &mut String, device: &HostDevice) -> fmt::Result {
    out.write_str(match device.source {
        Source::Pci(_) => "<hostdev type=\"pci\" managed=\"no\"",
        Source::Mdev(_) => "<hostdev type=\"mdev\" mode=\"subsystem\" model=\"vfio-pci\"",
        Source::Usb { .. } => "<hostdev type=\"usb\" mode=\"subsystem\"",
    })?;
    if device.display {
        out.write_str(" display=\"on\"")?;
    }
    if device.ramfb {
        out.write_str(" ramfb=\"on\"")?;
    }
    out.write_str(">\n  <source>\n    ")?;
    match device.source {
        Source::Pci(bdf) => writeln!(
            out,
            "<address domain=\"0x{:04x}\" bus=\"0x{:02x}\" slot=\"0x{:02x}\" function=\"0x{:x}\"/>",
            bdf.domain(),
            bdf.bus(),
            bdf.device(),
            bdf.function()
        )?,
        Source::Mdev(uuid) => writeln!(out, "<address uuid=\"{}\"/>", uuid.hyphenated())?,
        Source::Usb { bus, device } => writeln!(out, "<address bus=\"{bus}\" device=\"{device}\"/>")?,
    }
    writeln!(out, "  </source>\n  <alias name=\"{}\"/>\n</hostdev>", Escaped(&device.alias))
}

/// A text inside an attribute.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\t' | '\n' | '\r' => write!(f, "&#{};", u32::from(c))?,
                // XML 1.0 has no way to write these.
                c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => f.write_char('\u{fffd}')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}
