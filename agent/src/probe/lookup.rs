//! Asking the kernel about one object: a program of the probe is run on demand.

use super::{
    Object,
    event::object,
    object_file::{self, ObjectError, Value, array},
};
use aya::{
    EbpfLoader,
    maps::{Array, MapData},
    programs::RawTracePoint,
    {RawTracePointRunOptions, TestRun},
};
use vfiod_abi::{Config, Lookup, Snapshot, UNKNOWN, maps};

const PROGRAM: &str = "lookup";
/// More devices than any group has.
const MOST: usize = 1024;

/// The program that answers.
pub(super) struct Questions {
    pub(super) object: object_file::Object,
    answer: Array<MapData, Value<Snapshot>>,
}

/// An object as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) object: Object,
    /// The address of its group.
    pub(super) group_key: u64,
    pub(super) open_count: u32,
}

impl Questions {
    /// Loads the program.
    pub(super) fn load(loader: &mut EbpfLoader<'_>, ring_bytes: u32, config: &Config) -> Result<Self, ObjectError> {
        let mut object = object_file::Object::open(loader, ring_bytes)?;
        let answer = array(&mut object.ebpf, maps::ANSWER)?;
        object.configure(config)?;
        object.load(PROGRAM)?;
        Ok(Self { object, answer })
    }

    /// How often `wanted` is open now; `None` when it is gone: its address holds nothing, or another object.
    pub(super) fn count(&self, wanted: &Object) -> Result<Option<u32>, ObjectError> {
        Ok(self.know(wanted)?.map(|known| known.open_count))
    }

    /// Everything about `wanted` as it is now; `None` when it is gone.
    pub(super) fn know(&self, wanted: &Object) -> Result<Option<Known>, ObjectError> {
        let what = if wanted.is_group() { Lookup::Group } else { Lookup::Device };
        Ok(self.ask(wanted.key, what, 0)?.filter(|known| known.object == *wanted))
    }

    /// The group at this address.
    pub(super) fn group_at(&self, key: u64) -> Result<Option<Known>, ObjectError> {
        Ok(self.ask(key, Lookup::Group, 0)?.filter(|known| known.object.group.is_some()))
    }

    /// The devices of the group at this address. A list that changes while it is read may lead astray, so it ends with
    /// the first device that is not of this group.
    pub(super) fn devices_of(&self, group_key: u64) -> Result<Vec<Known>, ObjectError> {
        let mut devices: Vec<Known> = Vec::new();
        let mut next = self.ask(group_key, Lookup::FirstDevice, 0)?;
        while let Some(device) = next.filter(|device| device.group_key == group_key) {
            if devices.len() >= MOST || devices.iter().any(|known| known.object.key == device.object.key) {
                break;
            }
            devices.push(device);
            next = self.ask(device.object.key, Lookup::NextDevice, group_key)?;
        }
        Ok(devices)
    }

    fn ask(&self, address: u64, what: Lookup, group: u64) -> Result<Option<Known>, ObjectError> {
        if address == 0 {
            return Ok(None);
        }
        let refused = |error| ObjectError::Program { program: PROGRAM.to_owned(), error };
        let program = self.object.ebpf.program(PROGRAM).ok_or(ObjectError::Missing(PROGRAM))?;
        let program: &RawTracePoint = program.try_into().map_err(refused)?;
        let mut options = RawTracePointRunOptions::new();
        let [first, second, third, ..] = &mut options.args;
        (*first, *second, *third) = (address, what as u64, group);
        if program.test_run(options).map_err(refused)?.return_value == 0 {
            return Ok(None);
        }
        match self.answer.get(&0, 0) {
            Ok(Value(snapshot)) => Ok(known(&snapshot)),
            Err(error) => Err(ObjectError::Map { map: maps::ANSWER, error }),
        }
    }
}

fn known(snapshot: &Snapshot) -> Option<Known> {
    (snapshot.count != UNKNOWN).then(|| Known {
        object: object(snapshot.device != 0, snapshot.object, &snapshot.name, &snapshot.group),
        group_key: snapshot.group_object,
        open_count: snapshot.count,
    })
}
