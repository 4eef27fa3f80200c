//! The administrator says what is permitted.

use crate::demo::{
    host::SEED,
    stage::{PERMIT, Stage},
};
use anyhow::Result;

pub(super) fn play(stage: &mut Stage) -> Result<()> {
    stage.page.scene("An administrator permits devices")?;
    stage.page.say("The section of the KubeVirt CR that KubeVirt's documentation shows:")?;
    stage.page.blank()?;
    stage.page.quote(SEED)?;
    stage.page.blank()?;
    stage.page.say("What it means: which devices feed which resource, and the environment variables in which virt-launcher will look for them.")?;
    stage.page.blank()?;
    stage.page.command(&format!("vfiod check {PERMIT}"))?;
    let checked = stage.vfiod(&["check", PERMIT])?;
    stage.page.quote(&checked)
}
