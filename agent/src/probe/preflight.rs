//! What the probe needs of a host, looked at before anything is loaded, so that each missing thing has its name.

use super::{
    capabilities::{self, Grant},
    mode::Missing,
};
use caps::CapsHashSet;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The oldest kernel whose interfaces suffice: raw tracepoints can be run on demand since 5.10
/// (kernel: `net/bpf/test_run.c`, `bpf_prog_test_run_raw_tp`). The probe is tested from 6.1 on.
const OLDEST: (u32, u32) = (5, 10);

/// Where the facts are read.
#[derive(Debug, Clone)]
pub(super) struct Host {
    proc: PathBuf,
    sys: PathBuf,
    effective: CapsHashSet,
}

impl Host {
    /// This host and this thread.
    pub(super) fn this() -> Self {
        Self { proc: "/proc".into(), sys: "/sys".into(), effective: capabilities::effective() }
    }

    /// Everything that is missing, or the capabilities with which the probe will be loaded.
    pub(super) fn check(&self) -> Result<Grant, Vec<Missing>> {
        let mut missing = Vec::new();
        missing.extend(self.kernel());
        missing.extend(self.btf());
        missing.extend(self.kprobes());
        missing.extend(self.lockdown());
        let grant = self.capabilities();
        match grant {
            Ok(grant) if missing.is_empty() => Ok(grant),
            Ok(_) => Err(missing),
            Err(lacking) => {
                missing.push(lacking);
                Err(missing)
            }
        }
    }

    fn kernel(&self) -> Option<Missing> {
        let release = self.text("sys/kernel/osrelease", &self.proc)?;
        let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
        let version = (numbers.next()?, numbers.next().unwrap_or(0));
        (version < OLDEST).then(|| {
            Missing::new(format!("kernel {release} is too old"), format!("it needs {}.{}", OLDEST.0, OLDEST.1))
        })
    }

    fn btf(&self) -> Option<Missing> {
        let file = self.sys.join("kernel/btf/vmlinux");
        let error = fs::File::open(&file).err()?;
        Some(Missing::new(
            format!("the kernel does not describe its types ({}: {error})", file.display()),
            "a kernel with CONFIG_DEBUG_INFO_BTF is needed, and /sys must be mounted and readable",
        ))
    }

    fn kprobes(&self) -> Option<Missing> {
        let folder = self.sys.join("bus/event_source/devices/kprobe");
        (!folder.is_dir()).then(|| {
            Missing::new(
                format!("the kernel offers no kprobes ({} is missing)", folder.display()),
                "a kernel with CONFIG_KPROBES, CONFIG_KPROBE_EVENTS and CONFIG_PERF_EVENTS is needed",
            )
        })
    }

    /// `lockdown(7)`: at level "confidentiality" eBPF may not read the kernel's memory
    /// (kernel: `security/lockdown`, `LOCKDOWN_BPF_READ_KERNEL`).
    fn lockdown(&self) -> Option<Missing> {
        let level = self.text("kernel/security/lockdown", &self.sys)?;
        level.contains("[confidentiality]").then(|| {
            Missing::new(
                "the kernel is locked down (confidentiality), which forbids reading its memory",
                "boot with lockdown=integrity or without lockdown",
            )
        })
    }

    fn capabilities(&self) -> Result<Grant, Missing> {
        // A kernel without the file has no perf events; that is told as missing kprobes.
        let paranoid = self.text("sys/kernel/perf_event_paranoid", &self.proc);
        let paranoid: i32 = paranoid.and_then(|text| text.parse().ok()).unwrap_or(2);
        let has_both = capabilities::least(&self.effective, 2) == Some(Grant::BpfAndPerfmon);
        capabilities::least(&self.effective, paranoid).ok_or_else(|| {
            if has_both {
                return Missing::new(
                    format!("kernel.perf_event_paranoid is {paranoid}, which does not let CAP_PERFMON attach kprobes"),
                    "set the sysctl kernel.perf_event_paranoid to 2, or give vfiod CAP_SYS_ADMIN",
                );
            }
            let needed = if paranoid <= 2 {
                "CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN"
            } else {
                "CAP_SYS_ADMIN (or CAP_BPF and CAP_PERFMON, with the sysctl kernel.perf_event_paranoid at 2)"
            };
            Missing::new(
                "this process lacks the capabilities",
                format!("give it {needed} in the host's user namespace"),
            )
        })
    }

