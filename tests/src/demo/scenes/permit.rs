//! The administrator says what is permitted.

use crate::demo::{
    host::SEED,
    stage::{PERMIT, Stage},
};
use anyhow::Result;

pub(super) fn play(stage: &mut Stage) -> Result<()> {
    stage.page.scene("An administrator permits devices")?;
    stage.page.say(&format!("{PERMIT}, the example of KubeVirt's documentation:"))?;
    stage.page.blank()?;
    stage.page.quote(SEED)?;
    stage.page.blank()?;
    stage.page.say(
        "What it means: which devices feed which resource, and under which variables a virtual machine's pod will find \
         those that it got.",
    )?;
    stage.page.blank()?;
    stage.page.command(&format!("vfiod check {PERMIT}"))?;
    let checked = stage.vfiod(&["check", PERMIT])?;
    stage.page.quote(&checked)
}
