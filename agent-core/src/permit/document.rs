//! Which kind of document a text is, and where its permits stand.

use super::{
    fields::{Field, Unknown},
    finding::{Notice, Position, Problem},
    settings::{self, SETTING_FIELDS},
    yaml::Node,
};
use std::rc::Rc;

/// The `apiVersion` of vfiod's own configuration.
const OWN_API_VERSION: &str = "vfiod.dev/v1alpha1";
/// The `kind` of vfiod's own configuration.
const OWN_KIND: &str = "VfiodConfig";

/// A document whose permits are found and not yet read.
pub(super) struct Document {
    /// The value of `permittedHostDevices`; absent where a KubeVirt CR has none.
    pub(super) permits: Option<Field>,
    /// Whether it is a KubeVirt CR.
    pub(super) kubevirt: bool,
    /// vfiod's settings.
    pub(super) settings: settings::Read,
    /// What is bad about the settings.
    pub(super) problems: Vec<Problem>,
    /// What is worth saying.
    pub(super) notices: Vec<Notice>,
}

impl Document {
    /// Permits alone; the settings have their defaults.
    fn without_settings(permits: Option<Field>) -> Self {
        let settings = settings::Read::absent();
        Self { permits, kubevirt: false, settings, problems: Vec::new(), notices: Vec::new() }
    }
}

/// Finds the one document that permits devices.
pub(super) fn find(documents: &[Rc<Node>]) -> Result<Document, Problem> {
    let documents: Vec<Field> = documents.iter().filter(|node| !node.is_null()).map(Field::root).collect();
    match documents.as_slice() {
        [] => Err(Problem::new(
            Position::START,
            "",
            "the document is empty",
            "write permittedHostDevices: {} if nothing is to be permitted",
        )),
        [one] if !is_list(one) => single(one),
        several => single(&only(several)?),
    }
}

/// Finds the settings in a document that stands beside the KubeVirt CR `cr`, which permits devices in its stead.
pub(super) fn find_settings(documents: &[Rc<Node>], cr: &str) -> Result<Document, Problem> {
    let documents: Vec<Field> = documents.iter().filter(|node| !node.is_null()).map(Field::root).collect();
    let root = match documents.as_slice() {
        [] => return Ok(Document::without_settings(None)),
        [root] => root,
        [_, second, ..] => return Err(second.problem("is a second document", "keep one of them")),
    };
    root.expect_map()?;
    let twice = |field: &Field| {
        let what = format!("permits devices, and so does {cr}");
        field.problem(what, "permit them in one of the two: remove it here, or start vfiod without --kubevirt")
    };
    match root.node.get_text("kind") {
        None | Some(OWN_KIND) => {}
        Some("KubeVirt" | "List" | "KubeVirtList") => return Err(twice(root)),
        Some(other) => return Err(strange_kind(root, other)),
    }
    let below = root.get_some("configuration");
    below.as_ref().map_or(Ok(()), Field::expect_map)?;
    let permits = [Some(root), below.as_ref()].into_iter().flatten();
    match permits.filter_map(|field| field.get_some("permittedHostDevices")).next() {
        Some(permits) => Err(twice(&permits)),
        None => with_settings(root, below.as_ref(), None, root.unknown(&known_fields())),
    }
}

/// Whether this is what `kubectl get -o yaml` makes of several objects.
fn is_list(field: &Field) -> bool {
    matches!(field.node.get_text("kind"), Some("List" | "KubeVirtList"))
}

/// The only KubeVirt CR (or configuration of vfiod) among several objects, in lists and in documents of their own.
fn only(documents: &[Field]) -> Result<Field, Problem> {
    let mut found = Vec::new();
    for document in documents {
        document.expect_map()?;
        if is_list(document) {
            let items = document.get("items").map(|items| items.items()).transpose()?.unwrap_or_default();
            found.extend(items.into_iter().filter(|item| item.node.get_text("kind") == Some("KubeVirt")));
        } else if matches!(document.node.get_text("kind"), None | Some("KubeVirt" | OWN_KIND)) {
            found.push(document.clone());
        }
    }
    let place = |field: &Field| format!("{} in line {}", title(field), field.node.at.line);
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Problem::new(
            documents.first().map_or(Position::START, |field| field.node.at),
            "",
            "none of these objects is of kind KubeVirt",
            "give the KubeVirt CR, or vfiod's own configuration",
        )),
        [_, second, ..] => Err(second.problem(
            format!(
                "more than one object permits devices: {}",
                found.iter().map(place).collect::<Vec<_>>().join(" and ")
            ),
            "keep one of them",
        )),
    }
}

/// How a message calls an object: `KubeVirt kubevirt/kubevirt`.
fn title(field: &Field) -> String {
    let kind = field.node.get_text("kind").unwrap_or("a document without kind");
    let metadata = field.node.get("metadata");
    let part = |key| metadata.and_then(|metadata| metadata.get_text(key));
    match (part("namespace"), part("name")) {
        (Some(namespace), Some(name)) => format!("{kind} {namespace}/{name}"),
        (None, Some(name)) => format!("{kind} {name}"),
        _ => kind.to_owned(),
    }
}

