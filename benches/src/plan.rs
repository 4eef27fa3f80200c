//! What the floor serves: told to it in a file, where vfiod has to find it out.

use anyhow::{Context, Result};
use std::{fmt::Write as _, path::Path};

/// One resource and its devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The resource's name.
    pub resource: String,
    /// The variables that name the devices.
    pub variables: Vec<String>,
    /// The devices, in the order of their ids.
    pub devices: Vec<Planned>,
}

/// One device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its id.
    pub id: String,
    /// Its NUMA node.
    pub numa: Option<u32>,
    /// Its IOMMU group, and so the name of its node.
    pub group: u32,
}

impl Plan {
    /// Writes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut text = format!("{}\n{}\n", self.resource, self.variables.join(" "));
        for device in &self.devices {
            let numa = device.numa.map_or("-".to_owned(), |numa| numa.to_string());
            writeln!(text, "{} {numa} {}", device.id, device.group)?;
        }
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Reads the file.
    ///
    /// # Errors
    /// When it cannot be read or is no plan.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut lines = text.lines();
        let resource = lines.next().context("the plan names no resource")?.to_owned();
        let variables = lines.next().unwrap_or_default().split_whitespace().map(str::to_owned).collect();
        let device = |line: &str| {
            let mut words = line.split(' ');
            let (id, numa, group) = (words.next()?, words.next()?, words.next()?);
            Some(Planned { id: id.to_owned(), numa: numa.parse().ok(), group: group.parse().ok()? })
        };
        let devices = lines.map(|line| device(line).with_context(|| format!("not a device: {line:?}")));
        Ok(Self { resource, variables, devices: devices.collect::<Result<_>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan");
        let device = |id: &str, numa, group| Planned { id: id.to_owned(), numa, group };
        let plan = Plan {
            resource: "a.com/gpu".to_owned(),
            variables: vec!["A".to_owned(), "B".to_owned()],
            devices: vec![device("0000:01:00.0", Some(1), 7), device("0000:02:00.0", None, 8)],
        };
        plan.write(&path).unwrap();
        assert_eq!(Plan::read(&path).unwrap(), plan);
        std::fs::write(&path, "a.com/gpu\n\n0000:01:00.0 1\n").unwrap();
        assert!(Plan::read(&path).unwrap_err().to_string().contains("not a device"));
    }
}
