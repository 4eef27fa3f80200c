//! What the plugin says when a device breaks, and when it is mended.

use crate::conform::{
    book::Book,
    check::{Check, Group, Needs},
    hooks::{DeviceHooks, Hooks},
    subject::{Subject, Terms},
};

/// The checks of this file.
pub const GROUP: Group = Group {
    name: "health",
    about: "what the plugin says when a device breaks, and when it is mended",
    checks: &[&DOWN, &UP, &SNAPSHOT, &STREAM],
};

/// A broken device is told.
pub static DOWN: Check = Check {
    name: "health.down",
    title: "a device that cannot be used any more becomes Unhealthy, or is no longer listed",
    source: "kubelet: pkg/kubelet/cm/devicemanager/manager.go, genericDeviceUpdateCallback: only the messages tell it",
    consequence: "A pod is given a device that is not there: the VM fails, is made again, and is given the same device.",
    needs: Needs::Hooks,
};

/// A mended device is told.
pub static UP: Check = Check {
    name: "health.up",
    title: "a device that can be used again becomes Healthy",
    source: "kubelet: pkg/kubelet/cm/devicemanager/manager.go, genericDeviceUpdateCallback; KubeVirt's own plugin misses it (kubevirt#8607)",
    consequence: "The node loses a device for good whenever one was unbound for a moment, until the plugin is restarted.",
    needs: Needs::Hooks,
};

/// Messages are whole.
pub static SNAPSHOT: Check = Check {
    name: "health.snapshot",
    title: "every message lists all devices, not only those that changed",
    source: "kubelet: pkg/kubelet/cm/devicemanager/manager.go, genericDeviceUpdateCallback: each message replaces the list",
    consequence: "One device breaks, and the node loses all the others.",
    needs: Needs::Hooks,
};

/// Changes come on the open stream.
pub static STREAM: Check = Check {
    name: "health.stream",
    title: "a change is told on the open stream, which stays open",
    source: "kubelet: pkg/kubelet/cm/devicemanager/plugin/v1beta1/handler.go, runClient: the end of the stream makes all devices unhealthy",
    consequence: "Each change of one device takes all devices of the resource away for a moment, and pods are refused meanwhile.",
    needs: Needs::Hooks,
};

/// Breaks a device and mends it again. `None` when the storms need not be tried.
pub(in crate::conform) async fn check(
    subject: &Subject,
    hooks: Option<&Hooks>,
    terms: &Terms,
    book: &mut Book,
) -> Option<(String, DeviceHooks)> {
    let Some(hooks) = hooks else {
        book.all_unchecked(GROUP.checks, NO_HOOKS);
        return None;
    };
    let seen = subject.stream.seen();
    let Some(device) = seen.healthy().into_iter().next() else {
        book.all_unchecked(GROUP.checks, "no healthy device is listed");
        return None;
    };
    let probe = subject.probes.iter().find(|probe| probe.device == device);
    let address = probe.and_then(|probe| probe.addresses(subject.resource.as_deref()).into_iter().next());
    let hooks = hooks.of(subject.name(), &device, address.as_deref().unwrap_or(&device));
    let name = subject.name();
    subject.stream.mark();
    if let Err(error) = hooks.break_device().await {
        book.all_unchecked(GROUP.checks, &error);
        return None;
    }
    let told = subject.stream.until(terms.patience, |seen| !seen.is_healthy(&device)).await;
    let ended = subject.stream.seen().ended;
    if let Err(error) = hooks.mend_device().await {
        book.all_unchecked(GROUP.checks, &error);
        return None;
    }
    if let Some(end) = ended {
        book.fail(&STREAM, name, format!("the stream ended when {device} was broken ({end})"));
        return None;
    }
    let seconds = terms.patience.as_secs_f32();
    book.judge(&DOWN, name, told, || format!("{device} is still Healthy {seconds} s after --break"));
    let told_again = subject.stream.until(terms.patience, |seen| seen.is_healthy(&device)).await;
    let now = subject.stream.seen();
    if let Some(end) = now.ended {
        book.fail(&STREAM, name, format!("the stream ended when {device} was mended ({end})"));
        return None;
    }
    book.pass(&STREAM);
    if !told {
        book.all_unchecked(&[&UP, &SNAPSHOT], "no change was told");
        return None;
    }
    book.judge(&UP, name, told_again, || format!("{device} is not Healthy {seconds} s after --mend"));
    let before = seen.devices.len();
    book.judge(&SNAPSHOT, name, now.fewest + 1 >= before, || {
        format!("a message listed {} of {before} devices when one was broken", now.fewest)
    });
    told_again.then_some((device, hooks))
}

/// Why nothing is checked that needs a broken device.
pub(in crate::conform) const NO_HOOKS: &str = "it takes --break and --mend";
