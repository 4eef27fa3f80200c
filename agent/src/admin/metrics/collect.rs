//! Reading the metrics off the board, at the moment they are asked for.

use super::{Definition, catalog as metric};
use crate::{
    admin::readiness,
    board::{BOUNDS_NS, Board, Condition, Counter, Latency, Part, Served},
    status::Held,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet},
};
use std::{collections::BTreeMap, fmt, sync::Arc};
use vfiod_core::{health::Health, permit::ResourceName};
use vfiod_proto::status::Owner;

#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) board: Arc<Board>,
    /// Who has what open.
    pub(super) held: Held,
}

/// Where a resource's count stands.
type Count = fn(&Served) -> &Counter;
type Labels<'a> = Vec<(&'static str, &'a str)>;

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut page = Page(encoder);
        let board = &*self.board;
        page.info(
            &metric::BUILD,
            [vec![("version", env!("CARGO_PKG_VERSION")), ("rust_arch", std::env::consts::ARCH)]],
        )?;
        page.conditions(board)?;
        page.devices(board)?;
        page.holders(&self.held)?;
        page.calls(board)?;
        page.node(board)
    }
}

/// The page that is being written.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn conditions(&mut self, board: &Board) -> fmt::Result {
        let readiness = readiness(board);
        self.gauge(&metric::READY, [(vec![], u64::from(readiness.ready))])?;
        let words = ["good", "degraded", "failing", "unknown"];
        let conditions = readiness.parts.iter().flat_map(|part| {
            words.map(|word| (vec![("part", part.part), ("condition", word)], u64::from(part.condition == word)))
        });
        self.gauge(&metric::CONDITION, conditions)?;
        let source = board.configuration();
        let states = ["current", "part", "kept", "remembered", "waiting"];
        let states =
            states.map(|state| (vec![("source", source.source), ("state", state)], u64::from(source.state == state)));
        self.gauge(&metric::CONFIGURATION, states)?;
        let up = matches!(*board.condition(Part::Kubelet), Condition::Good(_));
        self.gauge(&metric::KUBELET_UP, [(vec![], u64::from(up))])?;
        let attached = matches!(*board.condition(Part::Probe), Condition::Good(_));
        self.gauge(&metric::PROBE_ATTACHED, [(vec![], u64::from(attached))])
    }

    fn devices(&mut self, board: &Board) -> fmt::Result {
        let served = board.served();
        let mut counts: BTreeMap<(&str, &'static str, &'static str), u64> = BTreeMap::new();
        for served in served.iter() {
            let name = served.name().as_str();
            // An exhausted or empty resource is told, too.
            counts.entry((name, "Healthy", "Ready")).or_default();
            for slot in served.resource().table().slots() {
                let verdict = slot.verdict();
                let health = if verdict.health == Health::Healthy { "Healthy" } else { "Unhealthy" };
                *counts.entry((name, health, verdict.reason.code())).or_default() += 1;
            }
        }
        let samples = counts.iter().map(|(&(resource, health, reason), &count)| {
            (vec![("resource", resource), ("health", health), ("reason", reason)], count)
        });
        self.gauge(&metric::DEVICES, samples)
    }

    fn holders(&mut self, held: &Held) -> fmt::Result {
        let mut texts = Vec::new();
        for (device, resource, usage) in held {
            let owner = usage.owner.as_ref().map(owner).unwrap_or_default();
            for holder in &usage.holders {
                let pod = holder.pod.clone().or_else(|| holder.pod_uid.clone()).unwrap_or_default();
                texts.push((device.to_string(), resource, holder.pid.to_string(), pod, holder, owner.clone()));
            }
        }
        let samples = texts.iter().map(|(device, resource, pid, pod, holder, owner)| {
            vec![
                ("device", device.as_str()),
                ("resource", resource.as_ref().map(ResourceName::as_str).unwrap_or_default()),
                ("pid", pid),
                ("command", &holder.command),
                ("pod", pod),
                ("container", holder.container_id.as_deref().unwrap_or_default()),
                ("relation", &holder.relation),
                ("owner", owner),
            ]
        });
        self.info(&metric::HOLDER, samples)
    }

    fn calls(&mut self, board: &Board) -> fmt::Result {
        let served = board.served();
        let counters: [(&Definition, Count); 9] = [
            (&metric::ALLOCATIONS, |served| &served.allocations),
            (&metric::ALLOCATED, |served| &served.allocated_devices),
            (&metric::STARTS, |served| &served.starts),
            (&metric::START_REFUSALS, |served| &served.start_refusals),
            (&metric::MESSAGES, |served| &served.messages),
            (&metric::MESSAGE_BYTES, |served| &served.message_bytes),
            (&metric::REGISTRATIONS, |served| &served.registrations),
            (&metric::REGISTRATION_FAILURES, |served| &served.failed_registrations),
            (&metric::PREFERRED, |served| &served.preferred),
        ];
        for (definition, counter) in counters {
            let samples = served.iter().map(|served| (resource(served), counter(served).get()));
            self.counter(definition, samples)?;
        }
        let refusals = served.iter().flat_map(|served| {
            served.refusals().map(|(why, count)| {
                let mut labels = resource(served);
                labels.push(("reason", why.code()));
                (labels, count)
            })
        });
        self.counter(&metric::REFUSALS, refusals.filter(|(_, count)| *count > 0))?;
        self.gauge(&metric::STREAMS, served.iter().map(|served| (resource(served), served.streams().into())))?;
        self.gauge(&metric::REGISTERED, served.iter().map(|served| (resource(served), served.registered().into())))?;
        self.histogram(&metric::ALLOCATE_TIME, &board.allocate)?;
        self.histogram(&metric::PREFERRED_TIME, &board.preferred)?;
        self.histogram(&metric::EVENT_TIME, &board.event_to_stream)
    }

    fn node(&mut self, board: &Board) -> fmt::Result {
        let node = &board.node;
        let events = [
            ("open", &node.opens),
            ("release", &node.releases),
            ("pci_error", &node.pci_errors),
            ("removal", &node.removals),
        ];
        self.counter(&metric::PROBE_EVENTS, events.map(|(event, count)| (vec![("event", event)], count.get())))?;
        let causes = ["ring_full", "open_missed", "release_missed", "forgotten"].into_iter().zip(&node.losses);
        self.counter(&metric::PROBE_LOSSES, causes.map(|(cause, count)| (vec![("cause", cause)], count.get())))?;
        let single = [
            (&metric::UEVENTS, &node.uevents),
            (&metric::FILE_EVENTS, &node.file_events),
            (&metric::EVENTS_DROPPED, &node.events_dropped),
            (&metric::TRANSITIONS, &node.transitions),
            (&metric::SCANS, &node.scans),
            (&metric::RESCANS, &node.rescans),
            (&metric::CORRECTIONS, &node.rescan_corrections),
            (&metric::CENSUSES, &node.censuses),
        ];
        for (definition, counter) in single {
            self.counter(definition, [(vec![], counter.get())])?;
        }
        let results = [
            ("changed", &node.reloads_changed),
            ("unchanged", &node.reloads_unchanged),
            ("failed", &node.reloads_failed),
        ];
        self.counter(&metric::RELOADS, results.map(|(result, count)| (vec![("result", result)], count.get())))?;
        let cluster = &board.cluster;
        self.counter(&metric::API_LISTS, [(vec![], cluster.lists.get())])?;
        self.counter(&metric::API_FAILURES, [(vec![], cluster.failures.get())])?;
        let results = [("written", &cluster.events_written), ("dropped", &cluster.events_dropped)];
        self.counter(&metric::API_EVENTS, results.map(|(result, count)| (vec![("result", result)], count.get())))
    }

    fn gauge<'a>(&mut self, metric: &Definition, samples: impl IntoIterator<Item = (Labels<'a>, u64)>) -> fmt::Result {
        let unit = metric.unit();
        let mut family = self.0.encode_descriptor(metric.name, metric.help, unit.as_ref(), metric.kind.of())?;
        for (labels, value) in samples {
            if labels.is_empty() {
                family.encode_gauge(&value)?;
            } else {
                family.encode_family(&labels)?.encode_gauge(&value)?;
            }
        }
        Ok(())
    }

    fn counter<'a>(
        &mut self,
        metric: &Definition,
        samples: impl IntoIterator<Item = (Labels<'a>, u64)>,
    ) -> fmt::Result {
        let unit = metric.unit();
        let mut family = self.0.encode_descriptor(metric.name, metric.help, unit.as_ref(), metric.kind.of())?;
        for (labels, value) in samples {
            if labels.is_empty() {
                family.encode_counter::<NoLabelSet, _, f64>(&value, None)?;
            } else {
                family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&value, None)?;
            }
        }
        Ok(())
    }

    fn info<'a>(&mut self, metric: &Definition, samples: impl IntoIterator<Item = Labels<'a>>) -> fmt::Result {
        let mut family = self.0.encode_descriptor(metric.name, metric.help, None, metric.kind.of())?;
        for labels in samples {
            family.encode_info(&labels)?;
        }
        Ok(())
    }

    fn histogram(&mut self, metric: &Definition, latency: &Latency) -> fmt::Result {
        let (unit, read) = (metric.unit(), latency.read());
        let mut family = self.0.encode_descriptor(metric.name, metric.help, unit.as_ref(), metric.kind.of())?;
        let bounds = BOUNDS_NS.iter().map(|&bound| bound as f64 / 1e9).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(read.buckets.iter().copied()).collect();
        family.encode_histogram::<NoLabelSet>(read.sum_ns as f64 / 1e9, read.count(), &buckets, None)
    }
}

/// An owner as `NAMESPACE/POD`, or as the pod's UID.
fn owner(owner: &Owner) -> String {
    match (&owner.namespace, &owner.pod) {
        (Some(namespace), Some(pod)) => format!("{namespace}/{pod}"),
        _ => owner.pod_uid.clone().unwrap_or_default(),
    }
}

fn resource(served: &Served) -> Labels<'_> {
    vec![("resource", served.name().as_str())]
}
