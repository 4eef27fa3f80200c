//! The guest as a node of a cluster: `vfiod run` on the real `/sys` and `/dev`, and the simulated kubelet beside it.

use super::held::{Holder, Holders};
use super::pod::{COMPUTE, Pod};
use super::wait;
use crate::agent::{Agent, AgentBuilder};
use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use vfiod_simulator::kubelet::{Health, Kubelet, PodSpec, State};

/// The resource of the `edu` devices.
pub const EDU: &str = "qemu.org/edu";
/// The resource of the mdevs.
pub const MTTY: &str = "kernel.org/mtty";

/// What a change of a device may take until the kubelet knows it.
pub const SOON: Duration = Duration::from_secs(2);
/// For what depends on the kubelet's own intervals, and for programs to start.
pub const EVENTUALLY: Duration = Duration::from_secs(90);
/// How long vfiod counts an answered claim as taken although no source lists it.
const GRACE: Duration = Duration::from_secs(10);

/// A node.
pub struct Node {
    /// Its vfiod.
    pub agent: Agent,
    /// Its kubelet.
    pub kubelet: Rc<Kubelet>,
    runtime: Runtime,
    setup: Setup,
    last_answer: Instant,
}

/// How vfiod runs.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Names the kubelet's folder, so that no checkpoint is left over from another node.
    pub name: &'static str,
    /// Entries of `pciHostDevices` beside that of the `edu` devices, a line each.
    pub permits: &'static [&'static str],
    /// Its flags and their values.
    pub flags: &'static [(&'static str, &'static str)],
    /// The command that starts it; empty for none.
    pub under: &'static [&'static str],
}

