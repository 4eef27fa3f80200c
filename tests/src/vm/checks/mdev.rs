//! Mediated devices, made by the kernel's sample driver `mtty`.

use crate::vm::mdev::Mdev;
use crate::vm::opener::{self, group};
use crate::vm::{Guest, modules};
use anyhow::{Result, ensure};

/// Removes what it creates.
pub fn run(guest: &mut Guest) -> Result<()> {
    guest.check("a created mdev has a type name, a group and a node, and opens", |_| {
        modules::need_mtty()?;
        let mdev = Mdev::create("6c3ddb4c-1b4e-4e0c-9f6e-2f3c1c1f0a01")?;
        ensure!(mdev.type_name()? == "Single port serial", "its type is {:?}", mdev.type_name()?);
        let node = mdev.node()?;
        let opened = opener::open(&[group(&node, &[mdev.uuid()])]);
        mdev.remove()?;
        opened?.expect(&[format!("group {} viable", node.display()), format!("device {} regions=", mdev.uuid())])?;
        ensure!(!node.exists(), "the mdev is removed and {} is there", node.display());
        Ok(())
    })
}
