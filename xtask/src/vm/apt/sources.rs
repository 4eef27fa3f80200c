//! Where another release of the machine's own distribution is: on the mirror that the machine uses.

use crate::process;
use anyhow::{Context, Result, bail};
use std::fs;
use std::process::Command;

/// What apt says of each package index that it is configured with (apt-get(8), `indextargets`).
const FORMAT: &str = "$(REPO_URI)|$(RELEASE)|$(CODENAME)|$(COMPONENT)|$(SIGNED_BY)";
/// Where Debian keeps the keys of all its releases, for sources that name none.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The codename of the machine's own release, such as `bookworm`.
pub fn own_suite() -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    Some(name.trim_matches('"').to_owned())
}

/// A `sources.list` for `suite`.
pub fn of_suite(suite: &str) -> Result<String> {
    let Some(own) = own_suite() else { bail!("/etc/os-release names no release of Debian") };
    let mut ask = Command::new(process::find("apt-get").context("apt is not on this machine")?);
    ask.args(["indextargets", "--format", FORMAT, "Created-By: Packages"]).env("LC_ALL", "C");
    let keyring = fs::exists(KEYRING).unwrap_or(false).then_some(KEYRING);
    list(&process::text(&mut ask)?, &own, suite, keyring)
        .with_context(|| format!("apt knows no mirror of {own}'s `main`, where {suite} would be, too"))
}

fn list(targets: &str, own: &str, suite: &str, keyring: Option<&str>) -> Option<String> {
    // The release itself, not its updates or its backports, which lie elsewhere on some mirrors.
    let (uri, keys) = targets.lines().find_map(|line| {
        let mut fields = line.split('|');
        let (uri, release, codename) = (fields.next()?, fields.next()?, fields.next()?);
        let (component, keys) = (fields.next()?, fields.next()?);
        ((release == own || codename == own) && component == "main").then_some((uri, keys))
    })?;
    // apt leaves a field that it knows nothing of as it is in the format.
    let keys = Some(keys).filter(|keys| keys.starts_with('/')).or(keyring);
    let keys = keys.map(|keys| format!("[signed-by={keys}] ")).unwrap_or_default();
    Some(format!("deb {keys}{uri} {suite} main\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGETS: &str = "https://one.example/tools/|stable|tools|main|/keys/tools.gpg\n\
                           https://two.example/debian/|bookworm-updates|bookworm-updates|main|$(SIGNED_BY)\n\
                           https://two.example/debian/|bookworm|bookworm|contrib|$(SIGNED_BY)\n\
                           https://two.example/debian/|bookworm|bookworm|main|$(SIGNED_BY)\n";

    #[test]
    fn another_release_is_on_the_mirror_of_the_machines_own() {
        let expected = "deb [signed-by=/keys/all.gpg] https://two.example/debian/ sid main\n";
        assert_eq!(list(TARGETS, "bookworm", "sid", Some("/keys/all.gpg")).as_deref(), Some(expected));
        assert_eq!(list(TARGETS, "trixie", "sid", None), None);
    }

    #[test]
    fn a_source_keeps_its_own_keys_and_may_call_its_release_stable() {
        let targets = "https://two.example/debian/|stable|trixie|main|/keys/own.gpg\n";
        let expected = "deb [signed-by=/keys/own.gpg] https://two.example/debian/ sid main\n";
        assert_eq!(list(targets, "trixie", "sid", Some("/keys/all.gpg")).as_deref(), Some(expected));
    }
}
