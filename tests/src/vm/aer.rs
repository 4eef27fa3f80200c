//! Injecting PCI errors with the kernel's `aer_inject`, which makes a port believe that a function below it, or the port itself,
//! has reported one (`Documentation/PCI/pcieaer-howto.rst`; `drivers/pci/pcie/aer_inject.c`, `struct aer_error_inj`).

use super::report::Skip;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

const INJECT: &str = "/dev/aer_inject";

/// An error, by its bit in a status register (`include/uapi/linux/pci_regs.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// `PCI_ERR_COR_BAD_TLP`: the hardware has corrected it.
    Corrected,
    /// `PCI_ERR_UNC_COMP_TIME`, which is not fatal unless somebody says so.
    NonFatal,
    /// `PCI_ERR_UNC_DLP`, which is fatal unless somebody says otherwise.
    Fatal,
}

impl Error {
    /// The bits of the registers for uncorrectable and for correctable errors.
    const fn status(self) -> [u32; 2] {
        match self {
            Self::Corrected => [0, 0x40],
            Self::NonFatal => [0x4000, 0],
            Self::Fatal => [0x10, 0],
        }
    }
}

/// Makes the function at this address report an error.
///
/// # Errors
///
/// [`Skip`] where the kernel has no `aer_inject`; and what the kernel refuses.
pub fn inject(function: &str, error: Error) -> Result<()> {
    if !Path::new(INJECT).exists() {
        return Err(Skip("this kernel has no aer_inject (CONFIG_PCIEAER_INJECT)".into()).into());
    }
    let number = |text: &str| u8::from_str_radix(text, 16).with_context(|| format!("{function} is no address"));
    let at = |from: usize, to: usize| function.get(from..to).unwrap_or_default();
    let mut bytes = vec![number(at(5, 7))?, number(at(8, 10))?, number(at(11, 12))?, 0];
    let [uncorrectable, correctable] = error.status();
    // The log of the packet's header, and the domain.
    for word in [uncorrectable, correctable, 0, 0, 0, 0, 0] {
        bytes.extend(word.to_ne_bytes());
    }
    fs::write(INJECT, bytes).with_context(|| format!("no error can be injected into {function}"))
}
