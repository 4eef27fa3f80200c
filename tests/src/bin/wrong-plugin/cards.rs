//! The cards of the plugin, and how they are listed.

use super::fault::Fault;
use vfiod_proto::{
    HEALTHY, UNHEALTHY,
    deviceplugin::{Device, NumaNode, TopologyInfo},
};

/// How many cards there are. Those of the test's host have the same addresses, groups and NUMA nodes.
const COUNT: u32 = 20;
/// The group of the first card.
const FIRST_GROUP: u32 = 100;
/// The card without a NUMA node.
const NOWHERE: usize = 1;

/// All cards.
#[derive(Debug)]
pub struct Cards {
    all: Vec<Card>,
    fault: Fault,
}

/// One card.
#[derive(Debug, Clone)]
pub struct Card {
    pub id: String,
    pub address: String,
    pub group: u32,
}

/// What is to be known for a list.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// The first card is broken.
    pub down: bool,
    /// How often it was broken or mended so far.
    pub changes: usize,
    /// It was broken once.
    pub was_down: bool,
    /// The kubelet has restarted since the plugin started.
    pub kubelet_restarted: bool,
}

impl Cards {
    pub fn new(fault: Fault) -> Self {
        let all = (0..COUNT).map(|number| {
            let address = format!("0000:3b:{:02x}.{}", number / 8, number % 8);
            let id =
                if fault.is("restart.ids") { format!("{address}-{}", std::process::id()) } else { address.clone() };
            Card { id, address, group: FIRST_GROUP + number }
        });
        Self { all: all.collect(), fault }
    }

    pub fn find(&self, id: &str) -> Option<(usize, &Card)> {
        self.all.iter().enumerate().find(|(_, card)| card.id == id)
    }

    /// The card that is given for a card: itself.
    pub fn given<'a>(&'a self, number: usize, card: &'a Card) -> &'a Card {
        if number == 2 && self.fault.is("variables.distinct") { self.all.first().unwrap_or(card) } else { card }
    }

    /// The list.
    pub fn list(&self, now: Now) -> Vec<Device> {
        let fault = |name: &str| self.fault.is(name);
        let down = match () {
            () if fault("health.down") => false,
            () if fault("health.up") => now.was_down,
            () if fault("storm.true-after") && now.changes > 10 => true,
            () => now.down,
        };
        let mut list: Vec<Device> =
            self.all.iter().enumerate().map(|(number, card)| self.entry(number, card, down)).collect();
        if fault("list.ids") {
            list.extend(list.last().cloned().map(|last| Device { id: String::new(), ..last }));
        }
        if fault("list.ids:twice") {
            list.extend(list.last().cloned());
        }
        if fault("list.size") {
            list.push(Device { id: "x".repeat(5 << 20), health: UNHEALTHY.to_owned(), topology: None });
        }
        if fault("slow.allocate") {
            // So long that it does not fit into the buffers on the way.
            list.push(Device { id: "x".repeat(64 << 10), health: UNHEALTHY.to_owned(), topology: None });
        }
        if fault("health.snapshot") && down {
            list.truncate(1);
        }
        if fault("restart.list") && now.kubelet_restarted {
            list.pop();
        }
        list
    }

    fn entry(&self, number: usize, card: &Card, down: bool) -> Device {
        let health = match number {
            0 if down => UNHEALTHY,
            3 if self.fault.is("list.health") => "healthy",
            _ => HEALTHY,
        };
        let node = match number {
            NOWHERE if self.fault.is("list.numa") => Some(-1),
            NOWHERE if self.fault.is("list.numa:node-0") => Some(0),
            NOWHERE => None,
            0 if self.fault.is("list.numa:other") => Some(1),
            _ => Some(0),
        };
        let topology = node.map(|id| TopologyInfo { nodes: vec![NumaNode { id }] });
        Device { id: card.id.clone(), health: health.to_owned(), topology }
    }
}
