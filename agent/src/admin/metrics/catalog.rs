//! All metrics.

use super::definition::{
    Definition,
    Kind::{Counter, Gauge, Histogram, Info},
    Measure::{Bytes, Seconds},
};

/// Defines the metrics, and the list of all of them.
macro_rules! metrics {
    ($($name:ident = $definition:expr;)*) => {
        $(#[doc = "See the definition's help."] pub const $name: Definition = $definition;)*

        /// All of them, in the order of the document.
        pub const ALL: &[&Definition] = &[$(&$name),*];
    };
}

metrics! {
    BUILD = Definition::new("vfiod_build", Info, &["version", "rust_arch"], "The vfiod that runs");
    READY = Definition::new("vfiod_ready", Gauge, &[], "1 while /readyz says ready: every resource is registered and listed");
    CONDITION = Definition::new(
        "vfiod_condition", Gauge, &["part", "condition"],
        "1 for the condition that a part of vfiod is in (good, degraded, failing, unknown), 0 for the others; /readyz has the reasons",
    );
    CONFIGURATION = Definition::new(
        "vfiod_configuration", Gauge, &["source", "state"],
        "1 for the state of the configuration: current, part (some entries are rejected), kept (the source cannot be read or is rejected, and the last good state is in force), remembered (the CR was not read yet, what it said before the start is in force), waiting (it was not read yet, and nothing is in force)",
    );
    DEVICES = Definition::new(
        "vfiod_devices", Gauge, &["resource", "health", "reason"],
        "Devices that the kubelet is told of, by health and reason code (docs/HEALTH.md)",
    );
    HOLDER = Definition::new(
        "vfiod_device_holder", Info, &["device", "resource", "pid", "command", "pod", "container", "relation", "owner"],
        "A process that has a device open, by the kernel's tables; relation says whether it runs in the pod that owns the device (own), elsewhere (foreign) or where that cannot be told (unknown)",
    );
    ALLOCATIONS = Definition::new("vfiod_allocations", Counter, &["resource"], "Allocate calls that were granted");
    ALLOCATED = Definition::new("vfiod_allocated_devices", Counter, &["resource"], "Devices that Allocate calls were granted");
    REFUSALS = Definition::new(
        "vfiod_allocation_refusals", Counter, &["resource", "reason"],
        "Allocate calls that were refused, by reason code; Malformed: the request could not be read, Unknown: there is no such device",
    );
    PREFERRED = Definition::new("vfiod_preferred_allocations", Counter, &["resource"], "GetPreferredAllocation calls that were answered");
    STARTS = Definition::new("vfiod_container_starts", Counter, &["resource"], "Containers that PreStartContainer let start");
    START_REFUSALS = Definition::new(
        "vfiod_container_start_refusals", Counter, &["resource"],
        "Containers that PreStartContainer did not let start, because somebody else still has the device or its group; the kubelet tries again",
    );
    ALLOCATE_TIME = Definition::new(
        "vfiod_allocate_duration", Histogram, &[], "Time from the arrival of an Allocate call to its answer",
    ).measured(Seconds);
    PREFERRED_TIME = Definition::new(
        "vfiod_preferred_allocation_duration", Histogram, &[],
        "Time from the arrival of a GetPreferredAllocation call to its answer",
    ).measured(Seconds);
    EVENT_TIME = Definition::new(
        "vfiod_event_to_stream", Histogram, &[],
        "Time from the arrival of an event (uevent, file event, probe) to the ListAndWatch message that tells of it; what has to be read of the host in between is in it",
    ).measured(Seconds);
    MESSAGES = Definition::new("vfiod_list_messages", Counter, &["resource"], "ListAndWatch messages");
    MESSAGE_BYTES = Definition::new("vfiod_list", Counter, &["resource"], "Bytes of ListAndWatch messages").measured(Bytes);
    STREAMS = Definition::new("vfiod_list_streams", Gauge, &["resource"], "ListAndWatch streams that are open; 1 is right");
    REGISTRATIONS = Definition::new("vfiod_registrations", Counter, &["resource"], "Registrations that the kubelet took");
    REGISTRATION_FAILURES = Definition::new(
        "vfiod_registration_failures", Counter, &["resource"],
        "Registrations that the kubelet did not take, or of which it made no use",
    );
    REGISTERED = Definition::new("vfiod_registered", Gauge, &["resource"], "1 while a registration holds");
    KUBELET_UP = Definition::new("vfiod_kubelet_up", Gauge, &[], "1 while the kubelet's registration socket is there");
    PROBE_ATTACHED = Definition::new("vfiod_probe_attached", Gauge, &[], "1 while the kernel probe is attached");
    PROBE_EVENTS = Definition::new(
        "vfiod_probe_events", Counter, &["event"], "Events of the kernel probe: open, release, pci_error, removal",
    );
    PROBE_LOSSES = Definition::new(
        "vfiod_probe_losses", Counter, &["cause"],
        "Events that the kernel probe has lost; a loss delays and never lies, for the kernel's tables are read again",
    );
    UEVENTS = Definition::new("vfiod_uevents", Counter, &[], "Uevents of the kernel that concern VFIO devices");
    FILE_EVENTS = Definition::new("vfiod_file_events", Counter, &[], "Changes in watched folders: device nodes, the kubelet's plugin folder");
    EVENTS_DROPPED = Definition::new(
        "vfiod_event_overruns", Counter, &[],
        "Times that the kernel dropped uevents or file events because they came too fast; the whole host is read again then",
    );
    TRANSITIONS = Definition::new("vfiod_device_transitions", Counter, &[], "Changes of health or reason of a listed device, its coming and going included");
    SCANS = Definition::new("vfiod_host_scans", Counter, &[], "Looks at the whole host");
    RESCANS = Definition::new("vfiod_rescans", Counter, &[], "Looks at the whole host because the safety net was due (--rescan)");
    CORRECTIONS = Definition::new(
        "vfiod_rescan_corrections", Counter, &[],
        "Devices whose health or reason such a look changed: what no event had told; 0 is right",
    );
    CENSUSES = Definition::new("vfiod_holder_looks", Counter, &[], "Looks at who has what open");
    RELOADS = Definition::new(
        "vfiod_reloads", Counter, &["result"],
        "Times that the configuration was read: changed, unchanged, failed (the last good state stays)",
    );
    API_LISTS = Definition::new(
        "vfiod_api_lists", Counter, &[],
        "Lists of the KubeVirt CRs: one at the start, one after each failure and after each watch that has expired",
    );
    API_FAILURES = Definition::new(
        "vfiod_api_failures", Counter, &[], "Times that the API server could not be reached for the KubeVirt CR, or refused",
    );
    API_EVENTS = Definition::new(
        "vfiod_api_events", Counter, &["result"],
        "Kubernetes Events (docs/EVENTS.md): written (repetitions included), dropped (too many at once, refused, or given up while the API server was away)",
    );
}
