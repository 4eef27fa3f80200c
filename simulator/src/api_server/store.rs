//! What the API server has: objects, their history, and what it was asked.

use super::faults::{Gone, Refusal};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// One change of an object.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) kind: &'static str,
    pub(super) object: Value,
}

/// Everything, behind one lock.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) version: u64,
    pub(super) objects: BTreeMap<(String, String), Value>,
    pub(super) history: Vec<Change>,
    /// Watches from before this version are told that it is gone.
    pub(super) oldest: u64,
    /// Grows when all open watches are told so.
    pub(super) expirations: u64,
    /// Grows when all connections are cut.
    pub(super) cuts: u64,
    /// Grows with each bookmark that open watches are sent.
    pub(super) bookmarks: u64,
    pub(super) gone: Gone,
    pub(super) refusal: Option<Refusal>,
    pub(super) events: BTreeMap<(String, String), Value>,
    /// Posts and patches of events, in their order.
    pub(super) event_writes: Vec<Value>,
    /// Whether Events on objects without a namespace must stand in `kube-system`.
    pub(super) events_of_1_20: bool,
    pub(super) requests: Vec<String>,
}

impl Store {
    /// Creates an object or edits it.
    pub(super) fn apply(&mut self, namespace: &str, name: &str, spec: Value) {
        self.version += 1;
        let version = self.version;
        let object = json!({
            "apiVersion": "kubevirt.io/v1",
            "kind": "KubeVirt",
            "metadata": {
                "namespace": namespace,
                "name": name,
                "uid": format!("uid-of-{namespace}-{name}"),
                "resourceVersion": version.to_string(),
            },
            "spec": spec,
            "status": { "phase": "Deployed" },
        });
        let before = self.objects.insert((namespace.to_owned(), name.to_owned()), object.clone());
        let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
        self.history.push(Change { version, kind, object });
    }

    /// Deletes an object; the last state of it is told with a new version.
    pub(super) fn delete(&mut self, namespace: &str, name: &str) {
        let Some(mut object) = self.objects.remove(&(namespace.to_owned(), name.to_owned())) else { return };
        self.version += 1;
        let version = self.version;
        if let Some(place) = object.pointer_mut("/metadata/resourceVersion") {
            *place = Value::String(version.to_string());
        }
        self.history.push(Change { version, kind: "DELETED", object });
    }

    /// The objects of a namespace, or of all, that a field selector leaves.
    pub(super) fn list(&self, scope: &Scope) -> Value {
        let items: Vec<&Value> = self.objects.values().filter(|object| scope.holds(object)).collect();
        json!({
            "apiVersion": "kubevirt.io/v1",
            "kind": "KubeVirtList",
            "metadata": { "resourceVersion": self.version.to_string() },
            "items": items,
        })
    }
}

/// Which objects a request is about.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
}

impl Scope {
    pub(super) fn holds(&self, object: &Value) -> bool {
        let is = |field: &str, wanted: &Option<String>| {
            wanted.as_deref().is_none_or(|wanted| object.pointer(field).and_then(Value::as_str) == Some(wanted))
        };
        is("/metadata/namespace", &self.namespace) && is("/metadata/name", &self.name)
    }
}