    fn text(&self, path: &str, below: &Path) -> Option<String> {
        fs::read_to_string(below.join(path)).ok().map(|text| text.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use caps::Capability;

    struct Tree(tempfile::TempDir);

    impl Tree {
        fn sound() -> Self {
            let tree = Self(tempfile::tempdir().unwrap());
            tree.write("proc/sys/kernel/osrelease", "6.1.0-56-amd64\n");
            tree.write("proc/sys/kernel/perf_event_paranoid", "2\n");
            tree.write("sys/kernel/btf/vmlinux", "");
            tree.write("sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
            tree.write("sys/bus/event_source/devices/kprobe/type", "6\n");
            tree
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn remove(&self, path: &str) {
            let path = self.0.path().join(path);
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }

        fn check(&self, capabilities: &[Capability]) -> Result<Grant, Vec<String>> {
            let at = |folder| self.0.path().join(folder);
            let effective = capabilities.iter().copied().collect();
            let host = Host { proc: at("proc"), sys: at("sys"), effective };
            host.check().map_err(|missing| missing.iter().map(ToString::to_string).collect())
        }
    }

    const TWO: [Capability; 2] = [Capability::CAP_BPF, Capability::CAP_PERFMON];

    #[test]
    fn a_sound_host_needs_two_capabilities() {
        assert_eq!(Tree::sound().check(&TWO), Ok(Grant::BpfAndPerfmon));
    }

    #[test]
    fn each_missing_thing_is_named_with_its_remedy() {
        let one = |break_it: &dyn Fn(&Tree), words: &[&str]| {
            let tree = Tree::sound();
            break_it(&tree);
            let missing = tree.check(&TWO).unwrap_err();
            assert_eq!(missing.len(), 1, "{missing:?}");
            assert!(words.iter().all(|word| missing[0].contains(word)), "{missing:?}");
        };
        one(&|tree| tree.write("proc/sys/kernel/osrelease", "5.4.0-1"), &["5.4.0-1 is too old", "5.10"]);
        one(&|tree| tree.remove("sys/kernel/btf/vmlinux"), &["vmlinux", "CONFIG_DEBUG_INFO_BTF"]);
        one(&|tree| tree.remove("sys/bus/event_source/devices/kprobe"), &["kprobes", "CONFIG_KPROBES"]);
        one(
            &|tree| tree.write("sys/kernel/security/lockdown", "none integrity [confidentiality]\n"),
            &["locked down", "lockdown=integrity"],
        );
        one(
            &|tree| tree.write("proc/sys/kernel/perf_event_paranoid", "3\n"),
            &["perf_event_paranoid is 3", "CAP_SYS_ADMIN"],
        );
    }

    #[test]
    fn all_that_is_missing_is_told_at_once() {
        let tree = Tree::sound();
        tree.remove("sys/kernel/btf/vmlinux");
        tree.remove("sys/bus/event_source/devices/kprobe");
        let missing = tree.check(&[]).unwrap_err();
        assert_eq!(missing.len(), 3, "{missing:?}");
        assert!(missing[2].contains("CAP_BPF and CAP_PERFMON"), "{missing:?}");
    }

    #[test]
    fn what_is_not_there_to_be_read_does_not_stand_in_the_way() {
        let tree = Tree::sound();
        tree.remove("sys/kernel/security/lockdown");
        tree.remove("proc/sys/kernel/osrelease");
        assert_eq!(tree.check(&[Capability::CAP_SYS_ADMIN]), Ok(Grant::SysAdmin));
    }
}