impl Node {
    /// Starts both, vfiod first, on a node that has run no pod yet.
    pub fn start(setup: Setup) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let agent = setup.agent()?;
        let folder = setup.kubelet_folder();
        let kubelet = Rc::new(runtime.block_on(Kubelet::builder(&folder).host_root("/").start())?);
        let node = Self { agent, kubelet, runtime, setup, last_answer: Instant::now() };
        node.age_kubelet()?;
        Ok(node)
    }

    /// Starts vfiod once more, as it was.
    pub fn start_agent(&mut self) -> Result<()> {
        self.keep_log();
        self.agent = self.setup.agent()?;
        Ok(())
    }

    /// Starts vfiod once more, with other flags.
    pub fn start_agent_as(&mut self, setup: Setup) -> Result<()> {
        self.setup = setup;
        self.start_agent()
    }

    /// Writes vfiod's log to the console, which the host keeps.
    fn keep_log(&self) {
        drop(fs::write("/dev/console", format!("--- vfiod, {}\n{}---\n", self.setup.name, self.agent.log())));
    }

    /// Makes the kubelet look like one that has been up for long. vfiod believes a kubelet that lists no pod only
    /// when it has been up for a minute, and the checks need not wait for that.
    fn age_kubelet(&self) -> Result<()> {
        let folder = self.setup.kubelet_folder();
        for socket in ["device-plugins/kubelet.sock", "pod-resources/kubelet.sock"] {
            let path = Path::new(&folder).join(socket);
            let long_ago = Timespec { tv_sec: 1, tv_nsec: 0 };
            let times = Timestamps { last_access: long_ago, last_modification: long_ago };
            utimensat(CWD, &path, &times, AtFlags::empty())
                .with_context(|| format!("cannot set the time of {}", path.display()))?;
        }
        Ok(())
    }

    /// Waits until `condition` holds.
    pub fn wait(&mut self, what: &str, within: Duration, condition: impl FnMut(&State) -> bool) -> Result<()> {
        let waited = self.runtime.block_on(self.kubelet.wait_for(what, within, condition));
        let running = self.agent.is_running()?;
        waited.map_err(|error| anyhow!("{}{error}", if running { "" } else { "vfiod has ended; " }))
    }

    /// Waits until the kubelet has the device `id` of `resource` with this health, or no longer.
    pub fn wait_for_health(
        &mut self,
        resource: &str,
        id: &str,
        health: Option<Health>,
        within: Duration,
    ) -> Result<()> {
        let what = match health {
            Some(health) => format!("{id} is {health:?}"),
            None => format!("{id} is no longer listed"),
        };
        self.wait(&what, within, |state| state.health(resource, id) == health)
    }

    /// Waits until `resource` has `count` devices and all are healthy.
    pub fn wait_for_healthy(&mut self, resource: &str, count: usize, within: Duration) -> Result<()> {
        let what = format!("{resource} has {count} devices, all healthy");
        self.wait(&what, within, |state| state.capacity(resource) == count && state.allocatable(resource) == count)
    }

    /// Ends the kubelet and starts it again.
    pub fn restart_kubelet(&self) -> Result<()> {
        self.runtime.block_on(self.kubelet.restart())?;
        // Its checkpoint still names the pods that have ended, until the next one is admitted.
        self.age_kubelet()
    }

    /// Admits a pod that wants `count` of `resource`.
    pub fn admit_pod(&mut self, name: &str, resource: &str, count: usize) -> Result<Pod> {
        let spec = PodSpec::new("default", name).container(COMPUTE, [(resource, count)]);
        let admitted = self.runtime.block_on(self.kubelet.admit(spec))?;
        self.last_answer = Instant::now();
        Ok(Pod::new(Rc::clone(&self.kubelet), admitted))
    }

    /// Starts the container of `pod` once, and does `then` when vfiod has logged `sign`.
    pub fn start_container_until(&self, pod: &Pod, sign: &str, then: impl FnOnce() -> Result<()>) -> Result<()> {
        let begun = Instant::now();
        let logged = async {
            while !self.agent.log().contains(sign) {
                ensure!(begun.elapsed() < EVENTUALLY, "vfiod does not log `{sign}`");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        self.runtime.block_on(async {
            let start = async {
                self.kubelet.start_container(pod.uid(), COMPUTE).await.context("the container does not start")
            };
            tokio::pin!(start);
            tokio::select! {
                biased;
                logged = logged => logged?,
                started = &mut start => {
                    started?;
                    bail!("the container starts at once, and vfiod has not logged `{sign}`")
                }
            }
            then()?;
            start.await.map(drop)
        })
    }

    /// Admits a pod that wants `count` of `resource`, and starts its container, again and again as a kubelet does when
    /// `PreStartContainer` fails.
    pub fn run_pod(&mut self, name: &str, resource: &str, count: usize) -> Result<Pod> {
        let pod = self.admit_pod(name, resource, count)?;
        self.start_container(&pod).with_context(|| format!("pod {name}"))?;
        Ok(pod)
    }

    /// Starts the container of `pod`, again and again.
    pub fn start_container(&self, pod: &Pod) -> Result<()> {
        let start = || Ok(self.runtime.block_on(self.kubelet.start_container(pod.uid(), COMPUTE))?);
        wait::until(EVENTUALLY, start).map(drop).context("the container does not start")
    }

    /// Has the kubelet free what ended pods had, which it does when it admits the next one; and vfiod see that, which
    /// believes it when 10 seconds have passed since it gave the devices.
    pub fn free_ended_pods(&mut self) -> Result<()> {
        std::thread::sleep(GRACE.saturating_sub(self.last_answer.elapsed()));
        self.run_pod("next", EDU, 1).map(drop)
    }

    /// What `vfiod`, asked as `arguments` say, has vfiod's daemon tell.
    fn ask_daemon(&self, arguments: &[&str]) -> Result<serde_json::Value> {
        let mut command = Command::new(crate::agent::binary());
        command.args(arguments).args(["-o", "json", "--status-socket"]).arg(self.agent.status_socket());
        let output = command.output().context("cannot run vfiod")?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{arguments:?} ends with {}: {}", output.status, complaint.trim());
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).context("`-o json` is no JSON")?;
        ensure!(answer.get("source").is_some_and(|source| source == "daemon"), "the daemon has not answered: {answer}");
        Ok(answer)
    }

    /// What `vfiod`, told as `arguments` say to tell vfiod's daemon something, says to that.
    pub fn vfiod(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(crate::agent::binary());
        command.args(arguments).arg("--status-socket").arg(self.agent.status_socket());
        let output = command.output().context("cannot run vfiod")?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{arguments:?} ends with {}: {}", output.status, complaint.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// What `vfiod holders` says.
    pub fn holders(&self) -> Result<Holders> {
        Holders::parse(&self.ask_daemon(&["holders"])?)
    }

    /// Waits until vfiod asks the kernel itself who has what open.
    pub fn wait_for_probe(&self) -> Result<()> {
        wait::until(EVENTUALLY, || {
            let by = self.holders()?.by;
            ensure!(by == "probe", "it asks {by}");
            Ok(())
        })
    }

    /// Waits until just these processes hold the device `id` or its group, and returns what is said of them.
    pub fn wait_for_holders(&self, id: &str, pids: &[u32]) -> Result<Vec<Holder>> {
        wait::until(EVENTUALLY, || {
            let holders = self.holders()?;
            let found = holders.of(id)?;
            let mut found_pids: Vec<u32> = found.iter().map(|holder| holder.pid).collect();
            found_pids.sort_unstable();
            let mut expected = pids.to_vec();
            expected.sort_unstable();
            ensure!(found_pids == expected, "{id} should be held by {expected:?}, and there is {holders:?}");
            Ok(found)
        })
    }

    /// What `vfiod explain` finds wrong with the device `id`, a line for each.
    pub fn faults(&self, id: &str) -> Result<Vec<String>> {
        let explanation = self.ask_daemon(&["explain", id])?;
        let findings = explanation.get("findings").and_then(|findings| findings.as_array());
        let bad = findings.context("an explanation without findings")?.iter();
        let bad = bad.filter(|finding| finding.get("standing").is_some_and(|standing| standing == "bad"));
        Ok(bad.map(ToString::to_string).collect())
    }

    /// What `vfiod devices` prints in this format of the host itself.
    pub fn devices(&self, format: &str) -> Result<String> {
        let mut command = Command::new(crate::agent::binary());
        command.args([
            "devices",
            "--from",
            "host",
            "-o",
            format,
            "--kubelet-dir",
            &self.setup.kubelet_folder(),
            "--config",
        ]);
        let output = command.arg(self.agent.config_path()).output().context("cannot run vfiod")?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`vfiod devices` ends with {}: {}", output.status, complaint.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// What `vfiod devices` says of the device `id`.
    pub fn explained(&self, id: &str) -> Result<Explained> {
        let list: serde_json::Value = serde_json::from_str(&self.devices("json")?).context("`-o json` is no JSON")?;
        let devices = list.get("devices").and_then(|devices| devices.as_array()).context("a list without devices")?;
        let field = |device: &serde_json::Value, name: &str| Some(device.get(name)?.as_str()?.to_owned());
        let device = devices.iter().find(|device| field(device, "id").is_some_and(|known| known == id));
        let device = device.with_context(|| format!("`vfiod devices` does not know {id}"))?;
        let text = |name: &str| field(device, name).unwrap_or_default();
        Ok(Explained { reason: text("reason"), message: text("message") })
    }

    /// Whether vfiod has an io_uring open.
    pub fn has_ring(&self) -> Result<bool> {
        let folder = format!("/proc/{}/fd", self.agent.pid());
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))?;
        let mut links = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        Ok(links.any(|link| link.as_os_str() == "anon_inode:[io_uring]"))
    }
}

