//! The addresses of one kind that the environment holds, by resource.

use super::environment::Environment;
use crate::{
    permit::{Permit, ResourceName},
    variables::{Carried, EnvNames, variables},
};
use std::collections::{BTreeMap, HashSet, VecDeque};

/// How the names of variables are found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Naming<'a> {
    pub(super) spelling: EnvNames,
    /// For the aliases of resources.
    pub(super) permit: Option<&'a Permit>,
}

/// The pool of one list and one kind.
#[derive(Debug)]
pub(super) struct Pool<'a> {
    shelves: BTreeMap<&'a ResourceName, Shelf>,
    /// What was given away, from whichever shelf.
    taken: HashSet<String>,
}

/// The addresses of one resource.
#[derive(Debug)]
pub(super) struct Shelf {
    /// The variable that held them.
    pub(super) variable: String,
    /// How many there were.
    pub(super) filled: usize,
    addresses: VecDeque<String>,
}

impl Naming<'_> {
    /// The names under which the addresses of a resource are looked for, the first that is set counts.
    pub(super) fn names(self, resource: &ResourceName, kind: Carried) -> Vec<String> {
        let permitted = self.permit.and_then(|permit| permit.get(resource.as_str()));
        // KubeVirt's code knows no aliases.
        let aliases = match self.spelling {
            EnvNames::KubeVirt => &[],
            EnvNames::Both | EnvNames::Seed => permitted.map_or(&[] as &[String], |permitted| &permitted.aliases),
        };
        variables(resource, kind, self.spelling, aliases)
    }
}

impl<'a> Pool<'a> {
    /// Fills the pool from the environment (KubeVirt: `AddressPool.load`). A variable may end with one comma.
    pub(super) fn load(
        resources: impl Iterator<Item = &'a ResourceName>,
        kind: Carried,
        environment: &Environment,
        naming: Naming<'_>,
    ) -> Self {
        let mut shelves = BTreeMap::new();
        for resource in resources {
            let names = naming.names(resource, kind);
            let Some((variable, value)) =
                names.into_iter().find_map(|name| environment.get(&name).map(|value| (name.clone(), value)))
            else {
                continue;
            };
            let value = value.strip_suffix(',').unwrap_or(value);
            let addresses: VecDeque<String> =
                if value.is_empty() { VecDeque::new() } else { value.split(',').map(str::to_owned).collect() };
            shelves.insert(resource, Shelf { variable, filled: addresses.len(), addresses });
        }
        Self { shelves, taken: HashSet::new() }
    }

    /// Takes the next address of a resource that no resource of the pool has given away (KubeVirt: `AddressPool.Pop`). An
    /// empty address is taken like any other, and makes no device.
    pub(super) fn pop(&mut self, resource: &ResourceName) -> Option<(String, String)> {
        let shelf = self.shelves.get_mut(resource)?;
        let address = loop {
            let next = shelf.addresses.pop_front()?;
            if self.taken.insert(next.clone()) {
                break next;
            }
        };
        (!address.is_empty()).then(|| (address, shelf.variable.clone()))
    }

    /// What the pool holds of a resource.
    pub(super) fn shelf(&self, resource: &ResourceName) -> Option<&Shelf> {
        self.shelves.get(resource)
    }

    /// What nobody took: resource, variable and addresses.
    pub(super) fn left(&self) -> impl Iterator<Item = (&ResourceName, &str, Vec<&str>)> {
        self.shelves.iter().filter_map(|(resource, shelf)| {
            let left = shelf.addresses.iter().filter(|address| !self.taken.contains(*address));
            let left: Vec<&str> = left.map(String::as_str).collect();
            (!left.is_empty()).then_some((*resource, shelf.variable.as_str(), left))
        })
    }
}