fn single(root: &Field) -> Result<Document, Problem> {
    root.expect_map()?;
    match root.node.get_text("kind") {
        Some("KubeVirt") => kubevirt(root),
        None | Some(OWN_KIND) => own(root),
        Some(other) => Err(strange_kind(root, other)),
    }
}

fn strange_kind(root: &Field, kind: &str) -> Problem {
    Problem::new(
        root.get("kind").map_or(root.node.at, |kind| kind.node.at),
        "kind",
        format!("a document of kind {kind} permits no devices"),
        format!("give a KubeVirt CR, or kind: {OWN_KIND}, or leave kind out"),
    )
}

/// A KubeVirt CR. What vfiod does not know there is KubeVirt's business.
fn kubevirt(root: &Field) -> Result<Document, Problem> {
    let mut permits = Some(root.clone());
    for key in ["spec", "configuration"] {
        permits = permits.and_then(|field| field.get_some(key));
        permits.as_ref().map_or(Ok(()), Field::expect_map)?;
    }
    let permits = permits.and_then(|field| field.get("permittedHostDevices"));
    Ok(Document { kubevirt: true, ..Document::without_settings(permits) })
}

/// vfiod's own configuration, a snippet of a CR (`configuration: …`), or the bare section.
fn own(root: &Field) -> Result<Document, Problem> {
    check_api_version(root)?;
    let configuration = root.get_some("configuration");
    configuration.as_ref().map_or(Ok(()), Field::expect_map)?;
    let bare = root.get("permittedHostDevices");
    let below = configuration.as_ref().and_then(|field| field.get("permittedHostDevices"));
    let unknown = root.unknown(&known_fields());
    let permits = match (bare, below) {
        (Some(bare), Some(below)) => {
            return Err(below.problem(
                format!("devices are permitted twice: here and in line {} (permittedHostDevices)", bare.node.at.line),
                "keep one of the two",
            ));
        }
        (None, None) => return Err(missing(root, configuration.as_ref(), unknown)),
        (Some(permits), None) | (None, Some(permits)) => permits,
    };
    with_settings(root, configuration.as_ref(), Some(permits), unknown)
}

/// The fields at the top level of vfiod's own configuration.
fn known_fields() -> Vec<&'static str> {
    let mut known = vec!["permittedHostDevices", "configuration", "apiVersion", "kind"];
    known.extend(SETTING_FIELDS);
    known
}

/// Vfiod's own configuration, with its settings.
fn with_settings(
    root: &Field,
    configuration: Option<&Field>,
    permits: Option<Field>,
    unknown: Vec<Unknown>,
) -> Result<Document, Problem> {
    check_api_version(root)?;
    let mut problems = Vec::new();
    let mut settings = settings::read(root, &mut problems);
    for unknown in unknown {
        settings.has_unknown_field();
        problems.push(unknown.problem());
    }
    let notices = configuration.into_iter().flat_map(misplaced_settings).collect();
    Ok(Document { permits, kubevirt: false, settings, problems, notices })
}

fn check_api_version(root: &Field) -> Result<(), Problem> {
    let Some(version) = root.get("apiVersion") else { return Ok(()) };
    match root.node.get_text("apiVersion") {
        Some(OWN_API_VERSION) => Ok(()),
        Some(other) if other.starts_with("kubevirt.io/") => {
            Err(version.bad_value("belongs to a KubeVirt CR, and kind is missing", "add kind: KubeVirt"))
        }
        _ => Err(version.bad_value("is not a version of this configuration", format!("write {OWN_API_VERSION}"))),
    }
}

/// Why no permits were found: a misspelt name, if there is one.
fn missing(root: &Field, configuration: Option<&Field>, unknown: Vec<Unknown>) -> Problem {
    let below = configuration.map(|field| field.unknown(&["permittedHostDevices"])).unwrap_or_default();
    if let Some(near) = unknown.into_iter().chain(below).find(|unknown| unknown.is_near) {
        return near.problem();
    }
    if let Some(spec) = root.get("spec") {
        return spec.problem("stands in a KubeVirt CR, and kind is missing", "add kind: KubeVirt");
    }
    configuration
        .unwrap_or(root)
        .problem("has no permittedHostDevices", "add it; write permittedHostDevices: {} if nothing is to be permitted")
}

/// Settings below `configuration` are fields that KubeVirt might know, so they are no errors: but they set nothing.
fn misplaced_settings(configuration: &Field) -> Vec<Notice> {
    let misplaced = SETTING_FIELDS.iter().filter_map(|key| configuration.get(key));
    misplaced.map(|field| field.problem("is ignored below configuration", "move it to the top level")).collect()
}