/// Why a device is as it is; see `docs/DEVICES-JSON.md`.
#[derive(Debug)]
pub struct Explained {
    reason: String,
    /// Why, for people.
    pub message: String,
}

impl Explained {
    /// Fails unless the reason is this one and the message names all these.
    pub fn expect(&self, reason: &str, named: &[&str]) -> Result<()> {
        let known = self.reason == reason && named.iter().all(|name| self.message.contains(name));
        ensure!(known, "expected {reason} with {named:?} in the message, and `vfiod devices` says {self:?}");
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.keep_log();
    }
}

impl Setup {
    /// As it is by default.
    pub const DEFAULT: Self = Self { name: "default", permits: &[], flags: &[], under: &[] };

    /// Starts vfiod.
    pub fn agent(self) -> Result<Agent> {
        // As the seed writes it, and with other letters than sysfs has.
        let permits: String = self.permits.iter().map(|permit| format!("    - {permit}\n")).collect();
        let config = format!(
            "configuration:
  permittedHostDevices:
    pciHostDevices:
    - {{pciVendorSelector: '1234:11E8', resourceName: {EDU}}}
{permits}    mediatedDevices:
    - {{mdevNameSelector: Single port serial, resourceName: {MTTY}}}
"
        );
        let builder = Agent::builder(Path::new("/"), Path::new(&self.kubelet_folder()), &config).under(self.under);
        let with = |builder: AgentBuilder, (flag, value): &(&str, &str)| match *flag {
            "--state-dir" => builder.state_dir(Path::new(value)),
            _ => builder.flag(flag, value),
        };
        self.flags.iter().fold(builder, with).start()
    }

    fn kubelet_folder(self) -> String {
        format!("/var/lib/kubelet-{}", self.name)
    }
}
