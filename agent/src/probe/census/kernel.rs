//! The census from the kernel's own tables, by an iterator of the probe over every file of every task.

use super::{Census, Hidden, Opening, Source};
use crate::probe::{
    Object,
    attach::probe,
    event::{Told, object, process, understand},
    hooks::LOOK,
    layout::KernelLayout,
    lookup::Questions,
    object_file::{FILES, ObjectError, map},
};
use arc_swap::ArcSwap;
use aya::{
    Btf, EbpfLoader,
    maps::{MapData, RingBuf},
    programs::{Iter, KProbe, ProgramError, links::LinkError},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::Arc,
};
use vfiod_abi::{ABSENT, Config, Event, OpenFile, Plain, UNKNOWN, maps};

const PROGRAM: &str = "files";
/// The devices that are registered with VFIO (kernel: `drivers/vfio/vfio_main.c`, class `vfio-dev`; since 6.1).
const CLASS: &str = "/sys/class/vfio-dev";

/// The iterator, and what goes with it.
pub(super) struct KernelCensus {
    questions: Questions,
    seen: RingBuf<MapData>,
    known: HashMap<Folder, Object>,
    layout: Arc<ArcSwap<KernelLayout>>,
    proc: PathBuf,
    shift_ns: i64,
}

/// A folder of sysfs with its inode number: a name may come back for another device.
type Folder = (PathBuf, u64);

