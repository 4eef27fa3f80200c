//! Entries put together into resources, and what keeps an entry out.

use super::{
    ResourceName,
    entry::Entry,
    finding::{Notice, Problem},
    resource::{Origin, Resource},
    selector::Selector,
    serve::Serving,
};
use crate::variables::{Carried, kubevirt_spelling, seed_spelling};
use std::collections::HashMap;

/// Resources that grow entry by entry. No two of them select one device or set one variable.
#[derive(Default)]
pub(super) struct Assembly {
    resources: Vec<Resource>,
    by_name: HashMap<ResourceName, usize>,
    by_selector: HashMap<Selector, usize>,
    by_variable: HashMap<String, usize>,
}

impl Assembly {
    /// Takes a resource over as it is.
    pub(super) fn adopt(&mut self, resource: &Resource) {
        let index = self.resources.len();
        self.by_name.insert(resource.name.clone(), index);
        for origin in &resource.origins {
            self.by_selector.insert(origin.selector.clone(), index);
            let variables = variables_of(&resource.name, &origin.selector, &resource.aliases);
            self.by_variable.extend(variables.into_iter().map(|variable| (variable, index)));
        }
        self.resources.push(resource.clone());
    }

    /// Takes an entry, whole or not at all. The notice says that it was there already.
    pub(super) fn add(&mut self, entry: &Entry, serving: Serving) -> Result<Option<Notice>, Problem> {
        let known = self.by_name.get(&entry.name).copied();
        self.check_selector(entry, known)?;
        self.check_provider(entry, known)?;
        let variables = variables_of(&entry.name, &entry.selector, &entry.aliases);
        self.check_variables(entry, known, &variables)?;

        let index = known.unwrap_or(self.resources.len());
        if known.is_none() {
            self.by_name.insert(entry.name.clone(), index);
            self.resources.push(empty(entry, serving));
        }
        self.by_variable.extend(variables.into_iter().map(|variable| (variable, index)));
        let first = self.by_selector.insert(entry.selector.clone(), index).is_none();
        let Some(resource) = self.resources.get_mut(index) else { return Ok(None) };
        for alias in &entry.aliases {
            if !resource.aliases.contains(alias) {
                resource.aliases.push(alias.clone());
            }
        }
        if !first {
            return Ok(Some(duplicate(entry, resource)));
        }
        resource.origins.push(Origin { at: entry.at, field: entry.path.clone(), selector: entry.selector.clone() });
        match &entry.selector {
            Selector::Pci(id) => _ = resource.pci.insert(*id),
            Selector::Mdev(name) => _ = resource.mdev.insert(name.clone()),
        }
        Ok(None)
    }

    /// The resources, in the order in which they came.
    pub(super) fn finish(self) -> Vec<Resource> {
        self.resources
    }

    fn other(&self, index: Option<&usize>, known: Option<usize>) -> Option<&Resource> {
        index.filter(|index| Some(**index) != known).and_then(|index| self.resources.get(*index))
    }

    fn check_selector(&self, entry: &Entry, known: Option<usize>) -> Result<(), Problem> {
        let Some(other) = self.other(self.by_selector.get(&entry.selector), known) else { return Ok(()) };
        let Entry { name, selector, .. } = entry;
        let what = format!(
            "{name} selects {selector}, which {} selects already ({})",
            other.name,
            place(other, |origin| origin.selector == *selector)
        );
        Err(Problem::new(entry.at, entry.path.clone(), what, "let one resource select it"))
    }

    fn check_provider(&self, entry: &Entry, known: Option<usize>) -> Result<(), Problem> {
        let Some(resource) = known.and_then(|index| self.resources.get(index)) else { return Ok(()) };
        if resource.external == entry.external {
            return Ok(());
        }
        let what = format!(
            "externalResourceProvider of {} is {} here and {} in another entry ({})",
            entry.name,
            entry.external,
            resource.external,
            place(resource, |_| true)
        );
        Err(Problem::new(entry.at, entry.path.clone(), what, "say the same in every entry of one resource"))
    }

    fn check_variables(&self, entry: &Entry, known: Option<usize>, variables: &[String]) -> Result<(), Problem> {
        for variable in variables {
            let Some(other) = self.other(self.by_variable.get(variable), known) else { continue };
            let what = format!(
                "{} would share the variable {variable} with {} ({}), and a container that gets both would lose one",
                entry.name,
                other.name,
                place(other, |_| true)
            );
            let remedy = "rename one of the resources (or its alias)";
            return Err(Problem::new(entry.at, entry.path.clone(), what, remedy));
        }
        Ok(())
    }
}

/// Every variable that an entry claims for its resource. Both spellings count whatever `envNames` says: virt-launcher
/// reads the one, and a later change of the setting must not make a good file bad.
fn variables_of(name: &ResourceName, selector: &Selector, aliases: &[String]) -> Vec<String> {
    let kind = match selector {
        Selector::Pci(_) => Carried::Pci,
        Selector::Mdev(_) => Carried::Mdev,
    };
    let mut variables = vec![kubevirt_spelling(name, kind), seed_spelling(name, kind)];
    variables.extend_from_slice(aliases);
    variables
}

fn empty(entry: &Entry, serving: Serving) -> Resource {
    Resource {
        name: entry.name.clone(),
        pci: Default::default(),
        mdev: Default::default(),
        aliases: Vec::new(),
        external: entry.external,
        serving,
        origins: Vec::new(),
    }
}

fn duplicate(entry: &Entry, resource: &Resource) -> Notice {
    let what = format!(
        "{} selects {} a second time (first: {})",
        entry.name,
        entry.selector,
        place(resource, |origin| origin.selector == entry.selector)
    );
    Notice::new(entry.at, entry.path.clone(), what, "remove this entry")
}

/// Where a resource is defined.
fn place(resource: &Resource, which: impl Fn(&Origin) -> bool) -> String {
    match resource.origins.iter().find(|origin| which(origin)) {
        Some(origin) if origin.at.is_somewhere() => format!("{} in line {}", origin.field, origin.at.line),
        Some(origin) => origin.field.clone(),
        None => "its last good definition".to_owned(),
    }
}
