//! What `vfiod holders -o json` says (`docs/HOLDERS-JSON.md`).

use super::pod;
use anyhow::{Context, Result};
use serde_json::Value;

/// Everything that is open.
#[derive(Debug)]
pub struct Holders {
    /// How it was seen: `probe`, `proc` or `none`.
    pub by: String,
    objects: Vec<Object>,
}

/// A device or a group that is open.
#[derive(Debug)]
struct Object {
    group: bool,
    id: String,
    open_count: Option<u32>,
    holders: Vec<Holder>,
}

/// A process that has it open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its pid.
    pub pid: u32,
    /// `own`, `foreign` or `unknown`.
    pub relation: String,
    /// The pod that its cgroup names.
    pub pod_uid: Option<String>,
    /// The container that its cgroup names.
    pub container_id: Option<String>,
}

impl Holders {
    /// Reads the document.
    pub fn parse(list: &Value) -> Result<Self> {
        let by = list.pointer("/sight/by").and_then(Value::as_str).context("a list that says not how it was seen")?;
        let objects = list.get("objects").and_then(Value::as_array).context("a list without objects")?;
        Ok(Self { by: by.to_owned(), objects: objects.iter().map(Object::parse).collect::<Result<_>>()? })
    }

    /// Who holds the device `id`, or its group, each once.
    pub fn of(&self, id: &str) -> Result<Vec<Holder>> {
        let node = pod::node_of(id)?;
        let group = node.file_name().context("a group without a name")?;
        let concerned = self.objects.iter().filter(|object| match object.group {
            true => object.id.as_str() == group,
            false => object.id == id,
        });
        let mut holders: Vec<Holder> = concerned.flat_map(|object| object.holders.iter().cloned()).collect();
        holders.sort_by_key(|holder| holder.pid);
        holders.dedup();
        Ok(holders)
    }

    /// How many open files the kernel counts of the device `id`.
    pub fn open_count(&self, id: &str) -> Option<u32> {
        self.objects.iter().find(|object| !object.group && object.id == id)?.open_count
    }
}

impl Object {
    fn parse(object: &Value) -> Result<Self> {
        let holders = object.get("holders").and_then(Value::as_array).context("an object without holders")?;
        Ok(Self {
            group: text(object, "kind").context("an object without a kind")? == "group",
            id: text(object, "id").context("an object without an id")?,
            open_count: object.get("openCount").and_then(Value::as_u64).and_then(|count| count.try_into().ok()),
            holders: holders.iter().map(Holder::parse).collect::<Result<_>>()?,
        })
    }
}

impl Holder {
    fn parse(holder: &Value) -> Result<Self> {
        let pid = holder.get("pid").and_then(Value::as_u64).context("a holder without a pid")?;
        Ok(Self {
            pid: pid.try_into()?,
            relation: text(holder, "relation").context("a holder without a relation")?,
            pod_uid: text(holder, "podUid"),
            container_id: text(holder, "containerId"),
        })
    }
}

fn text(value: &Value, name: &str) -> Option<String> {
    Some(value.get(name)?.as_str()?.to_owned())
}