/// Why a census could not be taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum KernelCensusError {
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error("the iterator over all files cannot be used: {0}")]
    Iterator(#[from] ProgramError),
    #[error("the iterator over all files cannot be opened: {0}")]
    Link(#[from] LinkError),
    #[error("the iterator over all files cannot be read: {0}")]
    Read(#[from] io::Error),
}

impl KernelCensus {
    /// Loads the programs. `btf` is the kernel's, as the loader reads it.
    pub(super) fn load(
        loader: &mut EbpfLoader<'_>,
        btf: &Btf,
        ring_bytes: u32,
        layout: Arc<ArcSwap<KernelLayout>>,
        shift_ns: i64,
    ) -> Result<Self, ObjectError> {
        let mut questions = Questions::load(loader, ring_bytes, &layout.load().config)?;
        questions.object.load(LOOK.program)?;
        let ebpf = &mut questions.object.ebpf;
        let refused = |error| ObjectError::Program { program: PROGRAM.to_owned(), error };
        let program: &mut Iter =
            ebpf.program_mut(PROGRAM).ok_or(ObjectError::Missing(PROGRAM))?.try_into().map_err(refused)?;
        program.load(FILES, btf).map_err(refused)?;
        let events = map(ebpf, maps::EVENTS)?;
        let seen = RingBuf::try_from(events).map_err(|error| ObjectError::Map { map: maps::EVENTS, error })?;
        Ok(Self { questions, seen, known: HashMap::new(), layout, proc: "/proc".into(), shift_ns })
    }

    pub(super) fn take(&mut self) -> Result<Census, KernelCensusError> {
        let layout = **self.layout.load();
        let mut config = layout.config;
        (config.group_major, config.device_major) = self.majors()?;
        self.questions.object.configure(&config)?;
        let files = self.files()?;
        let openings = openings(&files, self.shift_ns);
        let hidden = self.hidden(&files, &config)?;
        Ok(Census { source: Source::Kernel, openings, hidden, unreadable: 0 })
    }

    fn files(&mut self) -> Result<Vec<OpenFile>, KernelCensusError> {
        let program = self.questions.object.ebpf.program_mut(PROGRAM).ok_or(ObjectError::Missing(PROGRAM))?;
        let program: &mut Iter = program.try_into()?;
        let link = program.attach()?;
        let mut output = program.take_link(link)?.into_file()?;
        let bytes = read_whole(&mut output)?;
        Ok(bytes.chunks_exact(size_of::<OpenFile>()).filter_map(OpenFile::read).collect())
    }

    /// The major numbers of group nodes and device nodes.
    fn majors(&self) -> io::Result<(u32, u32)> {
        let text = fs::read_to_string(self.proc.join("devices"))?;
        Ok((major(&text, "vfio"), major(&text, "vfio-dev")))
    }

    /// Objects that are open more often than `files` show.
    fn hidden(&mut self, files: &[OpenFile], config: &Config) -> Result<Vec<Hidden>, KernelCensusError> {
        let mut groups: BTreeSet<u64> = files.iter().map(|file| file.group_object).collect();
        let mut devices = BTreeMap::new();
        for seen in self.look(config)? {
            devices.insert(seen.key, seen);
        }
        // What descriptors lead to: their groups, and all devices of these.
        groups.remove(&0);
        let mut counts = BTreeMap::new();
        for group in &groups {
            for device in self.questions.devices_of(*group)? {
                counts.insert(device.object, device.open_count);
            }
        }
        for device in devices.into_values() {
            if let Some(known) = self.questions.know(&device)? {
                counts.insert(known.object, known.open_count);
                groups.insert(known.group_key);
            }
        }
        for group in groups {
            if let Some(known) = self.questions.group_at(group)? {
                counts.insert(known.object, known.open_count);
            }
        }
        Ok(hidden(files, &counts))
    }

    /// The devices of the class `vfio-dev`. Each is looked for once: its address stays the same for as long as its folder
    /// is there, and a folder has an inode number of its own.
    fn look(&mut self, config: &Config) -> Result<Vec<Object>, KernelCensusError> {
        let Ok(entries) = fs::read_dir(CLASS) else { return Ok(Vec::new()) };
        if config.vfio_class_device == ABSENT {
            return Ok(Vec::new());
        }
        let folders = entries.filter_map(|entry| {
            let path = entry.ok()?.path();
            let inode = fs::metadata(&path).ok()?.ino();
            Some((path, inode))
        });
        let folders: HashSet<Folder> = folders.collect();
        self.known.retain(|folder, _| folders.contains(folder));
        let new: Vec<Folder> = folders.into_iter().filter(|folder| !self.known.contains_key(folder)).collect();
        if !new.is_empty() {
            self.find(new, config)?;
        }
        Ok(self.known.values().copied().collect())
    }

    /// Finds the addresses of devices by reading a file of each while the probe looks on.
    fn find(&mut self, folders: Vec<Folder>, config: &Config) -> Result<(), KernelCensusError> {
        let looking = u32::try_from(rustix::thread::gettid().as_raw_nonzero().get()).unwrap_or(0);
        self.questions.object.configure(&Config { looking, ..*config })?;
        let program = self.questions.object.ebpf.program_mut(LOOK.program).ok_or(ObjectError::Missing(LOOK.program))?;
        let program: &mut KProbe = program.try_into()?;
        // Without it only what no descriptor leads to stays unknown.
        let Ok(link) = probe(program, None, LOOK.function) else { return Ok(()) };
        for folder in folders {
            // A device that has gone meanwhile is not open.
            let _ = File::open(folder.0.join("uevent")).and_then(|mut file| file.read(&mut [0; 256]));
            while let Some(item) = self.seen.next() {
                if let Some(Told::Seen(object)) = Event::read(&item).and_then(|raw| understand(&raw, 0)) {
                    self.known.insert(folder.clone(), object);
                }
            }
        }
        program.detach(link)?;
        self.questions.object.configure(config)?;
        Ok(())
    }
}

/// Reads an iterator to its end. The kernel asks for another try when it had no room
/// (kernel: `kernel/bpf/bpf_iter.c`, `bpf_seq_read`).
fn read_whole(output: &mut File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match output.read(&mut buffer) {
            Ok(0) => return Ok(bytes),
            Ok(count) => bytes.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => {}
            Err(error) => return Err(error),
        }
    }
}

/// The major number of a kind of character devices in `/proc/devices`; 0, which no device has, where there is none.
fn major(devices: &str, kind: &str) -> u32 {
    let of = |line: &str| {
        let (number, name) = line.trim().split_once(' ')?;
        (name == kind).then(|| number.parse().ok())?
    };
    devices.lines().find_map(of).unwrap_or(0)
}

fn object_of(file: &OpenFile) -> Object {
    object(file.device != 0, file.object, &file.name, &file.group)
}

/// One opening for each process and object.
fn openings(files: &[OpenFile], shift_ns: i64) -> Vec<Opening> {
    let mut found: BTreeMap<(u32, Object), Opening> = BTreeMap::new();
    for file in files {
        let object = object_of(file);
        let opening = found.entry((file.tgid, object)).or_insert_with(|| Opening {
            object,
            process: process(file.tgid, file.start_ns, &file.command, file.cgroup_id, shift_ns),
            fds: 0,
            open_count: None,
        });
        opening.fds += 1;
        // The count may change while the iterator goes on; the last one read is the newest.
        opening.open_count = (file.count != UNKNOWN).then_some(file.count);
    }
    found.into_values().collect()
}

/// Compares how often objects are open with how many files descriptors show.
fn hidden(files: &[OpenFile], counts: &BTreeMap<Object, u32>) -> Vec<Hidden> {
    let mut visible: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for file in files {
        visible.entry(file.object).or_default().insert(file.file);
    }
    let of = |object: &Object| {
        let count = visible.get(&object.key).map_or(0, BTreeSet::len);
        u32::try_from(count).unwrap_or(u32::MAX)
    };
    let hidden =
        counts.iter().map(|(object, count)| Hidden { object: *object, open_count: *count, visible: of(object) });
    hidden.filter(|hidden| hidden.open_count > hidden.visible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_major_is_found_by_its_exact_name() {
        let devices = "Character devices:\n  1 mem\n245 vfio-dev\n246 vfio\n\nBlock devices:\n259 blkext\n";
        assert_eq!((major(devices, "vfio"), major(devices, "vfio-dev"), major(devices, "fio")), (246, 245, 0));
    }

    fn file(tgid: u32, fd: u32, file: u64, count: u32) -> OpenFile {
        let mut name = [0; vfiod_abi::NAME];
        name[..12].copy_from_slice(b"0000:3b:00.0");
        let (command, group) = ([0; vfiod_abi::COMMAND], [0; vfiod_abi::GROUP]);
        let (object, group_object, cgroup_id, start_ns) = (0x1000, 0x2000, 1, 5);
        OpenFile { object, file, group_object, cgroup_id, start_ns, device: 1, tgid, fd, count, command, name, group }
    }

    #[test]
    fn descriptors_of_a_process_are_one_opening() {
        let files = [file(40, 3, 0xa, 1), file(40, 4, 0xa, 1), file(41, 3, 0xa, 1)];
        let found = openings(&files, 0);
        let told: Vec<_> = found.iter().map(|opening| (opening.process.pid, opening.fds, opening.open_count)).collect();
        assert_eq!(told, [(40, 2, Some(1)), (41, 1, Some(1))]);
    }

    #[test]
    fn what_descriptors_do_not_account_for_is_hidden() {
        let object = object_of(&file(40, 3, 0xa, 1));
        let counts = |count| BTreeMap::from([(object, count)]);
        // One file, through dup and fork in three tables.
        let files = [file(40, 3, 0xa, 2), file(40, 4, 0xa, 2), file(41, 3, 0xa, 2)];
        assert_eq!(hidden(&files, &counts(1)), []);
        assert_eq!(hidden(&files, &counts(2)), [Hidden { object, open_count: 2, visible: 1 }]);
        assert_eq!(hidden(&[], &counts(1)), [Hidden { object, open_count: 1, visible: 0 }]);
    }
}
